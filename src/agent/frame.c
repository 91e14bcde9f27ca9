/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of the control link. One list of fields a message, one check at its end. */
#include "agent/frame.h"
#include "base/bytes.h"
#include "base/status.h"

#include <assert.h>
#include <string.h>

#define HELLO_MAGIC      UINT32_C(0x45554753) /* "SGUE" */
#define GREETING_VERSION 1

static const char openings[][SEGUE_OPENING_BYTES + 1] = {
    [SEGUE_OPENING_DATA] = "SGUD",
    [SEGUE_OPENING_LINK] = "SGUL",
    [SEGUE_OPENING_TLS] = "SGUT",
    [SEGUE_OPENING_WHERE] = "SGUW",
};

/* Text of a peer ends up in logs and reports, where control characters would forge
 * lines. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

void segue_frame_head_write(uint8_t out[SEGUE_FRAME_HEAD],
                            const struct segue_frame_head *head)
{
    struct segue_writer w = segue_writer_make(out, SEGUE_FRAME_HEAD);
    segue_writer_u32(&w, head->len);
    segue_writer_u8(&w, head->service);
    segue_writer_u8(&w, head->type);
    segue_writer_u16(&w, head->fds);
}

enum segue_status segue_frame_head_read(const uint8_t in[SEGUE_FRAME_HEAD],
                                        struct segue_frame_head *head)
{
    struct segue_reader r = segue_reader_make(in, SEGUE_FRAME_HEAD);
    head->len = segue_reader_u32(&r);
    head->service = segue_reader_u8(&r);
    head->type = segue_reader_u8(&r);
    head->fds = segue_reader_u16(&r);
    if (head->len > SEGUE_FRAME_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "a frame of %u bytes; %u are allowed",
                          head->len, SEGUE_FRAME_MAX);
    if (head->fds > SEGUE_FRAME_FDS)
        return segue_fail(SEGUE_E_PROTOCOL, "a frame with %u descriptors; %d are allowed",
                          head->fds, SEGUE_FRAME_FDS);
    return SEGUE_OK;
}

uint32_t segue_hello_write(const struct segue_hello *hello, uint8_t *out)
{
    struct segue_writer w = segue_writer_make(out, SEGUE_HELLO_ROOM);
    segue_writer_u32(&w, HELLO_MAGIC);
    segue_writer_u16(&w, hello->version);
    segue_writer_u16(&w, hello->version_min);
    segue_writer_bytes(&w, hello->incarnation, sizeof hello->incarnation);
    segue_writer_bytes(&w, hello->agent_id, sizeof hello->agent_id);
    segue_writer_bytes(&w, hello->boot_id, sizeof hello->boot_id);
    segue_writer_str16(&w, hello->engine_id);
    segue_writer_u16(&w, hello->data_port);
    assert(!w.failed);
    return (uint32_t)w.len;
}

enum segue_status segue_hello_read(const uint8_t *body, uint32_t len,
                                   struct segue_hello *hello)
{
    struct segue_reader r = segue_reader_make(body, len);
    if (segue_reader_u32(&r) != HELLO_MAGIC)
        return segue_fail(SEGUE_E_PROTOCOL, "its first frame is no hello");
    *hello = (struct segue_hello){.version = segue_reader_u16(&r),
                                  .version_min = segue_reader_u16(&r)};
    /* Versions come first: what follows may be anything in one that we do not speak. */
    if (!r.failed && (hello->version_min > SEGUE_WIRE_VERSION ||
                      hello->version < SEGUE_WIRE_VERSION_MIN))
        return segue_fail(SEGUE_E_MISMATCH,
                          "it speaks wire versions %u to %u, this library %d to %d",
                          hello->version_min, hello->version, SEGUE_WIRE_VERSION_MIN,
                          SEGUE_WIRE_VERSION);
    segue_reader_copy(&r, hello->incarnation, sizeof hello->incarnation);
    segue_reader_copy(&r, hello->agent_id, sizeof hello->agent_id);
    segue_reader_copy(&r, hello->boot_id, sizeof hello->boot_id);
    segue_reader_str16_copy(&r, hello->engine_id, sizeof hello->engine_id);
    hello->data_port = segue_reader_u16(&r);
    if (r.failed)
        return segue_fail(SEGUE_E_PROTOCOL, "a malformed hello of %u bytes", len);
    make_plain(hello->engine_id);
    return SEGUE_OK;
}

uint32_t segue_link_error_write(const struct segue_link_error *error, uint8_t *out)
{
    struct segue_writer w = segue_writer_make(out, SEGUE_HELLO_ROOM);
    segue_writer_u32(&w, (uint32_t)error->status);
    segue_writer_str16(&w, error->why);
    assert(!w.failed);
    return (uint32_t)w.len;
}

enum segue_status segue_link_error_read(const uint8_t *body, uint32_t len,
                                        struct segue_link_error *error)
{
    struct segue_reader r = segue_reader_make(body, len);
    error->status = (int32_t)segue_reader_u32(&r);
    segue_reader_str16_copy(&r, error->why, sizeof error->why);
    if (r.failed)
        return segue_fail(SEGUE_E_PROTOCOL, "a malformed error message");
    make_plain(error->why);
    return SEGUE_OK;
}

uint32_t segue_stream_message_write(enum segue_link_type type,
                                    const struct segue_stream_message *message,
                                    uint8_t *out)
{
    struct segue_writer w = segue_writer_make(out, SEGUE_HELLO_ROOM);
    segue_writer_str16(&w, message->transport);
    if (type == SEGUE_LINK_STREAM_GRANT) {
        segue_writer_u16(&w, message->port);
        segue_writer_bytes(&w, message->secret, sizeof message->secret);
        segue_writer_str16(&w, message->why);
    }
    if (type != SEGUE_LINK_STREAM_WANT)
        segue_writer_u8(&w, message->secure);
    assert(!w.failed);
    return (uint32_t)w.len;
}

enum segue_status segue_stream_message_read(enum segue_link_type type,
                                            const uint8_t *body, uint32_t len,
                                            struct segue_stream_message *message)
{
    struct segue_reader r = segue_reader_make(body, len);
    *message = (struct segue_stream_message){0};
    segue_reader_str16_copy(&r, message->transport, sizeof message->transport);
    if (type == SEGUE_LINK_STREAM_GRANT) {
        message->port = segue_reader_u16(&r);
        segue_reader_copy(&r, message->secret, sizeof message->secret);
        segue_reader_str16_copy(&r, message->why, sizeof message->why);
    }
    /* Peers that know no other hosts leave it out (rule R21). */
    if (type != SEGUE_LINK_STREAM_WANT && segue_reader_left(&r) > 0)
        message->secure = segue_reader_u8(&r) != 0;
    if (r.failed)
        return segue_fail(SEGUE_E_PROTOCOL, "a malformed message about a data stream");
    make_plain(message->why);
    return SEGUE_OK;
}

void segue_opening_write(enum segue_opening opening, uint8_t out[SEGUE_OPENING_BYTES])
{
    memcpy(out, openings[opening], SEGUE_OPENING_BYTES);
}

enum segue_opening segue_opening_read(const uint8_t in[SEGUE_OPENING_BYTES])
{
    for (size_t i = 1; i < sizeof openings / sizeof *openings; i++)
        if (memcmp(in, openings[i], SEGUE_OPENING_BYTES) == 0)
            return (enum segue_opening)i;
    return SEGUE_OPENING_NONE;
}

void segue_preamble_write(const uint8_t secret[SEGUE_SECRET_BYTES],
                          uint8_t out[SEGUE_PREAMBLE_BYTES])
{
    segue_opening_write(SEGUE_OPENING_DATA, out);
    memcpy(out + SEGUE_OPENING_BYTES, secret, SEGUE_SECRET_BYTES);
}

bool segue_preamble_read(const uint8_t in[SEGUE_PREAMBLE_BYTES],
                         uint8_t secret[SEGUE_SECRET_BYTES])
{
    memcpy(secret, in + SEGUE_OPENING_BYTES, SEGUE_SECRET_BYTES);
    return segue_opening_read(in) == SEGUE_OPENING_DATA;
}

/* ---- before TLS ---- */

void segue_greeting_write(const struct segue_keys *keys,
                          uint8_t out[SEGUE_GREETING_BYTES])
{
    memset(out, 0, SEGUE_GREETING_BYTES);
    segue_opening_write(SEGUE_OPENING_TLS, out);
    out[SEGUE_OPENING_BYTES] = GREETING_VERSION;
    out[SEGUE_OPENING_BYTES + 1] = (uint8_t)keys->n;
    for (size_t i = 0; i < keys->n; i++)
        memcpy(out + SEGUE_OPENING_BYTES + 2 + i * SEGUE_KEY_ID_BYTES, keys->key[i].id,
               SEGUE_KEY_ID_BYTES);
}

enum segue_status segue_greeting_read(const uint8_t in[SEGUE_GREETING_BYTES],
                                      const struct segue_keys *keys,
                                      struct segue_keys *common)
{
    uint8_t version = in[SEGUE_OPENING_BYTES], n = in[SEGUE_OPENING_BYTES + 1];
    struct segue_keys theirs = {.n = n};
    char has[40], have[40];
    if (segue_opening_read(in) != SEGUE_OPENING_TLS || n == 0 || n > SEGUE_KEYS_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "its first bytes are no greeting");
    if (version != GREETING_VERSION)
        return segue_fail(SEGUE_E_MISMATCH, "it greets in version %u, this library in %d",
                          version, GREETING_VERSION);
    for (size_t i = 0; i < n; i++)
        memcpy(theirs.key[i].id, in + SEGUE_OPENING_BYTES + 2 + i * SEGUE_KEY_ID_BYTES,
               SEGUE_KEY_ID_BYTES);
    for (size_t i = 0; i < keys->n; i++)
        if (segue_keys_find(&theirs, keys->key[i].id)) {
            *common = (struct segue_keys){.n = 1, .key = {keys->key[i]}};
            return SEGUE_OK;
        }
    segue_keys_text(&theirs, has, sizeof has);
    segue_keys_text(keys, have, sizeof have);
    return segue_fail(SEGUE_E_AUTH, "wrong key: the peer has key %s, we have %s", has,
                      have);
}
