/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames in and out of one connected socket: partial reads and writes, descriptors with
 * the right frame, a bounded queue. Knows nothing of peers, hello or services, so that it
 * is tested over a socket pair.
 *
 * Thread: the loop's. Small frames allocate nothing once the first few have been sent.
 */
#ifndef AGENT_LINK_IO_H
#define AGENT_LINK_IO_H

#include "agent/frame.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/tls.h"

/* What may wait for a peer that does not read: bytes, descriptors. */
#define SEGUE_LINK_QUEUE_MAX (64u << 20)
#define SEGUE_LINK_FDS_MAX   1024

struct segue_link_io {
    struct segue_loop *loop;
    struct segue_socket socket; /* ours */
    struct segue_watch watch;
    /* Yours. `frame` gets one whole frame; its failure breaks the link. `broken` is
     * called from the loop, never from inside a call; the status and segue_error_detail()
     * say why. It calls segue_link_io_end. */
    enum segue_status (*frame)(struct segue_link_io *io, struct segue_frame *frame);
    void (*broken)(struct segue_link_io *io, enum segue_status status);
    void *user;
    bool ended; /* nothing is read, sent or told any more */

    uint8_t *in;
    size_t in_cap, in_len;
    int fds[2 * SEGUE_FRAME_FDS]; /* received, not yet handed out */
    size_t n_fds;

    struct segue_list out; /* blocks, oldest first */
    struct segue_out_block *spare;
    size_t queued, queued_fds; /* in `out` */
    struct segue_task flush;
    size_t read_most;          /* faults: bytes of one read; 0: as many as fit */
    uint64_t not_ready;        /* faults: how many times the socket is found empty */
    struct segue_task more;    /* bytes may wait that the fd does not show (TLS) */
    enum segue_status failure; /* found while sending, told by the flush */
    char why[160];
};

/* What: takes over the connected socket and begins to read. The caller has set loop,
 * frame, broken and user. On failure the socket stays the caller's. */
enum segue_status segue_link_io_open(struct segue_link_io *io,
                                     const struct segue_socket *socket);

/* What: queues a frame; descriptors are duplicated. It goes out at the end of the loop's
 * turn, with the others. */
enum segue_status segue_link_io_send(struct segue_link_io *io,
                                     const struct segue_frame_head *head,
                                     const void *body, const int *fds);

/* What: hands out what has come and is still unread, in the end of a peer that has
 * died. */
void segue_link_io_drain(struct segue_link_io *io);

/* What: stops reading and telling; may be called from inside `frame` and `broken`. What
 * is queued can still be flushed. */
void segue_link_io_end(struct segue_link_io *io);

/* What: sends what the socket takes now, closes it and frees all buffers. Not from inside
 * `frame` or `broken`, and only from a task posted after the last send. Harmless when it
 * was never opened. */
void segue_link_io_close(struct segue_link_io *io);

#endif
