/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames in and out of a socket.
 *
 * Out: frames are appended to blocks; a frame with descriptors begins a block of its own,
 * because a message carries them with its first byte. In: descriptors arrive no later
 * than the last byte of the frame they were sent with, and never before its first, so a
 * queue in order of arrival is enough to give each frame its own.
 */
#include "agent/link_io.h"
#include "base/status.h"
#include "base/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_BYTES                                                                         \
    (64u << 10) /* usual room for input; a longer frame gets more, for its time */
#define BLOCK_BYTES (32u << 10)
#define BATCH       32 /* blocks in one writev */
#define TURN_READS  4  /* reads in one turn of the loop: other links wait meanwhile */
#define TURN_WRITES 8

_Static_assert(SEGUE_FRAME_FDS == SEGUE_STREAM_FDS, "a frame's fds go in one message");

struct segue_out_block {
    struct segue_list list;
    size_t cap, len, sent;
    int *fds; /* go with byte 0; NULL once they went */
    size_t n_fds;
    uint8_t data[];
};

static void close_fds(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void drop_fds(struct segue_link_io *io, struct segue_out_block *block)
{
    close_fds(block->fds, block->n_fds);
    free(block->fds);
    io->queued_fds -= block->n_fds;
    block->fds = NULL;
    block->n_fds = 0;
}

static void block_free(struct segue_link_io *io, struct segue_out_block *block)
{
    segue_list_remove(&block->list);
    drop_fds(io, block);
    if (!io->spare && block->cap == BLOCK_BYTES) {
        block->len = block->sent = 0;
        io->spare = block;
    } else {
        free(block);
    }
}

/* Room for n more bytes at the end of the queue, in one piece. */
static struct segue_out_block *block_with_room(struct segue_link_io *io, size_t n,
                                               bool fresh)
{
    if (!fresh && !segue_list_empty(&io->out)) {
        struct segue_out_block *last = segue_container_of(io->out.prev,
                                                          struct segue_out_block, list);
        if (last->cap - last->len >= n)
            return last;
    }
    struct segue_out_block *block = n <= BLOCK_BYTES ? io->spare : NULL;
    if (block) {
        io->spare = NULL;
    } else {
        size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        block = malloc(sizeof *block + cap);
        if (!block)
            return NULL;
        *block = (struct segue_out_block){.cap = cap};
    }
    segue_list_push_back(&io->out, &block->list);
    return block;
}

static bool attach_fds(struct segue_link_io *io, struct segue_out_block *block,
                       const int *fds, size_t n)
{
    block->fds = calloc(n, sizeof *block->fds);
    for (; block->fds && block->n_fds < n; block->n_fds++) {
        int fd = fcntl(fds[block->n_fds], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return false;
        block->fds[block->n_fds] = fd;
        io->queued_fds++;
    }
    return block->fds != NULL;
}

static enum segue_status fail_later(struct segue_link_io *io, enum segue_status status)
{
    if (io->failure == SEGUE_OK) {
        io->failure = status;
        snprintf(io->why, sizeof io->why, "%s", segue_error_detail());
    }
    segue_loop_post(io->loop, &io->flush);
    return status;
}

enum segue_status segue_link_io_send(struct segue_link_io *io,
                                     const struct segue_frame_head *head,
                                     const void *body, const int *fds)
{
    assert(head->len <= SEGUE_FRAME_MAX && head->fds <= SEGUE_FRAME_FDS);
    if (io->ended || io->failure != SEGUE_OK)
        return segue_fail(SEGUE_E_LOST, "the link is going down");
    size_t n = SEGUE_FRAME_HEAD + head->len;
    if (io->queued + n > SEGUE_LINK_QUEUE_MAX ||
        io->queued_fds + head->fds > SEGUE_LINK_FDS_MAX) {
        segue_fail(SEGUE_E_LIMIT,
                   "it does not read: %zu bytes and %zu descriptors wait for it",
                   io->queued, io->queued_fds);
        return fail_later(io, SEGUE_E_LIMIT);
    }
    struct segue_out_block *block = block_with_room(io, n, head->fds > 0);
    if (!block) {
        segue_fail(SEGUE_E_MEMORY, "no memory for a frame of %u bytes", head->len);
        return fail_later(io, SEGUE_E_MEMORY);
    }
    if (head->fds && !attach_fds(io, block, fds, head->fds)) {
        segue_fail_errno(SEGUE_E_LIMIT, errno, "cannot keep %u descriptors to send",
                         head->fds);
        block_free(io, block);
        return fail_later(io, SEGUE_E_LIMIT);
    }
    segue_frame_head_write(block->data + block->len, head);
    if (head->len)
        memcpy(block->data + block->len + SEGUE_FRAME_HEAD, body, head->len);
    block->len += n;
    io->queued += n;
    segue_loop_post(io->loop, &io->flush);
    return SEGUE_OK;
}

/* One writev over blocks up to the next one that brings descriptors of its own. */
static enum segue_status write_some(struct segue_link_io *io, size_t *sent)
{
    struct iovec iov[BATCH];
    const int *fds = NULL;
    size_t n_fds = 0;
    int n = 0;
    segue_list_each (link, &io->out) {
        struct segue_out_block *block = segue_container_of(link, struct segue_out_block,
                                                           list);
        if (n == BATCH || (n > 0 && block->n_fds))
            break;
        if (n == 0) {
            fds = block->fds;
            n_fds = block->n_fds;
        }
        iov[n++] = (struct iovec){block->data + block->sent, block->len - block->sent};
    }
    return segue_socket_send(&io->socket, iov, n, fds, n_fds, sent);
}

static void forget_sent(struct segue_link_io *io, size_t sent)
{
    io->queued -= sent;
    while (sent) {
        struct segue_out_block *block = segue_container_of(io->out.next,
                                                           struct segue_out_block, list);
        size_t part = block->len - block->sent;
        if (part > sent)
            part = sent;
        block->sent += part;
        sent -= part;
        drop_fds(io, block);
        if (block->sent == block->len)
            block_free(io, block);
    }
}

/* OK: everything has gone. */
static enum segue_status flush(struct segue_link_io *io)
{
    for (int i = 0; i < TURN_WRITES && !segue_list_empty(&io->out); i++) {
        size_t sent;
        enum segue_status status = write_some(io, &sent);
        if (status != SEGUE_OK)
            return status;
        forget_sent(io, sent);
    }
    return segue_socket_flush(&io->socket);
}

static void flush_or_break(struct segue_link_io *io)
{
    enum segue_status status = flush(io);
    if (status >= 0) {
        bool whole = status == SEGUE_OK && segue_list_empty(&io->out);
        uint32_t events = whole ? EPOLLIN : EPOLLIN | EPOLLOUT;
        if (events != io->watch.events)
            status = segue_loop_modify(io->loop, &io->watch, events);
    }
    if (status < 0)
        io->broken(io, status);
}

static void on_flush(struct segue_task *task)
{
    struct segue_link_io *io = task->user;
    if (io->ended)
        return;
    if (io->failure != SEGUE_OK) {
        segue_fail(io->failure, "%s", io->why);
        io->broken(io, io->failure);
        return;
    }
    /* While the socket is full its own event says when to go on. */
    if (!(io->watch.events & EPOLLOUT))
        flush_or_break(io);
}

static bool grow_input(struct segue_link_io *io, size_t cap)
{
    uint8_t *in = realloc(io->in, cap);
    if (!in)
        return false;
    io->in = in;
    io->in_cap = cap;
    return true;
}

static enum segue_status deliver(struct segue_link_io *io,
                                 const struct segue_frame_head *head, const uint8_t *body)
{
    if (head->fds > io->n_fds)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "a frame says it brings %u descriptors, %zu came", head->fds,
                          io->n_fds);
    int fds[SEGUE_FRAME_FDS];
    memcpy(fds, io->fds, head->fds * sizeof *fds);
    io->n_fds -= head->fds;
    memmove(io->fds, io->fds + head->fds, io->n_fds * sizeof *fds);
    struct segue_frame frame = {head->service, head->type, body,
                                head->len,     fds,        head->fds};
    enum segue_status status = io->frame(io, &frame);
    close_fds(fds, head->fds);
    return status;
}

/* Hands out every whole frame of the input and makes room for the rest of the next
 * one. */
static enum segue_status take_frames(struct segue_link_io *io)
{
    size_t at = 0, need = SEGUE_FRAME_HEAD;
    enum segue_status status = SEGUE_OK;
    while (!io->ended && io->in_len - at >= SEGUE_FRAME_HEAD) {
        struct segue_frame_head head;
        SEGUE_TRY(segue_frame_head_read(io->in + at, &head));
        need = SEGUE_FRAME_HEAD + head.len;
        if (io->in_len - at < need)
            break;
        status = deliver(io, &head, io->in + at + SEGUE_FRAME_HEAD);
        if (status < 0)
            return status;
        at += need;
        need = SEGUE_FRAME_HEAD;
    }
    io->in_len -= at;
    if (at)
        memmove(io->in, io->in + at, io->in_len);
    if (io->in_len == 0 && io->n_fds)
        return segue_fail(SEGUE_E_PROTOCOL, "%zu descriptors came that no frame owns",
                          io->n_fds);
    if (need > io->in_cap || (io->in_len == 0 && io->in_cap > IN_BYTES)) {
        size_t cap = need > IN_BYTES ? need : IN_BYTES;
        if (!grow_input(io, cap))
            return segue_fail(SEGUE_E_MEMORY, "no memory for a frame of %zu bytes", need);
    }
    return SEGUE_OK;
}

static enum segue_status read_some(struct segue_link_io *io)
{
    if (io->not_ready && io->not_ready--) {
        if (io->socket.tls)
            segue_loop_post(io->loop, &io->more);
        return SEGUE_OK; /* its event stands: the loop comes again */
    }
    for (int i = 0; i < TURN_READS && !io->ended; i++) {
        size_t got, n_fds = 0, room = io->in_cap - io->in_len;
        if (io->read_most && room > io->read_most)
            room = io->read_most;
        enum segue_status status = segue_socket_recv(&io->socket, io->in + io->in_len,
                                                     room, &got, io->fds + io->n_fds,
                                                     SEGUE_FRAME_FDS, &n_fds);
        if (status != SEGUE_OK)
            return status < 0 ? status : SEGUE_OK;
        io->in_len += got;
        io->n_fds += n_fds;
        SEGUE_TRY(take_frames(io));
        if (io->n_fds > SEGUE_FRAME_FDS)
            return segue_fail(SEGUE_E_PROTOCOL,
                              "more descriptors than any frame may bring");
        if (got < room && !n_fds && !io->socket.tls)
            return SEGUE_OK;
    }
    /* The fd shows again what it still has, but not what TLS has taken from it. */
    if (io->socket.tls && !io->ended)
        segue_loop_post(io->loop, &io->more);
    return SEGUE_OK;
}

void segue_link_io_drain(struct segue_link_io *io)
{
    /* Bounded by what a socket can hold, in case a fork of the peer keeps writing. */
    for (int i = 0; i < 64 && !io->ended; i++) {
        enum segue_status status = read_some(io);
        if (status < 0 && !io->ended)
            io->broken(io, status);
    }
}

static void read_or_break(struct segue_link_io *io)
{
    enum segue_status status = read_some(io);
    if (status < 0 && !io->ended)
        io->broken(io, status);
}

static void on_more(struct segue_task *task)
{
    struct segue_link_io *io = task->user;
    if (!io->ended)
        read_or_break(io);
}

static void on_socket(struct segue_watch *watch, uint32_t events)
{
    struct segue_link_io *io = watch->user;
    /* Also when only the hang-up is seen: what came before it is still to be read. */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_or_break(io);
    if (!io->ended && (events & EPOLLOUT))
        flush_or_break(io);
}

enum segue_status segue_link_io_open(struct segue_link_io *io,
                                     const struct segue_socket *socket)
{
    segue_list_init(&io->out);
    io->flush.fn = on_flush;
    io->flush.user = io;
    io->more.fn = on_more;
    io->more.user = io;
    io->socket = *socket;
    io->watch = (struct segue_watch){.fd = socket->fd, .fn = on_socket, .user = io};
    io->n_fds = io->in_len = io->queued = io->queued_fds = io->read_most = 0;
    io->not_ready = 0;
    io->in = NULL;
    io->spare = NULL;
    io->failure = SEGUE_OK;
    io->ended = false;
    if (!grow_input(io, IN_BYTES))
        return segue_fail(SEGUE_E_MEMORY, "no memory for a link");
    enum segue_status status = segue_loop_watch(io->loop, &io->watch, EPOLLIN);
    if (status < 0) {
        free(io->in);
        io->in = NULL;
        return status;
    }
    /* What came together with the end of the handshake shows on no fd. */
    if (socket->tls)
        segue_loop_post(io->loop, &io->more);
    return SEGUE_OK;
}

void segue_link_io_end(struct segue_link_io *io)
{
    if (io->ended)
        return;
    io->ended = true;
    if (io->in)
        segue_loop_unwatch(io->loop, &io->watch);
}

void segue_link_io_close(struct segue_link_io *io)
{
    if (!io->in)
        return;
    segue_link_io_end(io);
    flush(io);
    while (!segue_list_empty(&io->out))
        block_free(io, segue_container_of(io->out.next, struct segue_out_block, list));
    free(io->spare);
    io->spare = NULL;
    close_fds(io->fds, io->n_fds);
    io->n_fds = 0;
    free(io->in);
    io->in = NULL;
    segue_socket_close(&io->socket);
}
