/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the tcp transport share: a connection has two sides, sending and
 * receiving, that know nothing of each other. A side works in turns of bounded size on
 * the pool, one at a time, as long as the socket lets it; otherwise it waits in the
 * transport's epoll.
 */
#ifndef TRANSPORT_TCP_H
#define TRANSPORT_TCP_H

#include "transport/tcp_frame.h"
#include "transport/transport.h"

#include <sys/uio.h>

#define SEGUE_TCP_PIECES     1024 /* the kernel's limit of a gathering write */
#define SEGUE_TCP_TURN_BYTES ((size_t)1 << 20)

enum segue_tcp_turn {
    SEGUE_TCP_MORE, /* the socket is ready still */
    SEGUE_TCP_WAIT, /* until it is */
    SEGUE_TCP_IDLE, /* until there is something to do */
};

struct segue_tcp_connection;

struct segue_tcp_side {
    struct segue_tcp_connection *conn;
    enum segue_tcp_turn (*turn)(struct segue_tcp_side *side);
    uint32_t event; /* EPOLLIN or EPOLLOUT */
    struct segue_task task;

    /* under the lock of the connection's flight */
    struct segue_list ops; /* open operations of this side, oldest first */
    bool running;          /* a turn is queued or under way */
    bool again;            /* and another is wanted */
    bool sweep;            /* some of `ops` have been told to stop */

    /* the turn's own */
    struct segue_op *op; /* whose frame is under way; NULL: nobody's */
    struct segue_tcp_frame frame;
    uint8_t header[SEGUE_TCP_HEADER];
    size_t header_at; /* bytes of it that are sent, or received */
    uint64_t left;    /* bytes of the body that are not */
    bool last;        /* sending: the frame is the operation's last */
    bool abort;       /* sending: after it, the peer learns that frame.tag has stopped */
    uint8_t tail[SEGUE_TCP_HEADER]; /* sending: the frame that ends the list */
    struct iovec iov[SEGUE_TCP_PIECES];
    size_t iov_at, iov_n;
};

struct segue_tcp_connection {
    struct segue_connection base;
    struct segue_pool *pool;
    int epoll; /* borrowed from the transport */
    struct segue_socket socket;
    uint32_t armed; /* events the epoll waits for; under the lock */
    struct segue_tcp_side tx, rx;
    uint8_t nowhere[1 << 16]; /* where bytes go that nobody waits for */
};

enum segue_tcp_turn segue_tcp_send_turn(struct segue_tcp_side *side);
enum segue_tcp_turn segue_tcp_recv_turn(struct segue_tcp_side *side);

/* For turns. Ends an operation of this side. */
void segue_tcp_end(struct segue_tcp_side *side, struct segue_op *op,
                   enum segue_status status);

/* For turns. Ends all operations but the one under way that were told to stop; false
 * when the connection is broken, and then there are none left. */
bool segue_tcp_sweep(struct segue_tcp_side *side);

/* For turns. The stream is of no use any more. */
void segue_tcp_break(struct segue_tcp_side *side);

/* For turns. Adds contiguous pieces of the operation (`extents` of its side) to the
 * list, until it holds `room` bytes; returns how many it added. */
uint64_t segue_tcp_gather(struct segue_tcp_side *side, uint64_t room);

/* Takes `n` moved bytes off the list. */
void segue_tcp_advance(struct segue_tcp_side *side, size_t n);

#endif
