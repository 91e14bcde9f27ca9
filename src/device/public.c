/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls that need only a device. */
#include <segue/device.h>

#include <inttypes.h>
#include <pthread.h>
#include "base/status.h"
#include "device/device.h"

const char *segue_device_name(const segue_device *device)
{
    return device->name;
}

enum segue_status segue_device_view(segue_device *device, const void *address, size_t len,
                                    void **view)
{
    if ((device->caps & SEGUE_DEVICE_VIEW) == 0)
        return segue_fail(SEGUE_E_UNSUPPORTED,
                          "the CPU cannot address the memory of %s: use segue_copy",
                          device->name);
    struct segue_memory_info info;
    SEGUE_TRY(segue_device_query(device, address, &info));
    if (!info.base) { /* ordinary memory of this process */
        *view = (void *)(uintptr_t)address;
        return SEGUE_OK;
    }
    uint64_t offset = (uint64_t)((const char *)address - (char *)info.base);
    if (len > info.size - offset)
        return segue_fail(SEGUE_E_RANGE, "%zu bytes leave the allocation by %" PRIu64,
                          len, len - (info.size - offset));
    *view = info.view + offset;
    return SEGUE_OK;
}

enum segue_status segue_alloc(segue_device *device, size_t size, void **address)
{
    return device->ops->alloc(device, size, address);
}

void segue_free(segue_device *device, void *address)
{
    if (address)
        device->ops->free(device, address);
}

/* A copy the caller waits for. */
struct waited {
    struct segue_copy_job job;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    enum segue_status status;
};

static void end_wait(struct segue_copy_job *job, enum segue_status status)
{
    struct waited *waited = job->user;
    pthread_mutex_lock(&waited->lock);
    waited->status = status;
    waited->done = true;
    pthread_cond_signal(&waited->ended);
    pthread_mutex_unlock(&waited->lock);
}

static enum segue_status copy_and_wait(segue_device *device,
                                       const struct segue_transfer *transfer,
                                       const struct segue_extent *src,
                                       const struct segue_extent *dst)
{
    struct waited waited = {.job = {.transfer = *transfer,
                                    .src = src,
                                    .dst = dst,
                                    .n_src = 1,
                                    .n_dst = 1,
                                    .done = end_wait},
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .ended = PTHREAD_COND_INITIALIZER};
    waited.job.user = &waited;
    SEGUE_TRY(segue_device_copy(device, &waited.job));
    pthread_mutex_lock(&waited.lock);
    while (!waited.done)
        pthread_cond_wait(&waited.ended, &waited.lock);
    pthread_mutex_unlock(&waited.lock);
    if (waited.status < 0)
        return segue_fail(waited.status, "the copy on %s failed: %s", device->name,
                          segue_status_text(waited.status));
    return SEGUE_OK;
}

/* Rows at an address: the bounds are those of the allocation where it is known, else what
 * the caller says. */
static enum segue_status find_rows(segue_device *device, const void *address,
                                   uint64_t pitch, uint64_t len, uint64_t rows,
                                   struct segue_extent *extent, uint64_t *offset)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(rows - 1, pitch, &bytes) ||
        __builtin_add_overflow(bytes, len, &bytes) || bytes > INT64_MAX)
        return segue_fail(SEGUE_E_RANGE, "%" PRIu64 " rows %" PRIu64 " bytes apart", rows,
                          pitch);
    struct segue_memory_info info;
    if (segue_device_query(device, address, &info) < 0 || !info.base) {
        *extent = (struct segue_extent){(char *)(uintptr_t)address, bytes};
        *offset = 0;
    } else {
        *extent = (struct segue_extent){info.base, info.size};
        *offset = (uint64_t)((const char *)address - (char *)info.base);
    }
    return SEGUE_OK;
}

enum segue_status segue_copy(segue_device *device, void *dst, size_t dst_pitch,
                             const void *src, size_t src_pitch, size_t len, size_t rows)
{
    if (len == 0 || rows == 0)
        return SEGUE_OK;
    if (rows > UINT32_MAX)
        return segue_fail(SEGUE_E_RANGE, "a copy of %zu rows", rows);
    struct segue_extent from, to;
    struct segue_move move = {.dims = 1, .dim = {{(uint32_t)rows, src_pitch, dst_pitch}}};
    SEGUE_TRY(find_rows(device, src, src_pitch, len, rows, &from, &move.src_offset));
    SEGUE_TRY(find_rows(device, dst, dst_pitch, len, rows, &to, &move.dst_offset));
    const struct segue_span span = {.tokens = 1};
    const struct segue_transfer transfer = {&move, 1, &span, 1};
    const size_t most = UINT32_C(1) << 30; /* a run is 32 bits */
    while (len > 0) {
        move.run = (uint32_t)(len < most ? len : most);
        move.src_token = move.dst_token = move.run;
        SEGUE_TRY(copy_and_wait(device, &transfer, &from, &to));
        move.src_offset += move.run;
        move.dst_offset += move.run;
        len -= move.run;
    }
    return SEGUE_OK;
}
