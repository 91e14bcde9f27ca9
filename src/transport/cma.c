/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-memory attach: process_vm_readv from another process of this host. It only ever
 * reads, as a write into a recycled pid would corrupt a stranger (rule R13).
 *
 * Two things keep it from reading a stranger: a pidfd, looked at before and after every
 * batch, and a cookie beside every registration, which is the last thing each batch
 * reads: while the cookie is there, the process is the one that exported the memory and
 * the memory was registered still.
 */
#include "transport/transport.h"

#include "base/bytes.h"
#include "base/random.h"
#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define COOKIE       16
#define BATCH_BYTES  (UINT64_C(4) << 20) /* what a cancel waits for: a millisecond */
#define BATCH_PIECES 1023                /* and the cookie: 1024, the kernel's limit */
#define BLOB_MAGIC   0x31616d63          /* "cma1" */

struct cma {
    struct segue_transport base;
    struct segue_loop *loop;
    struct segue_pool *pool;
};

struct cma_registration {
    struct segue_registration base;
    uint8_t cookie[COOKIE];
};

struct cma_remote {
    struct segue_remote base;
    char *cookie_at; /* in the peer */
    uint8_t cookie[COOKIE];
};

struct cma_connection {
    struct segue_connection base;
    struct segue_pool *pool;
    int pid, pidfd;
};

struct batch {
    struct iovec local[BATCH_PIECES + 1], remote[BATCH_PIECES + 1];
    size_t n;
    uint64_t bytes;
    const struct cma_remote *from; /* whose cookie ends it */
};

/* Reads all of the lists, or fails. Lists shrink as they are read. */
static enum segue_status read_all(int pid, struct iovec *local, struct iovec *remote,
                                  size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = process_vm_readv(pid, local + at, n - at, remote + at, n - at, 0);
        if (got <= 0) {
            int err = got < 0 ? errno : EFAULT;
            if (err == EINTR)
                continue;
            if (err == EPERM)
                return segue_fail(
                    SEGUE_E_REFUSED,
                    "not allowed to read the memory of process %d: same user and "
                    "kernel.yama.ptrace_scope 0, or CAP_SYS_PTRACE, is needed",
                    pid);
            if (err == ESRCH)
                return segue_fail(SEGUE_E_LOST, "process %d is gone", pid);
            if (err == EFAULT)
                return segue_fail(SEGUE_E_STALE,
                                  "process %d has no memory at %p any more", pid,
                                  remote[at].iov_base);
            return segue_fail_errno(SEGUE_E_SYSTEM, err,
                                    "reading the memory of process %d", pid);
        }
        size_t left = (size_t)got;
        while (at < n && left >= local[at].iov_len)
            left -= local[at++].iov_len;
        if (left) {
            local[at].iov_base = (char *)local[at].iov_base + left;
            remote[at].iov_base = (char *)remote[at].iov_base + left;
            local[at].iov_len = remote[at].iov_len -= left;
        }
    }
    return SEGUE_OK;
}

static void cma_close(struct segue_transport *t)
{
    free(t);
}

static enum segue_status cma_open(const struct segue_transport_args *args,
                                  struct segue_transport **out)
{
    char from[8] = "segue", to[8] = "";
    struct iovec local = {to, sizeof to}, remote = {from, sizeof from};
    if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != sizeof to)
        return segue_fail_errno(
            SEGUE_E_UNSUPPORTED, errno,
            "the kernel or a seccomp filter forbids process_vm_readv");
    struct cma *cma = calloc(1, sizeof *cma);
    if (!cma)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the transport cma");
    cma->base = (struct segue_transport){.ops = &segue_transport_cma,
                                         .name = args->name,
                                         .caps = SEGUE_TRANSPORT_READ,
                                         .min_run = 4096};
    cma->loop = args->loop;
    cma->pool = args->pool;
    *out = &cma->base;
    return SEGUE_OK;
}

/* Memory the CPU can address may be a destination; a source must also be ordinary
 * memory. */
static enum segue_status cma_reg(struct segue_transport *t,
                                 const struct segue_memory *memory,
                                 struct segue_registration **out)
{
    char *view;
    SEGUE_TRY(segue_memory_view(t, memory, &view));
    struct cma_registration *reg = calloc(1, sizeof *reg);
    if (!reg)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a registration");
    segue_random_fill(reg->cookie, sizeof reg->cookie);
    reg->base.base = view;
    *out = &reg->base;
    return SEGUE_OK;
}

static void cma_dereg(struct segue_registration *base)
{
    struct cma_registration *reg = (struct cma_registration *)base;
    explicit_bzero(reg->cookie, sizeof reg->cookie);
    free(reg);
}

static enum segue_status cma_export(struct segue_registration *base,
                                    struct segue_handle *out)
{
    struct cma_registration *reg = (struct cma_registration *)base;
    const struct segue_memory *memory = &base->memory;
    if (!(memory->device->caps & SEGUE_DEVICE_CMA))
        return segue_fail(
            SEGUE_E_UNSUPPORTED,
            "memory of %s is not ordinary process memory: cma cannot read it",
            memory->device->name);
    struct segue_writer w = segue_writer_make(out->blob, sizeof out->blob);
    segue_writer_u32(&w, BLOB_MAGIC);
    segue_writer_u64(&w, (uintptr_t)memory->address);
    segue_writer_u64(&w, memory->len);
    segue_writer_u64(&w, (uintptr_t)reg->cookie);
    segue_writer_bytes(&w, reg->cookie, sizeof reg->cookie);
    out->len = (uint32_t)w.len;
    out->n_fds = 0;
    return SEGUE_OK;
}

static enum segue_status parse_blob(const struct segue_handle *handle, uint64_t len,
                                    struct cma_remote *remote)
{
    struct segue_reader r = segue_reader_make(handle->blob, handle->len);
    uint32_t magic = segue_reader_u32(&r);
    uint64_t address = segue_reader_u64(&r), size = segue_reader_u64(&r);
    uint64_t cookie_at = segue_reader_u64(&r);
    segue_reader_copy(&r, remote->cookie, sizeof remote->cookie);
    if (!segue_reader_done(&r) || magic != BLOB_MAGIC || handle->n_fds != 0)
        return segue_fail(SEGUE_E_PROTOCOL, "a handle of %u bytes is none of cma",
                          handle->len);
    if (address > UINTPTR_MAX - size || cookie_at > UINTPTR_MAX - COOKIE)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "a cma handle with an address that overflows");
    if (len > size)
        return segue_fail(SEGUE_E_MISMATCH,
                          "a cma handle of %lu bytes for %lu bytes of memory",
                          (unsigned long)size, (unsigned long)len);
    remote->base.base = (char *)(uintptr_t)address; // NOLINT: an address of the peer's
    remote->cookie_at = (char *)(uintptr_t)cookie_at;
    return SEGUE_OK;
}

static enum segue_status check_alive(const struct cma_connection *conn)
{
    struct pollfd p = {.fd = conn->pidfd, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return SEGUE_OK;
    return segue_fail(SEGUE_E_LOST, "process %d has ended", conn->pid);
}

/* Reads the batch and its cookie. A process that dies meanwhile makes it all lost,
 * whatever the kernel said about its memory. */
static enum segue_status read_batch(const struct cma_connection *conn, struct batch *b)
{
    uint8_t cookie[COOKIE];
    b->local[b->n] = (struct iovec){cookie, sizeof cookie};
    b->remote[b->n] = (struct iovec){b->from->cookie_at, sizeof cookie};
    SEGUE_TRY(check_alive(conn));
    enum segue_status status = read_all(conn->pid, b->local, b->remote, b->n + 1);
    SEGUE_TRY(check_alive(conn));
    SEGUE_TRY(status);
    if (memcmp(cookie, b->from->cookie, sizeof cookie) != 0)
        return segue_fail(SEGUE_E_STALE,
                          "process %d has withdrawn the memory it exported", conn->pid);
    return SEGUE_OK;
}

static enum segue_status cma_import(struct segue_connection *base,
                                    struct segue_device *device,
                                    const struct segue_handle *handle, uint64_t len,
                                    struct segue_remote **out)
{
    if (!(device->caps & SEGUE_DEVICE_VIEW))
        return segue_fail(SEGUE_E_UNSUPPORTED, "cma cannot read into memory of %s",
                          device->name);
    struct cma_remote *remote = calloc(1, sizeof *remote);
    if (!remote)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a handle");
    enum segue_status status = parse_blob(handle, len, remote);
    if (status >= 0) {
        /* Reads the cookie alone: is it allowed, and is it the right process? */
        struct batch b = {.n = 0, .from = remote};
        status = read_batch((struct cma_connection *)base, &b);
    }
    if (status < 0) {
        free(remote);
        return status;
    }
    *out = &remote->base;
    return SEGUE_OK;
}

static void cma_drop(struct segue_remote *remote)
{
    free(remote);
}

static enum segue_status cma_connect(struct segue_transport *t,
                                     const struct segue_connect_args *args,
                                     struct segue_connection **out)
{
    if (args->pid <= 0 || args->pidfd < 0)
        return segue_fail(SEGUE_E_UNSUPPORTED,
                          "cma needs a process of this host and a pidfd that pins it");
    struct cma_connection *conn = calloc(1, sizeof *conn);
    if (!conn)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a connection");
    conn->pidfd = fcntl(args->pidfd, F_DUPFD_CLOEXEC, 0);
    if (conn->pidfd < 0) {
        int err = errno;
        free(conn);
        return segue_fail_errno(SEGUE_E_LIMIT, err, "cannot keep the pidfd of process %d",
                                args->pid);
    }
    conn->pid = args->pid;
    conn->pool = ((struct cma *)t)->pool;
    conn->base.transport = t;
    segue_flight_init(&conn->base, ((struct cma *)t)->loop);
    *out = &conn->base;
    return SEGUE_OK;
}

static void cma_disconnect(struct segue_connection *base)
{
    struct cma_connection *conn = (struct cma_connection *)base;
    segue_flight_fini(base);
    segue_fd_close(&conn->pidfd);
    free(conn);
}

/* Pieces of one remote region, as its cookie speaks for it alone. */
static void fill_batch(struct segue_op *op, struct batch *b)
{
    struct segue_piece piece;
    b->n = 0;
    b->bytes = 0;
    b->from = NULL;
    while (b->n < BATCH_PIECES && b->bytes < BATCH_BYTES) {
        struct segue_cursor before = op->cursor;
        if (!segue_cursor_next(&op->cursor, BATCH_BYTES - b->bytes, &piece))
            break;
        const struct cma_remote *from =
            (const struct cma_remote *)op->remote[piece.src_region];
        if (b->from && b->from != from) {
            op->cursor = before;
            break;
        }
        b->from = from;
        b->local[b->n] = (struct iovec){op->dst[piece.dst_region].base + piece.dst_offset,
                                        piece.len};
        b->remote[b->n] = (struct iovec){
            op->src[piece.src_region].base + piece.src_offset, piece.len};
        b->n++;
        b->bytes += piece.len;
    }
}

static void read_task(struct segue_task *task)
{
    struct segue_op *op = task->user;
    struct cma_connection *conn = (struct cma_connection *)op->connection;
    struct batch b;
    do {
        enum segue_status status = op->stop;
        if (status >= 0) {
            fill_batch(op, &b);
            if (b.n == 0) {
                segue_flight_end(op, SEGUE_OK);
                return;
            }
            status = read_batch(conn, &b);
        }
        if (status < 0) {
            segue_flight_end(op, status);
            return;
        }
        op->moved += b.bytes;
    } while (!segue_pool_waiting(conn->pool));
    segue_pool_submit(conn->pool, task);
}

static enum segue_status cma_post(struct segue_connection *base, struct segue_op *op)
{
    op->task.fn = read_task;
    op->task.user = op;
    segue_pool_submit(((struct cma_connection *)base)->pool, &op->task);
    return SEGUE_OK;
}

const struct segue_transport_ops segue_transport_cma = {
    .name = "cma",
    .open = cma_open,
    .close = cma_close,
    .reg = cma_reg,
    .dereg = cma_dereg,
    .export = cma_export,
    .import = cma_import,
    .drop = cma_drop,
    .connect = cma_connect,
    .disconnect = cma_disconnect,
    .post = cma_post,
};
