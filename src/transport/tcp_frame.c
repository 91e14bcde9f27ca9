/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of frame headers: bytes in, bytes out. */
#include "transport/tcp_frame.h"

#include "base/bytes.h"

#define MAGIC 0x66746773 /* "sgtf" */

void segue_tcp_frame_write(const struct segue_tcp_frame *frame,
                           uint8_t out[SEGUE_TCP_HEADER])
{
    struct segue_writer w = segue_writer_make(out, SEGUE_TCP_HEADER);
    segue_writer_u32(&w, MAGIC);
    segue_writer_u32(&w, frame->flags);
    segue_writer_u64(&w, frame->tag);
    segue_writer_u64(&w, frame->length);
}

enum segue_status segue_tcp_frame_read(const uint8_t in[SEGUE_TCP_HEADER],
                                       struct segue_tcp_frame *frame)
{
    struct segue_reader r = segue_reader_make(in, SEGUE_TCP_HEADER);
    uint32_t magic = segue_reader_u32(&r);
    frame->flags = segue_reader_u32(&r);
    frame->tag = segue_reader_u64(&r);
    frame->length = segue_reader_u64(&r);
    if (magic != MAGIC)
        return segue_fail(SEGUE_E_PROTOCOL, "a data frame begins with 0x%08x", magic);
    if (frame->length > SEGUE_TCP_BODY_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "a data frame of %lu bytes",
                          (unsigned long)frame->length);
    bool fits = frame->length > 0
                    ? frame->flags == 0
                    : frame->flags == SEGUE_TCP_END || frame->flags == SEGUE_TCP_ABORT;
    if (!fits)
        return segue_fail(SEGUE_E_PROTOCOL, "a data frame with flags 0x%x and %lu bytes",
                          frame->flags, (unsigned long)frame->length);
    return SEGUE_OK;
}
