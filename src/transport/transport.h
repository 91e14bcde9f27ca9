/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport table: a way to move bytes between two regions. One const table a
 * backend, listed in table.c; state lives in instances whose first member is the base
 * struct below. Callers use the checked wrappers at the end.
 *
 * Threads: post and cancel: any thread; everything else: the agent's, which owns the
 * loop. Nothing blocks. An operation's `done` runs exactly once, on any thread (where
 * segue_error_detail() has the sentence of its failure), never from inside the post; when
 * it has run, no byte of that operation can land any more. It holds up the thread that
 * moves bytes, so it is short.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "base/loop.h"
#include "base/move.h"
#include "base/pool.h"
#include "base/tls.h"
#include "device/device.h"
#include "transport/flight.h"

enum segue_transport_caps {
    SEGUE_TRANSPORT_MAP = 1 << 0,     /* the peer's memory is addressable: COPY */
    SEGUE_TRANSPORT_READ = 1 << 1,    /* one-sided read */
    SEGUE_TRANSPORT_WRITE = 1 << 2,   /* one-sided write */
    SEGUE_TRANSPORT_STREAM = 1 << 3,  /* both sides post: SEND, RECV */
    SEGUE_TRANSPORT_NETWORK = 1 << 4, /* reaches other hosts; exports no descriptors */
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
    uint32_t min_run; /* shortest contiguous run it moves well, bytes; shorter ones are
                         packed first */
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
    char *base; /* where this transport finds it */
};

struct segue_remote { /* a peer's exported memory, usable through one connection */
    struct segue_transport *transport;
    struct segue_connection *connection; /* which one; may be gone when it is dropped */
    struct segue_device *device;         /* who copies from it or owns the destination */
    char *base;                          /* where this transport finds it */
    uint64_t len;                        /* bytes */
};

/* Who the peer is, as the agent has proved it. Borrowed for the call, but `stream`. */
struct segue_connect_args {
    int pid;   /* from the socket's credentials, never from the peer's words; 0: another
                   host */
    int pidfd; /* pins that process; -1: none */
    struct segue_socket stream; /* a connected, authenticated data stream; the connection
                   owns it once connect succeeded; fd -1: none */
};

struct segue_connection {
    struct segue_transport *transport;
    struct segue_flight flight;
};

enum segue_op_kind {
    SEGUE_OP_COPY, /* MAP: remote to local, by the local device's copy */
    SEGUE_OP_READ, /* remote to local, contiguous pieces of the cursor */
    SEGUE_OP_SEND, /* STREAM: local, the transfer's source side, to the peer's RECV */
    SEGUE_OP_RECV, /* STREAM: the SEND of this tag to local, the destination side */
};

#define SEGUE_OP_REGIONS 8 /* registrations, and remotes, of one operation */

/*
 * One operation. The caller owns it and what it points to until `done`. For COPY and READ
 * the transfer's source regions are `remote`, its destination regions `local`; SEND uses
 * the source side only, RECV the destination side only (the other side's numbers are not
 * looked at, but its region indices stay below SEGUE_OP_REGIONS), and both carry the
 * bytes in the cursor's order. A RECV is posted before its SEND: bytes of a tag that
 * nobody waits for go nowhere. Only COPY may convert.
 */
struct segue_op {
    enum segue_op_kind kind;
    struct segue_transfer transfer;
    struct segue_registration *const *local;
    size_t n_local;
    struct segue_remote *const *remote;
    size_t n_remote;
    uint64_t tag;         /* STREAM: which SEND meets which RECV; unique on a connection,
                             never re-used */
    uint64_t deadline_ns; /* segue_now_ns() clock; the operation ends E_TIMEOUT when it
                             passes */
    void (*done)(struct segue_op *op, enum segue_status status);
    void *user;

    /* the transport's */
    struct segue_connection *connection;
    _Atomic int stop;        /* why it has to end early (enum segue_status), or 0 */
    struct segue_list link;  /* open operations of the connection */
    struct segue_list queue; /* those that wait for the stream */
    struct segue_cursor cursor;
    struct segue_task task;
    struct segue_copy_job job;
    struct segue_extent src[SEGUE_OP_REGIONS], dst[SEGUE_OP_REGIONS];
    uint64_t total;         /* bytes */
    _Atomic uint64_t moved; /* of them so far */
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

    /* What a peer needs to reach it (STREAM: nothing, NULL); fds are the caller's to
     * close. */
    enum segue_status (*export)(struct segue_registration *reg, struct segue_handle *out);
    /* `device` will do the copying (COPY) or own the destination. Bounds, seals and
     * identity are checked here; the handle's fds stay the caller's. */
    enum segue_status (*import)(struct segue_connection *conn,
                                struct segue_device *device,
                                const struct segue_handle *handle, uint64_t len,
                                struct segue_remote **out);
    void (*drop)(struct segue_remote *remote);

    enum segue_status (*connect)(struct segue_transport *t,
                                 const struct segue_connect_args *args,
                                 struct segue_connection **out);
    /* Frees it: nothing is in flight any more. */
    void (*disconnect)(struct segue_connection *conn);

    /* `op` is checked, in flight, its extents are filled in; ends by segue_flight_end. */
    enum segue_status (*post)(struct segue_connection *conn, struct segue_op *op);
    /* Operations of `conn` have been told to stop; NULL where those who move the bytes
     * look by themselves. Any thread, without locks. */
    void (*wake)(struct segue_connection *conn);
};

extern const struct segue_transport_ops segue_transport_mapped, segue_transport_cma,
    segue_transport_tcp;

/* table.c: the rows in the order of preference: shm, ipc, cma, tcp. NULL past the end. */
const char *segue_transport_name(size_t row);
enum segue_status segue_transport_open(size_t row, struct segue_loop *loop,
                                       struct segue_pool *pool,
                                       struct segue_transport **out);

/* Checked wrappers (transport.c). A verb that a backend does not have is
 * E_UNSUPPORTED. */
void segue_transport_close(struct segue_transport *t);

/* What: makes memory usable; the registration is owned and outlives its operations. */
enum segue_status segue_memory_register(struct segue_transport *t,
                                        const struct segue_memory *memory,
                                        struct segue_registration **out);
void segue_memory_deregister(struct segue_registration *reg);
enum segue_status segue_registration_export(struct segue_registration *reg,
                                            struct segue_handle *out);

/* What: a peer's memory of at least `len` bytes; dropped after its last operation and
 * before the transport closes; its connection may be gone by then. */
enum segue_status segue_remote_import(struct segue_connection *conn,
                                      struct segue_device *device,
                                      const struct segue_handle *handle, uint64_t len,
                                      struct segue_remote **out);
void segue_remote_drop(struct segue_remote *remote);

enum segue_status segue_connection_open(struct segue_transport *t,
                                        const struct segue_connect_args *args,
                                        struct segue_connection **out);

/* What: ends every operation (done is called for each, E_CANCELLED unless it ended by
 * itself), then calls `gone` (may be NULL) once, on the agent's thread: no byte of
 * this connection can land any more and it is freed. */
void segue_connection_close(struct segue_connection *conn, void (*gone)(void *user),
                            void *user);

/* What: starts `op`, after checking every byte of the transfer against the lengths of its
 * registrations and remotes. A failing post calls no `done`. Any thread. */
enum segue_status segue_op_post(struct segue_connection *conn, struct segue_op *op);

/* What: asks for an early end, E_CANCELLED, or OK when the last byte was quicker;
 * `done` comes either way. Harmless on an operation that has ended while its
 * connection is there. Any thread. */
void segue_op_cancel(struct segue_op *op);

/* For backends: the CPU's pointer to registered memory. Errors: E_UNSUPPORTED (the
 * device has none: its bytes must be staged), E_RANGE (outside the allocation). */
enum segue_status segue_memory_view(const struct segue_transport *t,
                                    const struct segue_memory *memory, char **view);

#endif
