/* SPDX-License-Identifier: Apache-2.0 */
/* The checked wrappers: what is the same for every transport, and the one place where
 * an operation's bytes are proved to lie inside its regions. */
#include "transport/transport.h"

void segue_transport_close(struct segue_transport *t)
{
    if (t)
        t->ops->close(t);
}

enum segue_status segue_memory_register(struct segue_transport *t,
                                        const struct segue_memory *memory,
                                        struct segue_registration **out)
{
    if (memory->len == 0 || (uintptr_t)memory->address > UINTPTR_MAX - memory->len)
        return segue_fail(SEGUE_E_INVALID, "%lu bytes at %p are no memory",
                          (unsigned long)memory->len, (void *)memory->address);
    struct segue_registration *reg;
    SEGUE_TRY(t->ops->reg(t, memory, &reg));
    reg->transport = t;
    reg->memory = *memory;
    *out = reg;
    return SEGUE_OK;
}

void segue_memory_deregister(struct segue_registration *reg)
{
    if (reg)
        reg->transport->ops->dereg(reg);
}

enum segue_status segue_registration_export(struct segue_registration *reg,
                                            struct segue_handle *out)
{
    struct segue_transport *t = reg->transport;
    if (!t->ops->export)
        return segue_fail(SEGUE_E_UNSUPPORTED, "%s has nothing to export", t->name);
    return t->ops->export(reg, out);
}

enum segue_status segue_remote_import(struct segue_connection *conn,
                                      struct segue_device *device,
                                      const struct segue_handle *handle, uint64_t len,
                                      struct segue_remote **out)
{
    struct segue_transport *t = conn->transport;
    if (!t->ops->import)
        return segue_fail(SEGUE_E_UNSUPPORTED, "%s has nothing to import", t->name);
    if (len == 0 || handle->len > SEGUE_BLOB_MAX || handle->n_fds > SEGUE_BLOB_FDS)
        return segue_fail(SEGUE_E_INVALID,
                          "a handle of %u bytes and %u fds for %lu bytes of memory",
                          handle->len, handle->n_fds, (unsigned long)len);
    struct segue_remote *remote;
    SEGUE_TRY(t->ops->import(conn, device, handle, len, &remote));
    remote->transport = t;
    remote->connection = conn;
    remote->device = device;
    remote->len = len;
    *out = remote;
    return SEGUE_OK;
}

enum segue_status segue_connection_open(struct segue_transport *t,
                                        const struct segue_connect_args *args,
                                        struct segue_connection **out)
{
    return t->ops->connect(t, args, out);
}

void segue_connection_close(struct segue_connection *conn, void (*gone)(void *user),
                            void *user)
{
    segue_flight_close(conn, gone, user);
}

static bool op_is_known(const struct segue_transport *t, enum segue_op_kind kind)
{
    switch (kind) {
    case SEGUE_OP_COPY:
        return t->caps & SEGUE_TRANSPORT_MAP;
    case SEGUE_OP_READ:
        return t->caps & SEGUE_TRANSPORT_READ;
    case SEGUE_OP_SEND:
    case SEGUE_OP_RECV:
        return t->caps & SEGUE_TRANSPORT_STREAM;
    }
    return false;
}

static enum segue_status fill_local(struct segue_connection *conn, struct segue_op *op,
                                    struct segue_extent *side)
{
    for (size_t i = 0; i < op->n_local; i++) {
        struct segue_registration *reg = op->local[i];
        if (reg->transport != conn->transport)
            return segue_fail(SEGUE_E_INVALID, "region %zu is registered with %s, not %s",
                              i, reg->transport->name, conn->transport->name);
        side[i] = (struct segue_extent){reg->base, reg->memory.len};
    }
    return SEGUE_OK;
}

static enum segue_status fill_remote(struct segue_connection *conn, struct segue_op *op,
                                     struct segue_extent *side)
{
    for (size_t i = 0; i < op->n_remote; i++) {
        struct segue_remote *remote = op->remote[i];
        if (remote->connection != conn)
            return segue_fail(SEGUE_E_INVALID, "region %zu belongs to another peer", i);
        side[i] = (struct segue_extent){remote->base, remote->len};
    }
    return SEGUE_OK;
}

/* The side that the peer knows: anything is inside. */
static size_t fill_any(struct segue_extent *side)
{
    for (size_t i = 0; i < SEGUE_OP_REGIONS; i++)
        side[i] = (struct segue_extent){NULL, UINT64_MAX};
    return SEGUE_OP_REGIONS;
}

static enum segue_status check_op(struct segue_connection *conn, struct segue_op *op)
{
    if (!op_is_known(conn->transport, op->kind))
        return segue_fail(SEGUE_E_UNSUPPORTED, "%s has no such operation",
                          conn->transport->name);
    if (op->n_local > SEGUE_OP_REGIONS || op->n_remote > SEGUE_OP_REGIONS)
        return segue_fail(SEGUE_E_LIMIT, "an operation on %zu and %zu regions, of %d",
                          op->n_local, op->n_remote, SEGUE_OP_REGIONS);
    if (op->kind != SEGUE_OP_COPY && segue_transfer_converts(&op->transfer))
        return segue_fail(SEGUE_E_UNSUPPORTED, "%s moves bytes and converts none",
                          conn->transport->name);
    size_t n_src, n_dst;
    if (op->kind == SEGUE_OP_SEND) {
        SEGUE_TRY(fill_local(conn, op, op->src));
        n_src = op->n_local;
        n_dst = fill_any(op->dst);
    } else {
        SEGUE_TRY(fill_local(conn, op, op->dst));
        n_dst = op->n_local;
        if (op->kind == SEGUE_OP_RECV) {
            n_src = fill_any(op->src);
        } else {
            SEGUE_TRY(fill_remote(conn, op, op->src));
            n_src = op->n_remote;
        }
    }
    return segue_transfer_check(&op->transfer, op->src, n_src, op->dst, n_dst);
}

enum segue_status segue_op_post(struct segue_connection *conn, struct segue_op *op)
{
    SEGUE_TRY(check_op(conn, op));
    op->total = segue_transfer_bytes(&op->transfer);
    op->moved = 0;
    segue_cursor_init(&op->cursor, &op->transfer);
    SEGUE_TRY(segue_flight_begin(conn, op));
    enum segue_status status = conn->transport->ops->post(conn, op);
    if (status < 0)
        segue_flight_abandon(op);
    return status;
}

void segue_op_cancel(struct segue_op *op)
{
    segue_flight_stop(op, SEGUE_E_CANCELLED);
}

void segue_remote_drop(struct segue_remote *remote)
{
    if (remote)
        remote->transport->ops->drop(remote);
}

enum segue_status segue_memory_view(const struct segue_transport *t,
                                    const struct segue_memory *memory, char **view)
{
    struct segue_device *dev = memory->device;
    struct segue_memory_info info;
    if (!(dev->caps & SEGUE_DEVICE_VIEW))
        return segue_fail(
            SEGUE_E_UNSUPPORTED,
            "%s needs memory the cpu can address, which %s has not: stage it", t->name,
            dev->name);
    if (dev->caps & SEGUE_DEVICE_CMA) { /* its addresses are the cpu's */
        *view = memory->address;
        return SEGUE_OK;
    }
    SEGUE_TRY(segue_device_query(dev, memory->address, &info));
    uint64_t offset = (uint64_t)(memory->address - (char *)info.base);
    if (!info.view || offset > info.size || memory->len > info.size - offset)
        return segue_fail(SEGUE_E_RANGE,
                          "%lu bytes at %p are not inside one allocation of %s",
                          (unsigned long)memory->len, (void *)memory->address, dev->name);
    *view = info.view + offset;
    return SEGUE_OK;
}
