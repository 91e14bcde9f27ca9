/* SPDX-License-Identifier: Apache-2.0 */
/* Cache descriptions and handles from any bytes. What is believed must lie inside its regions. */
#include "fuzz/message.h"
#include "kv/cache_wire.h"

static void tell(const uint8_t *body, uint32_t len)
{
    static uint8_t again[SEGUE_FRAME_MAX];
    struct segue_remote_cache cache, same;
    if (segue_cache_tell_read(body, len, &cache) < 0)
        return;
    must(segue_geometry_check(&cache.geometry, "cache") >= 0 &&
         segue_cache_bounds_check(&cache.geometry, cache.region_len, cache.n_regions) >=
             0);
    struct segue_writer w = segue_writer_make(again, sizeof again);
    segue_cache_tell_write(&w, &cache);
    must(!w.failed && segue_cache_tell_read(again, (uint32_t)w.len, &same) >= 0);
    segue_remote_cache_free(&same);
    segue_remote_cache_free(&cache);
}

/* The first byte says how many descriptors came. */
static void handles(const uint8_t *body, uint32_t len)
{
    int fds[SEGUE_FRAME_FDS] = {0};
    struct segue_cache_handles handles;
    if (len == 0)
        return;
    struct segue_frame frame = {.body = body + 1,
                                .len = len - 1,
                                .fds = fds,
                                .n_fds = body[0] % (SEGUE_FRAME_FDS + 1)};
    if (segue_cache_handles_read(&frame, &handles) < 0)
        return;
    for (uint32_t i = 0; i < handles.n_regions; i++)
        must(handles.handle[i].len <= SEGUE_BLOB_MAX &&
             handles.handle[i].n_fds <= SEGUE_BLOB_FDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct message messages[] = {{"tell", tell}, {"handles", handles}};
    return message_run(messages, data, size);
}
