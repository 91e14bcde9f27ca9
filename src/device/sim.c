/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accelerators made of host memory. Their addresses are reservations that fault when
 * touched; copies go through a private mapping of the same pages. What each can do is
 * what the device it is named after can do.
 */
#include "device/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/opts.h"
#include "base/status.h"
#include "device/copy.h"

static const struct kind {
    const char *name;
    uint32_t caps, min_run;
} kinds[] = {
    {"sim:cuda",
     SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST | SEGUE_DEVICE_EXPORT |
         SEGUE_DEVICE_STRIDED | SEGUE_DEVICE_DMABUF,
     1},
    {"sim:xpu",
     SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST | SEGUE_DEVICE_EXPORT |
         SEGUE_DEVICE_STRIDED | SEGUE_DEVICE_DMABUF,
     1},
    /* One dma-buf for RDMA, nothing for other processes, linear copies. */
    {"sim:gaudi", SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST | SEGUE_DEVICE_DMABUF, 4096},
    /* Copies in and out. */
    {"sim:tpu", SEGUE_DEVICE_MAP_HOST, 4096},
};
#define KINDS (sizeof kinds / sizeof *kinds)

struct pace {
    uint64_t gbps, latency_us;
};

static const struct segue_opt options[] = {
    {.name = "gbps",
     .offset = offsetof(struct pace, gbps),
     .kind = SEGUE_OPT_U64,
     .initial = "0",
     .max = 1000000,
     .doc = "GB/s its copy engine reaches; 0: what the CPU reaches"},
    {.name = "latency-us",
     .offset = offsetof(struct pace, latency_us),
     .kind = SEGUE_OPT_U64,
     .initial = "0",
     .max = 60000000,
     .doc = "microseconds a copy takes besides its bytes"},
    {0},
};

static struct segue_sim *sim_of(struct segue_device *dev)
{
    return (struct segue_sim *)(void *)dev;
}

static enum segue_status probe(void (*found)(void *user, const char *name), void *user)
{
    for (size_t i = 0; i < KINDS; i++)
        found(user, kinds[i].name);
    return SEGUE_OK;
}

/* "gbps=10,latency_us=20" */
static enum segue_status read_options(const char *text, struct pace *pace)
{
    segue_opts_defaults(options, pace);
    while (*text == ',') {
        char name[32] = "", value[32] = "";
        size_t len = strcspn(++text, ",");
        size_t equal = strcspn(text, "=,");
        if (equal >= len || equal >= sizeof name || len - equal > sizeof value)
            return segue_fail(SEGUE_E_INVALID, "'%.*s' is no option of a sim device",
                              (int)len, text);
        memcpy(name, text, equal);
        memcpy(value, text + equal + 1, len - equal - 1);
        SEGUE_TRY(segue_opts_set(options, pace, name, value));
        text += len;
    }
    return SEGUE_OK;
}

static const struct kind *find_kind(const char *name, size_t len)
{
    for (size_t i = 0; i < KINDS; i++)
        if (strlen(kinds[i].name) == len && strncmp(kinds[i].name, name, len) == 0)
            return &kinds[i];
    return NULL;
}

static enum segue_status open_sim(const struct segue_device_args *args,
                                  struct segue_device **out)
{
    size_t len = strcspn(args->name, ",");
    const struct kind *kind = find_kind(args->name, len);
    if (!kind)
        return segue_fail(SEGUE_E_NOT_FOUND,
                          "no device is called '%.*s'; there are: sim:cuda, sim:xpu, "
                          "sim:gaudi, sim:tpu",
                          (int)len, args->name);
    struct pace pace;
    SEGUE_TRY(read_options(args->name + len, &pace));
    struct segue_sim *sim = calloc(1, sizeof *sim);
    if (!sim)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a device");
    sim->base = (struct segue_device){
        .ops = &segue_device_sim, .caps = kind->caps, .min_run = kind->min_run};
    snprintf(sim->base.name, sizeof sim->base.name, "%s", kind->name);
    sim->pool = args->pool;
    sim->gbps = pace.gbps;
    sim->latency_us = pace.latency_us;
    segue_ram_init(&sim->ram, kind->name, sim->pool, true);
    enum segue_status status = segue_sim_start(sim);
    if (status < 0) {
        segue_ram_fini(&sim->ram);
        free(sim);
        return status;
    }
    *out = &sim->base;
    return SEGUE_OK;
}

static void close_sim(struct segue_device *dev)
{
    struct segue_sim *sim = sim_of(dev);
    segue_sim_stop(sim);
    segue_ram_fini(&sim->ram);
    free(sim);
}

static enum segue_status alloc(struct segue_device *dev, size_t size, void **addr)
{
    return segue_ram_alloc(&sim_of(dev)->ram, size, addr);
}

static void free_memory(struct segue_device *dev, void *addr)
{
    segue_ram_free(&sim_of(dev)->ram, addr);
}

static enum segue_status query(struct segue_device *dev, const void *addr,
                               struct segue_memory_info *out)
{
    struct segue_memory_info info;
    if (!segue_ram_query(&sim_of(dev)->ram, addr, &info))
        return segue_fail(SEGUE_E_NOT_FOUND, "%p is no memory of %s", addr, dev->name);
    if ((dev->caps & SEGUE_DEVICE_VIEW) == 0)
        info.view = NULL;
    *out = info;
    return SEGUE_OK;
}

static enum segue_status export(struct segue_device *dev, const void *addr, uint64_t len,
                                struct segue_handle *out) {
    return segue_ram_export(&sim_of(dev)->ram, addr, len, out);
}

static enum segue_status import(struct segue_device *dev,
                                const struct segue_handle *handle, uint64_t len,
                                void **addr)
{
    return segue_ram_import(&sim_of(dev)->ram, handle, len, addr);
}

static void drop(struct segue_device *dev, void *addr, uint64_t len)
{
    segue_ram_drop(&sim_of(dev)->ram, addr);
}

static uint64_t *due_of(struct segue_copy_job *job)
{
    return (uint64_t *)(void *)&job->impl.room[SEGUE_COPY_ROOM - SEGUE_COPY_OWN];
}

static void end_copy(struct segue_copy_job *job, enum segue_status status)
{
    uint64_t due = *due_of(job);
    if (status < 0 || due == 0)
        job->done(job, status);
    else
        segue_sim_end_paced(sim_of(job->dev), job, due);
}

/* When the engine, which does one copy after another, would be done with this one. */
static uint64_t due_ns(struct segue_sim *sim, uint64_t bytes)
{
    if (sim->gbps == 0 && sim->latency_us == 0)
        return 0;
    uint64_t now = segue_now_ns();
    pthread_mutex_lock(&sim->lock);
    uint64_t start = sim->free_ns > now ? sim->free_ns : now;
    sim->free_ns = start + (sim->gbps ? bytes / sim->gbps : 0);
    uint64_t due = sim->free_ns + sim->latency_us * SEGUE_NS_PER_US;
    pthread_mutex_unlock(&sim->lock);
    return due;
}

static enum segue_status copy(struct segue_device *dev, struct segue_copy_job *job)
{
    struct segue_sim *sim = sim_of(dev);
    *due_of(job) = due_ns(sim, segue_transfer_bytes(&job->transfer));
    return segue_ram_copy(&sim->ram, sim->pool, job, end_copy);
}

const struct segue_device_ops segue_device_sim = {
    .kind = "sim",
    .probe = probe,
    .open = open_sim,
    .close = close_sim,
    .alloc = alloc,
    .free = free_memory,
    .query = query,
    .export = export,
    .import = import,
    .drop = drop,
    .copy = copy,
    .sync = segue_sim_sync,
    .unwait = segue_sim_unwait,
};
