/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes over a connected stream that the agent has authenticated: this file is the
 * transport, its connections and who works when; the two sides are in tcp_send.c and
 * tcp_recv.c.
 */
#include "transport/tcp.h"

#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER (4 << 20) /* bytes the kernel may hold each way */

/* An epoll of its own, inside the loop's: the mover's threads arm sockets in it
 * themselves. */
struct tcp {
    struct segue_transport base;
    struct segue_loop *loop;
    struct segue_pool *pool;
    int epoll;
    struct segue_watch watch;
};

static void lock(struct segue_tcp_connection *conn)
{
    pthread_mutex_lock(&conn->base.flight.lock);
}

static void unlock(struct segue_tcp_connection *conn)
{
    pthread_mutex_unlock(&conn->base.flight.lock);
}

/* Called with the lock. Cannot fail: the socket is in the epoll already. */
static void arm(struct segue_tcp_connection *conn)
{
    struct epoll_event event = {.events = conn->armed | EPOLLONESHOT, .data.ptr = conn};
    epoll_ctl(conn->epoll, EPOLL_CTL_MOD, conn->socket.fd, &event);
}

/* Makes the side take a turn, soon. */
static void kick(struct segue_tcp_side *side)
{
    struct segue_tcp_connection *conn = side->conn;
    lock(conn);
    bool running = side->running;
    side->running = true;
    side->again |= running;
    unlock(conn);
    if (!running && segue_flight_hold(&conn->base))
        segue_pool_submit(conn->pool, &side->task);
}

/* Whether the side is to go on; otherwise it waits for its event or a kick. */
static bool goes_on(struct segue_tcp_side *side, enum segue_tcp_turn next)
{
    struct segue_tcp_connection *conn = side->conn;
    lock(conn);
    bool more = next == SEGUE_TCP_MORE || side->again;
    side->again = false;
    if (!more) {
        side->running = false;
        if (next == SEGUE_TCP_WAIT) {
            conn->armed |= side->event;
            arm(conn);
        }
    }
    unlock(conn);
    return more;
}

static void take_turns(struct segue_task *task)
{
    struct segue_tcp_side *side = task->user;
    struct segue_tcp_connection *conn = side->conn;
    while (goes_on(side, side->turn(side)))
        if (segue_pool_waiting(conn->pool)) {
            segue_pool_submit(conn->pool, task);
            return;
        }
    segue_flight_release(&conn->base);
}

static void on_event(struct segue_tcp_connection *conn, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        events |= EPOLLIN | EPOLLOUT;
    lock(conn);
    uint32_t due = conn->armed & events;
    conn->armed &= ~events;
    if (conn->armed)
        arm(conn);
    unlock(conn);
    if (due & EPOLLIN)
        kick(&conn->rx);
    if (due & EPOLLOUT)
        kick(&conn->tx);
}

static void on_epoll(struct segue_watch *watch, uint32_t events)
{
    struct tcp *tcp = watch->user;
    struct epoll_event ready[64];
    int n = epoll_wait(tcp->epoll, ready, 64, 0);
    for (int i = 0; i < n; i++)
        on_event(ready[i].data.ptr, ready[i].events);
}

void segue_tcp_end(struct segue_tcp_side *side, struct segue_op *op,
                   enum segue_status status)
{
    lock(side->conn);
    segue_list_remove(&op->queue);
    unlock(side->conn);
    if (side->op == op) {
        side->op = NULL;
        side->iov_at = side->iov_n = 0;
    }
    segue_flight_end(op, status);
}

static void end_stopped(struct segue_tcp_side *side, struct segue_op *op)
{
    segue_tcp_end(side, op, op->stop);
}

bool segue_tcp_sweep(struct segue_tcp_side *side)
{
    struct segue_list stopped;
    segue_list_init(&stopped);
    lock(side->conn);
    bool whole = !side->conn->base.flight.broken;
    if (side->sweep || !whole) {
        side->sweep = false;
        segue_list_each (link, &side->ops) {
            struct segue_op *op = segue_container_of(link, struct segue_op, queue);
            if (op->stop && (op != side->op || !whole)) {
                segue_list_remove(link);
                segue_list_push_back(&stopped, link);
            }
        }
    }
    unlock(side->conn);
    for (struct segue_list *link; (link = segue_list_pop_front(&stopped));)
        end_stopped(side, segue_container_of(link, struct segue_op, queue));
    return whole;
}

void segue_tcp_break(struct segue_tcp_side *side)
{
    shutdown(side->conn->socket.fd, SHUT_RDWR);
    segue_flight_break(&side->conn->base);
}

uint64_t segue_tcp_gather(struct segue_tcp_side *side, uint64_t room)
{
    struct segue_op *op = side->op;
    bool sends = op->kind == SEGUE_OP_SEND;
    uint64_t bytes = 0;
    struct segue_piece piece;
    struct iovec *last = NULL;
    /* The last place is for the header that follows a body. */
    while (side->iov_n < SEGUE_TCP_PIECES - 1 && bytes < room &&
           segue_cursor_next(&op->cursor, room - bytes, &piece)) {
        char *at = sends ? op->src[piece.src_region].base + piece.src_offset
                         : op->dst[piece.dst_region].base + piece.dst_offset;
        bytes += piece.len;
        /* A piece ends where either side has a gap; here only this side's count. */
        if (last && (char *)last->iov_base + last->iov_len == at) {
            last->iov_len += piece.len;
            continue;
        }
        last = &side->iov[side->iov_n++];
        *last = (struct iovec){at, piece.len};
    }
    return bytes;
}

void segue_tcp_advance(struct segue_tcp_side *side, size_t n)
{
    while (side->iov_at < side->iov_n) {
        struct iovec *iov = &side->iov[side->iov_at];
        if (n < iov->iov_len) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= n;
            return;
        }
        n -= iov->iov_len;
        side->iov_at++;
    }
}

static void tcp_wake(struct segue_connection *base)
{
    struct segue_tcp_connection *conn = (struct segue_tcp_connection *)base;
    lock(conn);
    conn->tx.sweep = conn->rx.sweep = true;
    unlock(conn);
    kick(&conn->tx);
    kick(&conn->rx);
}

static enum segue_status tcp_post(struct segue_connection *base, struct segue_op *op)
{
    struct segue_tcp_connection *conn = (struct segue_tcp_connection *)base;
    struct segue_tcp_side *side = op->kind == SEGUE_OP_SEND ? &conn->tx : &conn->rx;
    lock(conn);
    segue_list_push_back(&side->ops, &op->queue);
    /* Told to stop since it is in flight: the sweep for that did not find it here. */
    bool stopped = op->stop;
    side->sweep |= stopped;
    unlock(conn);
    if (stopped || side == &conn->tx)
        kick(side);
    return SEGUE_OK;
}

static void tcp_close(struct segue_transport *t)
{
    struct tcp *tcp = (struct tcp *)t;
    segue_loop_unwatch(tcp->loop, &tcp->watch);
    segue_fd_close(&tcp->epoll);
    free(tcp);
}

static enum segue_status tcp_open(const struct segue_transport_args *args,
                                  struct segue_transport **out)
{
    struct tcp *tcp = calloc(1, sizeof *tcp);
    if (!tcp)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the transport tcp");
    tcp->base = (struct segue_transport){.ops = &segue_transport_tcp,
                                         .name = args->name,
                                         .caps = SEGUE_TRANSPORT_STREAM |
                                                 SEGUE_TRANSPORT_NETWORK,
                                         .min_run = 256};
    tcp->loop = args->loop;
    tcp->pool = args->pool;
    tcp->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (tcp->epoll < 0) {
        int err = errno;
        free(tcp);
        return segue_fail_errno(SEGUE_E_LIMIT, err, "cannot make an epoll for tcp");
    }
    tcp->watch = (struct segue_watch){.fd = tcp->epoll, .fn = on_epoll, .user = tcp};
    enum segue_status status = segue_loop_watch(tcp->loop, &tcp->watch, EPOLLIN);
    if (status < 0) {
        segue_fd_close(&tcp->epoll);
        free(tcp);
        return status;
    }
    *out = &tcp->base;
    return SEGUE_OK;
}

static enum segue_status tcp_reg(struct segue_transport *t,
                                 const struct segue_memory *memory,
                                 struct segue_registration **out)
{
    char *view;
    SEGUE_TRY(segue_memory_view(t, memory, &view));
    struct segue_registration *reg = calloc(1, sizeof *reg);
    if (!reg)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a registration");
    reg->base = view;
    *out = reg;
    return SEGUE_OK;
}

static void tcp_dereg(struct segue_registration *reg)
{
    free(reg);
}

static void init_side(struct segue_tcp_connection *conn, struct segue_tcp_side *side,
                      enum segue_tcp_turn (*turn)(struct segue_tcp_side *side),
                      uint32_t event)
{
    side->conn = conn;
    side->turn = turn;
    side->event = event;
    side->task.fn = take_turns;
    side->task.user = side;
    segue_list_init(&side->ops);
}

/* The kernel grants less than asked for where its limit is lower: slower, not wrong. */
static enum segue_status tune(int fd)
{
    int size = BUFFER, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno,
                                "a data stream that cannot be set up");
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return segue_stream_tune(fd, 0);
}

static enum segue_status tcp_connect(struct segue_transport *t,
                                     const struct segue_connect_args *args,
                                     struct segue_connection **out)
{
    struct tcp *tcp = (struct tcp *)t;
    if (args->stream.fd < 0)
        return segue_fail(SEGUE_E_INVALID, "tcp needs a connected data stream");
    SEGUE_TRY(tune(args->stream.fd));
    struct segue_tcp_connection *conn = calloc(1, sizeof *conn);
    if (!conn)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a connection");
    conn->base.transport = t;
    conn->pool = tcp->pool;
    conn->epoll = tcp->epoll;
    conn->socket = args->stream;
    conn->armed = EPOLLIN;
    init_side(conn, &conn->tx, segue_tcp_send_turn, EPOLLOUT);
    init_side(conn, &conn->rx, segue_tcp_recv_turn, EPOLLIN);
    segue_flight_init(&conn->base, tcp->loop);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = conn};
    if (epoll_ctl(tcp->epoll, EPOLL_CTL_ADD, conn->socket.fd, &event) < 0) {
        int err = errno;
        segue_flight_fini(&conn->base);
        free(conn);
        return segue_fail_errno(SEGUE_E_SYSTEM, err, "cannot wait for a data stream");
    }
    /* What came together with the preamble shows on no fd. */
    if (conn->socket.tls)
        kick(&conn->rx);
    *out = &conn->base;
    return SEGUE_OK;
}

static void tcp_disconnect(struct segue_connection *base)
{
    struct segue_tcp_connection *conn = (struct segue_tcp_connection *)base;
    segue_flight_fini(base);
    epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->socket.fd, NULL);
    segue_socket_close(&conn->socket);
    free(conn);
}

const struct segue_transport_ops segue_transport_tcp = {
    .name = "tcp",
    .open = tcp_open,
    .close = tcp_close,
    .reg = tcp_reg,
    .dereg = tcp_dereg,
    .connect = tcp_connect,
    .disconnect = tcp_disconnect,
    .post = tcp_post,
    .wake = tcp_wake,
};
