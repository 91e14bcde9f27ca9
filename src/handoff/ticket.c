/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets and kv_transfer_params: the object proxies relay, written and read in one place.
 *
 * The ticket is one JSON string, lower-case hexadecimal over the fields of docs/wire.md section 5, so that it survives
 * every proxy that copies the object. The keys beside it are what today's proxies expect to see; nothing is read from them.
 */
#include <segue/ticket.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"
#include "handoff/ticket.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define TICKET_VERSION 1
#define TICKET_MAX     SEGUE_TICKET_ROOM

void segue_prompt_hash(const int32_t *tokens, size_t n, const char *extra,
                       struct segue_prompt_hash *out)
{
    uint8_t digest[EVP_MAX_MD_SIZE], le[4096];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    uint64_t count = htole64(
        (uint64_t)n); /* so that tokens and extra cannot trade bytes */
    good = good && EVP_DigestUpdate(ctx, &count, sizeof count) == 1;
    for (size_t i = 0; good && i < n;) {
        struct segue_writer w = segue_writer_make(le, sizeof le);
        for (; i < n && w.len < sizeof le; i++)
            segue_writer_u32(&w, (uint32_t)tokens[i]);
        good = EVP_DigestUpdate(ctx, le, w.len) == 1;
    }
    if (extra)
        good = good && EVP_DigestUpdate(ctx, extra, strlen(extra)) == 1;
    good = good && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (good)
        memcpy(out->bytes, digest, sizeof out->bytes);
    else /* out of memory: a hash that matches nothing is the safe answer */
        memset(out->bytes, 0xff, sizeof out->bytes);
}

void segue_ticket_write_proved(struct segue_writer *w, const struct segue_ticket *t)
{
    segue_writer_u8(w, TICKET_VERSION);
    segue_writer_bytes(w, t->id.incarnation, sizeof t->id.incarnation);
    segue_writer_u64(w, t->id.sequence);
    segue_writer_bytes(w, t->hash.bytes, sizeof t->hash.bytes);
    segue_writer_u32(w, t->tokens);
    segue_writer_u32(w, t->uses);
    segue_writer_str16(w, t->engine_id);
    segue_writer_str16(w, t->address);
    segue_writer_str16(w, t->network);
    segue_writer_bytes(w, t->host, sizeof t->host);
    segue_writer_bytes(w, t->key, sizeof t->key);
}

static void ticket_write(struct segue_writer *w, const struct segue_ticket *t)
{
    segue_ticket_write_proved(w, t);
    segue_writer_bytes(w, t->mac, sizeof t->mac);
}

static enum segue_status ticket_read(const uint8_t *data, size_t len,
                                     struct segue_ticket *out)
{
    struct segue_reader r = segue_reader_make(data, len);
    struct segue_ticket t = {0};
    uint8_t version = segue_reader_u8(&r);
    if (!r.failed && version != TICKET_VERSION)
        return segue_fail(SEGUE_E_INVALID,
                          "the ticket is of version %u, this library reads %u", version,
                          TICKET_VERSION);
    segue_reader_copy(&r, t.id.incarnation, sizeof t.id.incarnation);
    t.id.sequence = segue_reader_u64(&r);
    segue_reader_copy(&r, t.hash.bytes, sizeof t.hash.bytes);
    t.tokens = segue_reader_u32(&r);
    t.uses = segue_reader_u32(&r);
    segue_reader_str16_copy(&r, t.engine_id, sizeof t.engine_id);
    segue_reader_str16_copy(&r, t.address, sizeof t.address);
    segue_reader_str16_copy(&r, t.network, sizeof t.network);
    segue_reader_copy(&r, t.host, sizeof t.host);
    segue_reader_copy(&r, t.key, sizeof t.key);
    segue_reader_copy(&r, t.mac, sizeof t.mac);
    if (!segue_reader_done(&r) || t.tokens == 0 || t.uses == 0)
        return segue_fail(SEGUE_E_INVALID, "the ticket is malformed");
    *out = t;
    return SEGUE_OK;
}

static void hex_write(char *out, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * len] = 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_read(const char *text, size_t len, uint8_t *out)
{
    for (size_t i = 0; i < len; i += 2) {
        int high = nibble(text[i]), low = nibble(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void member(struct segue_json *j, const char *key, const char *value)
{
    segue_json_key(j, key);
    segue_json_string(j, value);
}

static void params_json(struct segue_json *j, const struct segue_ticket *ticket,
                        const char *hex, const struct segue_params_extra *extra)
{
    segue_json_begin_object(j);
    segue_json_key(j, "do_remote_prefill");
    segue_json_bool(j, true);
    segue_json_key(j, "do_remote_decode");
    segue_json_bool(j, false);
    member(j, "remote_engine_id", ticket->engine_id);
    segue_json_key(
        j, "remote_block_ids"); /* emitted because proxies expect it, never read: R24 */
    segue_json_begin_array(j);
    segue_json_end_array(j);
    member(j, "remote_host", extra ? extra->host : NULL);
    segue_json_key(j, "remote_port");
    segue_json_u64(j, extra ? extra->port : 0);
    member(j, "remote_request_id", extra ? extra->request_id : NULL);
    segue_json_key(j, "tp_size");
    segue_json_u64(j, extra && extra->tp_size ? extra->tp_size : 1);
    segue_json_key(j, "segue");
    segue_json_begin_object(j);
    member(j, "ticket", hex);
    segue_json_key(j, "uses");
    segue_json_u64(j, ticket->uses);
    segue_json_end_object(j);
    segue_json_end_object(j);
}

enum segue_status segue_ticket_params_write(const struct segue_ticket *ticket,
                                            const struct segue_params_extra *extra,
                                            char *text, size_t cap, size_t *len)
{
    uint8_t bytes[TICKET_MAX];
    char hex[2 * TICKET_MAX + 1];
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    ticket_write(&w, ticket);
    if (w.failed)
        return segue_fail(SEGUE_E_INVALID,
                          "the ticket's engine id or address is too long");
    hex_write(hex, bytes, w.len);
    struct segue_text built = {0};
    params_json(&(struct segue_json){.text = &built}, ticket, hex, extra);
    enum segue_status status = SEGUE_OK;
    if (built.failed)
        status = segue_fail(SEGUE_E_MEMORY, "no memory for kv_transfer_params");
    else if (built.len >= cap)
        status = segue_fail(SEGUE_E_LIMIT,
                            "kv_transfer_params needs %zu bytes, there are %zu",
                            built.len + 1, cap);
    else {
        memcpy(text, built.data, built.len + 1);
        *len = built.len;
    }
    segue_text_free(&built);
    return status;
}

enum segue_status segue_ticket_params_read(const char *text, size_t len,
                                           struct segue_ticket *out)
{
    struct segue_json_value root, segue, ticket;
    SEGUE_TRY(segue_json_parse(text, len, &root, NULL));
    if (root.type != SEGUE_JSON_OBJECT)
        return segue_fail(SEGUE_E_INVALID, "kv_transfer_params is not an object");
    size_t n = segue_json_find(root, "segue", &segue);
    if (n == 0 || segue.type == SEGUE_JSON_NULL)
        return segue_fail(SEGUE_E_NOT_FOUND, "kv_transfer_params has no segue ticket");
    if (n > 1 || segue.type != SEGUE_JSON_OBJECT ||
        segue_json_find(segue, "ticket", &ticket) != 1)
        return segue_fail(
            SEGUE_E_INVALID,
            "kv_transfer_params: 'segue' must be one object with one ticket");
    char hex[2 * TICKET_MAX + 1];
    size_t hex_len;
    uint8_t bytes[TICKET_MAX];
    if (segue_json_text(ticket, hex, sizeof hex, &hex_len) < 0 || hex_len % 2 ||
        !hex_read(hex, hex_len, bytes))
        return segue_fail(SEGUE_E_INVALID,
                          "kv_transfer_params: the segue ticket is not one");
    return ticket_read(bytes, hex_len / 2, out);
}
