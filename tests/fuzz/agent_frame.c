/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a link from any bytes: what is believed can be said again and is then the same. */
#include "agent/frame.h"
#include "fuzz/message.h"

static void head(const uint8_t *body, uint32_t len)
{
    struct segue_frame_head head;
    uint8_t again[SEGUE_FRAME_HEAD];
    if (len < SEGUE_FRAME_HEAD || segue_frame_head_read(body, &head) < 0)
        return;
    must(head.len <= SEGUE_FRAME_MAX && head.fds <= SEGUE_FRAME_FDS);
    segue_frame_head_write(again, &head);
    must(memcmp(again, body, sizeof again) == 0);
}

static void hello(const uint8_t *body, uint32_t len)
{
    struct segue_hello hello, same;
    uint8_t again[SEGUE_HELLO_ROOM];
    if (segue_hello_read(body, len, &hello) < 0)
        return;
    uint32_t n = segue_hello_write(&hello, again);
    must(n <= sizeof again && segue_hello_read(again, n, &same) >= 0);
    must(strcmp(same.engine_id, hello.engine_id) == 0 &&
         same.data_port == hello.data_port &&
         memcmp(same.incarnation, hello.incarnation, sizeof same.incarnation) == 0);
}

static void error(const uint8_t *body, uint32_t len)
{
    struct segue_link_error error, same;
    uint8_t again[SEGUE_HELLO_ROOM];
    if (segue_link_error_read(body, len, &error) < 0)
        return;
    uint32_t n = segue_link_error_write(&error, again);
    must(n <= sizeof again && segue_link_error_read(again, n, &same) >= 0);
    must(same.status == error.status && strcmp(same.why, error.why) == 0);
}

static void stream(enum segue_link_type type, const uint8_t *body, uint32_t len)
{
    struct segue_stream_message message, same;
    uint8_t again[SEGUE_HELLO_ROOM];
    if (segue_stream_message_read(type, body, len, &message) < 0)
        return;
    uint32_t n = segue_stream_message_write(type, &message, again);
    must(n <= sizeof again && segue_stream_message_read(type, again, n, &same) >= 0);
    must(strcmp(same.transport, message.transport) == 0);
    must(type != SEGUE_LINK_STREAM_GRANT ||
         (same.port == message.port && strcmp(same.why, message.why) == 0));
}

static void stream_ask(const uint8_t *body, uint32_t len)
{
    stream(SEGUE_LINK_STREAM_ASK, body, len);
}

static void stream_grant(const uint8_t *body, uint32_t len)
{
    stream(SEGUE_LINK_STREAM_GRANT, body, len);
}

static void preamble(const uint8_t *body, uint32_t len)
{
    uint8_t secret[SEGUE_SECRET_BYTES], again[SEGUE_PREAMBLE_BYTES];
    if (len < SEGUE_PREAMBLE_BYTES || !segue_preamble_read(body, secret))
        return;
    segue_preamble_write(secret, again);
    must(memcmp(again, body, sizeof again) == 0);
}

/* The first bytes of whoever comes by TCP, before anything is proved. */
static void greeting(const uint8_t *body, uint32_t len)
{
    struct segue_keys ours = {.n = 2,
                              .key = {{.id = {1, 2, 3, 4}}, {.id = {5, 6, 7, 8}}}},
                      common;
    if (len >= SEGUE_OPENING_BYTES)
        must(segue_opening_read(body) <= SEGUE_OPENING_WHERE);
    if (len < SEGUE_GREETING_BYTES || segue_greeting_read(body, &ours, &common) < 0)
        return;
    must(common.n == 1 && segue_keys_find(&ours, common.key[0].id));
    must(memmem(body, SEGUE_GREETING_BYTES, common.key[0].id, SEGUE_KEY_ID_BYTES) !=
         NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct message messages[] = {
        {"head", head},
        {"hello", hello},
        {"error", error},
        {"stream-ask", stream_ask},
        {"stream-grant", stream_grant},
        {"preamble", preamble},
        {"greeting", greeting},
    };
    return message_run(messages, data, size);
}
