/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer's memory, mapped here: rows shm (host memory) and ipc (memory of a device that
 * can be mapped by another process). The bytes are moved by the local device's copy
 * engine; who maps is that device for ipc, and the host device for shm.
 */
#include "transport/transport.h"

#include <stdlib.h>
#include <string.h>

struct mapped {
    struct segue_transport base;
    struct segue_loop *loop;
    struct segue_device *host; /* maps host memory; NULL in row ipc */
};

struct mapped_remote {
    struct segue_remote base;
    struct segue_device *mapper;
};

static void mapped_close(struct segue_transport *t)
{
    struct mapped *m = (struct mapped *)t;
    segue_device_close(m->host);
    free(m);
}

static enum segue_status mapped_open(const struct segue_transport_args *args,
                                     struct segue_transport **out)
{
    struct mapped *m = calloc(1, sizeof *m);
    if (!m)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the transport %s", args->name);
    m->base = (struct segue_transport){.ops = &segue_transport_mapped,
                                       .name = args->name,
                                       .caps = SEGUE_TRANSPORT_MAP,
                                       .min_run = 1};
    m->loop = args->loop;
    if (strcmp(args->name, "shm") == 0) {
        struct segue_device_args host = {.name = "host", .pool = args->pool};
        enum segue_status status = segue_device_open(&host, &m->host);
        if (status < 0) {
            free(m);
            return status;
        }
    }
    *out = &m->base;
    return SEGUE_OK;
}

static bool is_host(const struct segue_device *dev)
{
    return dev->ops == &segue_device_host;
}

static bool is_shm(const struct segue_transport *t)
{
    return ((const struct mapped *)t)->host != NULL;
}

/* Whether `dev` may be the destination: shm also takes a device that copies from host
 * memory. */
static enum segue_status check_device(struct segue_transport *t, struct segue_device *dev,
                                      bool source)
{
    bool fits = is_shm(t) ? is_host(dev) || (!source && dev->caps & SEGUE_DEVICE_MAP_HOST)
                          : !is_host(dev) && dev->caps & SEGUE_DEVICE_EXPORT;
    if (fits)
        return SEGUE_OK;
    const char *why = is_shm(t) ? "shm maps host memory, not that of %s"
                      : is_host(dev)
                          ? "ipc maps device memory; for that of %s there is shm"
                          : "no other process can map memory of %s";
    return segue_fail(SEGUE_E_UNSUPPORTED, why, dev->name);
}

static enum segue_status mapped_reg(struct segue_transport *t,
                                    const struct segue_memory *memory,
                                    struct segue_registration **out)
{
    SEGUE_TRY(check_device(t, memory->device, false));
    struct segue_registration *reg = calloc(1, sizeof *reg);
    if (!reg)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a registration");
    reg->base = memory->address;
    *out = reg;
    return SEGUE_OK;
}

static void mapped_dereg(struct segue_registration *reg)
{
    free(reg);
}

static enum segue_status mapped_export(struct segue_registration *reg,
                                       struct segue_handle *out)
{
    const struct segue_memory *memory = &reg->memory;
    SEGUE_TRY(check_device(reg->transport, memory->device, true));
    return segue_device_export(memory->device, memory->address, memory->len, out);
}

static enum segue_status mapped_import(struct segue_connection *conn,
                                       struct segue_device *device,
                                       const struct segue_handle *handle, uint64_t len,
                                       struct segue_remote **out)
{
    struct segue_transport *t = conn->transport;
    SEGUE_TRY(check_device(t, device, false));
    struct mapped_remote *remote = calloc(1, sizeof *remote);
    if (!remote)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a mapping");
    remote->mapper = is_shm(t) ? ((struct mapped *)t)->host : device;
    void *address;
    enum segue_status status = segue_device_import(remote->mapper, handle, len, &address);
    if (status < 0) {
        free(remote);
        return status;
    }
    remote->base.base = address;
    *out = &remote->base;
    return SEGUE_OK;
}

static void mapped_drop(struct segue_remote *base)
{
    struct mapped_remote *remote = (struct mapped_remote *)base;
    segue_device_drop(remote->mapper, base->base, base->len);
    free(remote);
}

static enum segue_status mapped_connect(struct segue_transport *t,
                                        const struct segue_connect_args *args,
                                        struct segue_connection **out)
{
    if (args->pid == 0)
        return segue_fail(SEGUE_E_UNSUPPORTED, "%s reaches no other host", t->name);
    struct segue_connection *conn = calloc(1, sizeof *conn);
    if (!conn)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a connection");
    conn->transport = t;
    segue_flight_init(conn, ((struct mapped *)t)->loop);
    *out = conn;
    return SEGUE_OK;
}

static void mapped_disconnect(struct segue_connection *conn)
{
    segue_flight_fini(conn);
    free(conn);
}

static void copy_done(struct segue_copy_job *job, enum segue_status status)
{
    struct segue_op *op = job->user;
    if (status >= 0)
        op->moved = op->total;
    segue_flight_end(op, status);
}

static enum segue_status mapped_post(struct segue_connection *conn, struct segue_op *op)
{
    struct segue_device *dev = NULL;
    for (size_t i = 0; i < op->n_local; i++) {
        if (dev && op->local[i]->memory.device != dev)
            return segue_fail(SEGUE_E_INVALID, "one copy into memory of both %s and %s",
                              dev->name, op->local[i]->memory.device->name);
        dev = op->local[i]->memory.device;
    }
    for (size_t i = 0; i < op->n_remote; i++)
        if (op->remote[i]->device != dev)
            return segue_fail(SEGUE_E_INVALID,
                              "region %zu was imported for another device", i);
    if (!dev)
        return segue_fail(SEGUE_E_INVALID, "a copy into no region");
    op->job.transfer = op->transfer;
    op->job.src = op->src;
    op->job.n_src = op->n_remote;
    op->job.dst = op->dst;
    op->job.n_dst = op->n_local;
    op->job.done = copy_done;
    op->job.user = op;
    return segue_device_copy(dev, &op->job);
}

const struct segue_transport_ops segue_transport_mapped = {
    .name = "mapped",
    .open = mapped_open,
    .close = mapped_close,
    .reg = mapped_reg,
    .dereg = mapped_dereg,
    .export = mapped_export,
    .import = mapped_import,
    .drop = mapped_drop,
    .connect = mapped_connect,
    .disconnect = mapped_disconnect,
    .post = mapped_post,
};
