/* SPDX-License-Identifier: Apache-2.0 */
/* Control link messages from any bytes: the first byte says which decoder gets the rest. */
#include "agent/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const uint8_t *body = data + 1;
    uint32_t len = (uint32_t)size - 1;
    struct segue_frame_head head;
    struct segue_hello hello;
    struct segue_link_error error;
    struct segue_stream_message message;
    uint8_t secret[SEGUE_SECRET_BYTES], again[SEGUE_HELLO_ROOM];
    switch (data[0] % 6) {
    case 0:
        if (len >= SEGUE_FRAME_HEAD && segue_frame_head_read(body, &head) == SEGUE_OK &&
            (head.len > SEGUE_FRAME_MAX || head.fds > SEGUE_FRAME_FDS))
            abort();
        break;
    case 1:
        /* What is believed can be said again. */
        if (segue_hello_read(body, len, &hello) == SEGUE_OK)
            segue_hello_write(&hello, again);
        break;
    case 2:
        if (segue_link_error_read(body, len, &error) == SEGUE_OK)
            segue_link_error_write(&error, again);
        break;
    case 3:
        if (segue_stream_message_read(SEGUE_LINK_STREAM_ASK, body, len, &message) ==
            SEGUE_OK)
            segue_stream_message_write(SEGUE_LINK_STREAM_ASK, &message, again);
        break;
    case 4:
        if (segue_stream_message_read(SEGUE_LINK_STREAM_GRANT, body, len, &message) ==
            SEGUE_OK)
            segue_stream_message_write(SEGUE_LINK_STREAM_GRANT, &message, again);
        break;
    default:
        if (len >= SEGUE_PREAMBLE_BYTES)
            segue_preamble_read(body, secret);
    }
    return 0;
}
