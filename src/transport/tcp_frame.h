/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over a data stream: frames of a header and at most 1 MiB of bytes. A SEND is
 * frames of its tag and, after its last byte, an empty one that says so: what came before
 * counts only then, and a sender that gives up can say that instead.
 *
 *     u32 magic  u32 flags  u64 tag  u64 length of the body, little-endian; then the body
 */
#ifndef TRANSPORT_TCP_FRAME_H
#define TRANSPORT_TCP_FRAME_H

#include "base/status.h"

#include <stdint.h>

#define SEGUE_TCP_HEADER   24                  /* bytes */
#define SEGUE_TCP_BODY_MAX (UINT64_C(1) << 20) /* bytes */

enum segue_tcp_flags {                      /* of a frame without a body; with one: 0 */
                       SEGUE_TCP_END = 1,   /* the SEND is complete */
                       SEGUE_TCP_ABORT = 2, /* the sender gave up */
};

struct segue_tcp_frame {
    uint32_t flags;
    uint64_t tag, length;
};

void segue_tcp_frame_write(const struct segue_tcp_frame *frame,
                           uint8_t out[SEGUE_TCP_HEADER]);

/* What: E_PROTOCOL for anything a sender that keeps the rules does not write. Pure. */
enum segue_status segue_tcp_frame_read(const uint8_t in[SEGUE_TCP_HEADER],
                                       struct segue_tcp_frame *frame);

#endif
