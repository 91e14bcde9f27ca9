/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending side: one operation after the other, frame by frame, from the bytes' final
 * places. An operation that stops in the middle of a frame lets go of its memory at once:
 * what is missing of the frame is sent as zeros, and then a frame says that nothing of it
 * counts.
 */
#include "transport/tcp.h"

static const uint8_t zeros[1 << 14];

static void add_iov(struct segue_tcp_side *side, const void *data, size_t n)
{
    side->iov[side->iov_n++] = (struct iovec){(void *)(uintptr_t)data, n};
}

static void add_tail(struct segue_tcp_side *side, uint32_t flags, uint64_t tag)
{
    struct segue_tcp_frame frame = {flags, tag, 0};
    segue_tcp_frame_write(&frame, side->tail);
    add_iov(side, side->tail, sizeof side->tail);
}

/* The next frame of the operation, and its end when these are its last bytes. */
static void compose(struct segue_tcp_side *side)
{
    struct segue_op *op = side->op;
    side->iov_at = 0;
    side->iov_n = 1;
    uint64_t length = segue_tcp_gather(side, SEGUE_TCP_BODY_MAX);
    side->frame = (struct segue_tcp_frame){0, op->tag, length};
    side->left = length;
    if (length) {
        segue_tcp_frame_write(&side->frame, side->header);
        side->iov[0] = (struct iovec){side->header, sizeof side->header};
        side->header_at = 0;
    } else {
        side->iov_n = 0;
        side->header_at = sizeof side->header;
    }
    side->last = length == 0 || op->moved + length == op->total;
    if (side->last)
        add_tail(side, SEGUE_TCP_END, op->tag);
}

/* The rest of a frame whose operation has stopped. */
static void compose_zeros(struct segue_tcp_side *side)
{
    side->iov_at = side->iov_n = 0;
    if (side->header_at < sizeof side->header)
        add_iov(side, side->header + side->header_at,
                sizeof side->header - side->header_at);
    for (uint64_t left = side->left; left > 0;) {
        size_t n = left < sizeof zeros ? left : sizeof zeros;
        add_iov(side, zeros, n);
        left -= n;
    }
}

static void give_up(struct segue_tcp_side *side)
{
    struct segue_op *op = side->op;
    side->op = NULL;
    if (side->header_at > 0 && side->left > 0) {
        compose_zeros(side);
        side->abort = true;
    } else {
        side->iov_at = side->iov_n = 0;
        side->abort = op->moved > 0;
    }
    segue_tcp_end(side, op, op->stop);
}

static struct segue_op *oldest(struct segue_tcp_side *side)
{
    struct segue_op *op = NULL;
    pthread_mutex_lock(&side->conn->base.flight.lock);
    if (!segue_list_empty(&side->ops))
        op = segue_container_of(side->ops.next, struct segue_op, queue);
    pthread_mutex_unlock(&side->conn->base.flight.lock);
    return op;
}

/* Fills the empty list; false when there is nothing to send. */
static bool next_frame(struct segue_tcp_side *side)
{
    side->iov_at = side->iov_n = 0;
    if (side->abort) {
        side->abort = false;
        add_tail(side, SEGUE_TCP_ABORT, side->frame.tag);
        return true;
    }
    if (!side->op)
        side->op = oldest(side);
    if (!side->op)
        return false;
    compose(side);
    return true;
}

static void account(struct segue_tcp_side *side, size_t n)
{
    segue_tcp_advance(side, n);
    size_t head = sizeof side->header - side->header_at;
    head = n < head ? n : head;
    side->header_at += head;
    n -= head;
    uint64_t body = n < side->left ? n : side->left;
    side->left -= body;
    if (side->op)
        side->op->moved += body;
}

/* The kernel has every byte: the end frame that may still be in the list is not the
 * operation's. */
static void finish(struct segue_tcp_side *side)
{
    struct segue_op *op = side->op;
    side->op = NULL;
    segue_tcp_end(side, op, SEGUE_OK);
}

static enum segue_tcp_turn broken(struct segue_tcp_side *side)
{
    segue_tcp_break(side);
    return SEGUE_TCP_IDLE;
}

/* The socket has all there is to send; TLS may still keep some of it. */
static enum segue_tcp_turn flush(struct segue_tcp_side *side)
{
    enum segue_status status = segue_socket_flush(&side->conn->socket);
    if (status < 0)
        return broken(side);
    return status == SEGUE_IN_PROGRESS ? SEGUE_TCP_WAIT : SEGUE_TCP_IDLE;
}

enum segue_tcp_turn segue_tcp_send_turn(struct segue_tcp_side *side)
{
    if (!segue_tcp_sweep(side))
        return SEGUE_TCP_IDLE;
    for (size_t sent = 0; sent < SEGUE_TCP_TURN_BYTES;) {
        if (side->op && side->op->stop)
            give_up(side);
        if (side->iov_at == side->iov_n && !next_frame(side))
            return flush(side);
        size_t n = 0;
        enum segue_status status = segue_socket_send(
            &side->conn->socket, side->iov + side->iov_at,
            (int)(side->iov_n - side->iov_at), NULL, 0, &n);
        if (status == SEGUE_IN_PROGRESS)
            return SEGUE_TCP_WAIT;
        if (status < 0)
            return broken(side);
        sent += n;
        account(side, n);
        if (side->op && side->last && side->left == 0)
            finish(side);
    }
    return SEGUE_TCP_MORE;
}
