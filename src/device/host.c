/* SPDX-License-Identifier: Apache-2.0 */
/* The host's own memory: sealed memfds for what Segue allocates, anything else of this
 * process as it is. */
#include "device/device.h"

#include <stdlib.h>
#include "base/status.h"
#include "device/copy.h"
#include "device/ram.h"

struct host {
    struct segue_device base;
    struct segue_ram ram;
    struct segue_pool *pool;
};

static struct host *host_of(struct segue_device *dev)
{
    return (struct host *)(void *)dev;
}

static enum segue_status probe(void (*found)(void *user, const char *name), void *user)
{
    found(user, "host");
    return SEGUE_OK;
}

static enum segue_status open_host(const struct segue_device_args *args,
                                   struct segue_device **out)
{
    struct host *host = calloc(1, sizeof *host);
    if (!host)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a device");
    host->base = (struct segue_device){.ops = &segue_device_host,
                                       .name = "host",
                                       .caps = SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST |
                                               SEGUE_DEVICE_EXPORT | SEGUE_DEVICE_CMA |
                                               SEGUE_DEVICE_STRIDED,
                                       .min_run = 1};
    host->pool = args->pool;
    segue_ram_init(&host->ram, "host", host->pool, false);
    *out = &host->base;
    return SEGUE_OK;
}

static void close_host(struct segue_device *dev)
{
    segue_ram_fini(&host_of(dev)->ram);
    free(host_of(dev));
}

static enum segue_status alloc(struct segue_device *dev, size_t size, void **addr)
{
    return segue_ram_alloc(&host_of(dev)->ram, size, addr);
}

static void free_memory(struct segue_device *dev, void *addr)
{
    segue_ram_free(&host_of(dev)->ram, addr);
}

/* Foreign memory is host memory too, only not ours to hand out: base stays NULL. */
static enum segue_status query(struct segue_device *dev, const void *addr,
                               struct segue_memory_info *out)
{
    if (!segue_ram_query(&host_of(dev)->ram, addr, out))
        *out = (struct segue_memory_info){0};
    return SEGUE_OK;
}

static enum segue_status export(struct segue_device *dev, const void *addr, uint64_t len,
                                struct segue_handle *out) {
    return segue_ram_export(&host_of(dev)->ram, addr, len, out);
}

static enum segue_status import(struct segue_device *dev,
                                const struct segue_handle *handle, uint64_t len,
                                void **addr)
{
    return segue_ram_import(&host_of(dev)->ram, handle, len, addr);
}

static void drop(struct segue_device *dev, void *addr, uint64_t len)
{
    segue_ram_drop(&host_of(dev)->ram, addr);
}

static void end_copy(struct segue_copy_job *job, enum segue_status status)
{
    job->done(job, status);
}

static enum segue_status copy(struct segue_device *dev, struct segue_copy_job *job)
{
    struct host *host = host_of(dev);
    return segue_ram_copy(&host->ram, host->pool, job, end_copy);
}

const struct segue_device_ops segue_device_host = {
    .kind = "host",
    .probe = probe,
    .open = open_host,
    .close = close_host,
    .alloc = alloc,
    .free = free_memory,
    .query = query,
    .export = export,
    .import = import,
    .drop = drop,
    .copy = copy,
};
