/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving side: bytes go straight to their final places; those of a tag that nobody
 * waits for (any more) go nowhere (rule R13). The header that follows a body is read
 * together with it.
 */
#include "transport/tcp.h"

static void compose(struct segue_tcp_side *side)
{
    struct segue_tcp_connection *conn = side->conn;
    uint64_t body = 0;
    side->iov_at = side->iov_n = 0;
    if (side->op && side->left)
        body = segue_tcp_gather(side, side->left);
    else
        while (body < side->left && side->iov_n < SEGUE_TCP_PIECES - 1) {
            uint64_t n = side->left - body;
            n = n < sizeof conn->nowhere ? n : sizeof conn->nowhere;
            side->iov[side->iov_n++] = (struct iovec){conn->nowhere, n};
            body += n;
        }
    if (body == side->left)
        side->iov[side->iov_n++] = (struct iovec){side->header + side->header_at,
                                                  sizeof side->header - side->header_at};
}

static struct segue_op *find(struct segue_tcp_side *side, uint64_t tag)
{
    struct segue_op *found = NULL;
    pthread_mutex_lock(&side->conn->base.flight.lock);
    segue_list_each (link, &side->ops) {
        struct segue_op *op = segue_container_of(link, struct segue_op, queue);
        if (op->tag == tag) {
            found = op;
            break;
        }
    }
    pthread_mutex_unlock(&side->conn->base.flight.lock);
    return found;
}

static enum segue_status wrong_length(const struct segue_op *op, uint64_t length)
{
    return segue_fail(SEGUE_E_PROTOCOL,
                      "the peer sent %lu bytes or more where %lu belong",
                      (unsigned long)length, (unsigned long)op->total);
}

/* Acts on a whole header. A failure is the stream's. */
static enum segue_status begin_frame(struct segue_tcp_side *side)
{
    struct segue_tcp_frame frame;
    SEGUE_TRY(segue_tcp_frame_read(side->header, &frame));
    side->frame = frame;
    side->left = frame.length;
    struct segue_op *op = find(side, frame.tag);
    if (!op)
        return SEGUE_OK;
    enum segue_status status = SEGUE_OK;
    if (frame.flags == SEGUE_TCP_ABORT) {
        segue_fail(SEGUE_E_CANCELLED, "the peer gave up after %lu of %lu bytes",
                   (unsigned long)op->moved, (unsigned long)op->total);
        segue_tcp_end(side, op, SEGUE_E_CANCELLED);
    } else if (frame.flags == SEGUE_TCP_END) {
        if (op->moved != op->total)
            status = wrong_length(op, op->moved);
        segue_tcp_end(side, op, status);
    } else if (frame.length > op->total - op->moved) {
        status = wrong_length(op, op->moved + frame.length);
        segue_tcp_end(side, op, status);
    } else {
        side->op = op;
    }
    return status;
}

static void account(struct segue_tcp_side *side, size_t n)
{
    segue_tcp_advance(side, n);
    uint64_t body = n < side->left ? n : side->left;
    side->left -= body;
    side->header_at += n - body;
    if (side->op)
        side->op->moved += body;
    if (side->left == 0)
        side->op = NULL;
}

enum segue_tcp_turn segue_tcp_recv_turn(struct segue_tcp_side *side)
{
    if (!segue_tcp_sweep(side))
        return SEGUE_TCP_IDLE;
    for (size_t got = 0; got < SEGUE_TCP_TURN_BYTES;) {
        if (side->op && side->op->stop)
            segue_tcp_end(side, side->op, side->op->stop);
        if (side->iov_at == side->iov_n)
            compose(side);
        size_t n = 0;
        enum segue_status status = segue_socket_recv_into(
            &side->conn->socket, side->iov + side->iov_at,
            (int)(side->iov_n - side->iov_at), &n);
        if (status == SEGUE_IN_PROGRESS)
            return SEGUE_TCP_WAIT;
        if (status < 0) {
            segue_tcp_break(side);
            return SEGUE_TCP_IDLE;
        }
        got += n;
        account(side, n);
        if (side->header_at < sizeof side->header)
            continue;
        side->header_at = 0;
        if (begin_frame(side) < 0) {
            segue_tcp_break(side);
            return SEGUE_TCP_IDLE;
        }
    }
    return SEGUE_TCP_MORE;
}
