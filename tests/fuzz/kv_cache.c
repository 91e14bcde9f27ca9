/* SPDX-License-Identifier: Apache-2.0 */
/* Cache descriptions and handles from any bytes. What is believed must lie inside its regions. */
#include "kv/cache_wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_cache(const uint8_t *body, uint32_t len)
{
    static uint8_t again[SEGUE_FRAME_MAX];
    struct segue_remote_cache cache;
    if (segue_cache_tell_read(body, len, &cache) < 0)
        return;
    if (segue_geometry_check(&cache.geometry, "cache") < 0 ||
        segue_cache_bounds_check(&cache.geometry, cache.region_len, cache.n_regions) < 0)
        abort();
    struct segue_writer w = segue_writer_make(again, sizeof again);
    segue_cache_tell_write(&w, &cache);
    if (w.failed)
        abort();
    segue_remote_cache_free(&cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[SEGUE_FRAME_FDS] = {0};
    struct segue_cache_handles handles;
    if (size < 2)
        return 0;
    struct segue_frame frame = {.body = data + 2,
                                .len = (uint32_t)size - 2,
                                .fds = fds,
                                .n_fds = data[1] % (SEGUE_FRAME_FDS + 1)};
    if (data[0] % 2)
        one_cache(frame.body, frame.len);
    else if (segue_cache_handles_read(&frame, &handles) == SEGUE_OK)
        for (uint32_t i = 0; i < handles.n_regions; i++)
            if (handles.handle[i].len > SEGUE_BLOB_MAX)
                abort();
    return 0;
}
