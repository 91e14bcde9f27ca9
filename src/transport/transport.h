/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport table: a way to move bytes between two regions. One const table a backend, listed in
 * table.c; state lives in instances whose first member is the base struct below. Callers use the
 * checked wrappers, which answer E_UNSUPPORTED for a verb that is NULL.
 *
 * Threads: every verb but `post` and `cancel` is called on the agent's thread; nothing blocks. An
 * operation's `done` runs exactly once, on any thread, never from inside `post`; when it has run, no
 * byte of that operation can land any more (where a fabric cannot promise that, it has `quiesce`).
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "base/loop.h"
#include "base/move.h"
#include "base/pool.h"
#include "device/device.h"

enum segue_transport_caps {
    SEGUE_TRANSPORT_MAP = 1 << 0,    /* the peer's memory is addressable: COPY */
    SEGUE_TRANSPORT_READ = 1 << 1,   /* one-sided read */
    SEGUE_TRANSPORT_WRITE = 1 << 2,  /* one-sided write */
    SEGUE_TRANSPORT_STREAM = 1 << 3, /* both sides post: SEND, RECV */
};

struct segue_transport_args {
    const char *name; /* the row of table.c: "shm", "ipc", "cma", "tcp" */
    struct segue_loop *loop;
    struct segue_pool *pool;
};

struct segue_transport {
    const struct segue_transport_ops *ops;
    const char *name; /* what users see */
    uint32_t caps;
    uint32_t
        min_run; /* shortest contiguous run it moves well, bytes; shorter ones are packed first */
};

/* Memory of one device, as it is registered. */
struct segue_memory {
    struct segue_device *device;
    char *address; /* the device's address */
    uint64_t len;  /* bytes */
};

struct segue_registration { /* local memory this transport may use */
    struct segue_transport *transport;
    struct segue_memory memory;
};

struct segue_remote { /* a peer's exported memory, usable through one connection */
    struct segue_connection *connection;
    uint64_t len; /* bytes */
};

/* Who the peer is, as the agent has proved it. fds are borrowed for the call except `stream`. */
struct segue_connect_args {
    int pid; /* from the socket's credentials, never from the peer's words; 0: another host */
    int pidfd; /* pins that process; -1: none */
    int stream; /* a connected, authenticated data stream; the connection owns it; -1: none */
};

struct segue_connection {
    struct segue_transport *transport;
};

enum segue_op_kind {
    SEGUE_OP_COPY, /* MAP: remote -> local, by the local device's copy */
    SEGUE_OP_READ, /* remote -> local, contiguous pieces of the cursor */
    SEGUE_OP_SEND, /* STREAM: local (source side of the transfer) -> the peer's RECV with this tag */
    SEGUE_OP_RECV, /* STREAM: the peer's SEND with this tag -> local (destination side) */
};

/*
 * One operation. The caller owns it and what it points to until `done`. For COPY and READ the
 * transfer's source regions are `remote`, its destination regions `local`; SEND uses the source side
 * only, RECV the destination side only, and both carry the bytes in the cursor's order.
 */
struct segue_op {
    enum segue_op_kind kind;
    struct segue_transfer transfer;
    struct segue_registration *const *local;
    size_t n_local;
    struct segue_remote *const *remote;
    size_t n_remote;
    uint64_t
        tag; /* STREAM: which SEND meets which RECV; unique on a connection, never re-used */
    uint64_t
        deadline_ns; /* segue_now_ns() clock; the operation ends E_TIMEOUT when it passes */
    void (*done)(struct segue_op *op, enum segue_status status);
    void *user;

    /* the transport's */
    struct segue_connection *connection;
    _Atomic bool cancelled;
    struct segue_list link;
    struct segue_timer timer;
    struct segue_cursor cursor;
    struct segue_copy_job job;
    struct segue_extent
        extent[2]
              [8]; /* source and destination tables of `job` (at most 8 regions a side) */
    uint64_t moved;
};

struct segue_transport_ops {
    const char *name;
    /* One sentence through segue_fail when it cannot be used on this machine. */
    enum segue_status (*open)(const struct segue_transport_args *args,
                              struct segue_transport **out);
    void (*close)(struct segue_transport *t); /* everything below is gone already */

    enum segue_status (*reg)(struct segue_transport *t, const struct segue_memory *memory,
                             struct segue_registration **out);
    void (*dereg)(struct segue_registration *reg);

    /* What a peer needs to reach it; fds are the caller's to close. */
    enum segue_status (*export)(struct segue_registration *reg, struct segue_handle *out);
    /* `device` will do the copying (COPY) or own the destination. Bounds, seals and identity are
     * checked here; the handle's fds stay the caller's. */
    enum segue_status (*import)(struct segue_connection *conn,
                                struct segue_device *device,
                                const struct segue_handle *handle, uint64_t len,
                                struct segue_remote **out);
    void (*drop)(struct segue_remote *remote);

    enum segue_status (*connect)(struct segue_transport *t,
                                 const struct segue_connect_args *args,
                                 struct segue_connection **out);
    /* Ends every operation (done is called for each, E_LOST or E_CANCELLED), then calls `gone` once, on
     * the agent's thread: no byte of this connection can land any more and it is freed. */
    void (*disconnect)(struct segue_connection *conn, void (*gone)(void *user),
                       void *user);

    enum segue_status (*post)(struct segue_connection *conn, struct segue_op *op);
    void (*cancel)(struct segue_op *op); /* best effort; `done` still comes once */
};

extern const struct segue_transport_ops segue_transport_mapped, segue_transport_cma,
    segue_transport_tcp;

/* table.c: the rows in the order of preference: shm, ipc, cma, tcp. NULL past the end. */
const char *segue_transport_name(size_t row);
enum segue_status segue_transport_open(size_t row, struct segue_loop *loop,
                                       struct segue_pool *pool,
                                       struct segue_transport **out);

/* Checked wrappers (transport.c): segue_op_post checks every byte of the transfer against the lengths of
 * its registrations and remotes before anything moves. */
void segue_transport_close(struct segue_transport *t);
enum segue_status segue_memory_register(struct segue_transport *t,
                                        const struct segue_memory *memory,
                                        struct segue_registration **out);
void segue_memory_deregister(struct segue_registration *reg);
enum segue_status segue_registration_export(struct segue_registration *reg,
                                            struct segue_handle *out);
enum segue_status segue_remote_import(struct segue_connection *conn,
                                      struct segue_device *device,
                                      const struct segue_handle *handle, uint64_t len,
                                      struct segue_remote **out);
void segue_remote_drop(struct segue_remote *remote);
enum segue_status segue_connection_open(struct segue_transport *t,
                                        const struct segue_connect_args *args,
                                        struct segue_connection **out);
void segue_connection_close(struct segue_connection *conn, void (*gone)(void *user),
                            void *user);
enum segue_status segue_op_post(struct segue_connection *conn, struct segue_op *op);
void segue_op_cancel(struct segue_op *op);

#endif
