/* SPDX-License-Identifier: Apache-2.0 */
/* The checked wrappers: the only callers of a device's verbs. */
#include "device/device.h"

#include <unistd.h>
#include "base/status.h"

static enum segue_status cannot(const struct segue_device *dev, const char *what)
{
    return segue_fail(SEGUE_E_UNSUPPORTED, "%s cannot %s", dev->name, what);
}

void segue_device_close(struct segue_device *dev)
{
    if (dev)
        dev->ops->close(dev);
}

enum segue_status segue_device_query(struct segue_device *dev, const void *addr,
                                     struct segue_memory_info *out)
{
    return dev->ops->query(dev, addr, out);
}

enum segue_status segue_device_export(struct segue_device *dev, const void *addr,
                                      uint64_t len, struct segue_handle *out)
{
    if ((dev->caps & SEGUE_DEVICE_EXPORT) == 0 || !dev->ops->export)
        return cannot(dev, "hand memory to another process");
    return dev->ops->export(dev, addr, len, out);
}

enum segue_status segue_device_import(struct segue_device *dev,
                                      const struct segue_handle *handle, uint64_t len,
                                      void **addr)
{
    if ((dev->caps & SEGUE_DEVICE_EXPORT) == 0 || !dev->ops->import)
        return cannot(dev, "map another process's memory");
    if (handle->len > SEGUE_BLOB_MAX || handle->n_fds > SEGUE_BLOB_FDS)
        return segue_fail(SEGUE_E_INVALID, "a memory handle of %u bytes with %u fds",
                          handle->len, handle->n_fds);
    return dev->ops->import(dev, handle, len, addr);
}

void segue_device_drop(struct segue_device *dev, void *addr, uint64_t len)
{
    if (addr)
        dev->ops->drop(dev, addr, len);
}

enum segue_status segue_device_pin(struct segue_device *dev, void *addr, uint64_t len,
                                   bool on)
{
    return dev->ops->pin ? dev->ops->pin(dev, addr, len, on) : SEGUE_OK;
}

/* Without strides a copy engine moves what lies side by side on both sides: whole spans, or spans of one token. */
static enum segue_status check_linear(const struct segue_device *dev,
                                      const struct segue_transfer *t)
{
    bool single = true;
    for (size_t i = 0; i < t->n_spans && single; i++)
        single = t->spans[i].tokens == 1;
    for (size_t i = 0; i < t->n_moves; i++) {
        const struct segue_move *move = &t->moves[i];
        if (segue_move_converts(move))
            return cannot(dev, "convert elements while it copies");
        if (single)
            continue;
        if (move->src_token != move->run || move->dst_token != move->run)
            return cannot(dev, "copy with strides");
    }
    return SEGUE_OK;
}

enum segue_status segue_device_copy(struct segue_device *dev, struct segue_copy_job *job)
{
    if (!dev->ops->copy)
        return cannot(dev, "copy");
    SEGUE_TRY(
        segue_transfer_check(&job->transfer, job->src, job->n_src, job->dst, job->n_dst));
    if ((dev->caps & SEGUE_DEVICE_STRIDED) == 0)
        SEGUE_TRY(check_linear(dev, &job->transfer));
    job->dev = dev;
    return dev->ops->copy(dev, job);
}

enum segue_status segue_device_sync(struct segue_device *dev,
                                    const struct segue_sync *sync,
                                    struct segue_wait *wait)
{
    if (sync->kind == SEGUE_SYNC_NONE)
        return segue_fail(SEGUE_E_INVALID, "there is nothing to wait for");
    if (sync->kind != SEGUE_SYNC_EVENT && sync->kind != SEGUE_SYNC_STREAM)
        return segue_fail(SEGUE_E_INVALID, "%d is no kind of sync", (int)sync->kind);
    if (sync->device != dev)
        return segue_fail(SEGUE_E_INVALID, "the sync is another device's, not %s's",
                          dev->name);
    if (!dev->ops->sync)
        return cannot(dev, "wait for events or streams: it has none");
    if (!sync->handle)
        return segue_fail(SEGUE_E_INVALID, "a sync without a handle");
    wait->dev = dev;
    return dev->ops->sync(dev, sync, wait);
}

void segue_device_unwait(struct segue_device *dev, struct segue_wait *wait)
{
    if (dev->ops->unwait)
        dev->ops->unwait(dev, wait);
}

enum segue_status segue_device_flush(struct segue_device *dev, const void *addr,
                                     uint64_t len)
{
    return dev->ops->flush ? dev->ops->flush(dev, addr, len) : SEGUE_OK;
}

void segue_handle_close(struct segue_handle *handle)
{
    for (uint32_t i = 0; i < handle->n_fds && i < SEGUE_BLOB_FDS; i++)
        if (handle->fds[i] >= 0)
            close(handle->fds[i]);
    handle->n_fds = 0;
}
