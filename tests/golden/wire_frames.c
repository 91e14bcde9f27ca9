/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this library makes of recorded frames, as JSON for wire.py to hold its own decoder against; and whether it still writes
 * them so. A recorded frame may be older than the writer: then it is the beginning of what is written now (R21).
 *
 *     wire_frames FRAMES     one JSON object a line of FRAMES: the message, and which of its beginnings are read too
 *     wire_frames --write    the lines themselves, to record a new version
 */
#include "agent/frame.h"
#include "base/bytes.h"
#include "handoff/wire.h"
#include "kv/cache_wire.h"

#include <segue/layout.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t body[1 << 16];
static char text[1 << 16];
static size_t text_len;
static struct segue_geometry_room room;

static void die(const char *what)
{
    fprintf(stderr, "wire_frames: %s: %s\n", what, segue_error_detail());
    exit(1);
}

/* ---- JSON ---- */

static void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void put(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_len += (size_t)vsnprintf(text + text_len, sizeof text - text_len, format, args);
    va_end(args);
}

static void number(const char *name, uint64_t value)
{
    put(",\"%s\":%llu", name, (unsigned long long)value);
}

static void string(const char *name, const char *value)
{
    put(",\"%s\":\"%s\"", name, value);
}

static void hex(const char *name, const void *data, size_t len)
{
    put(",\"%s\":\"", name);
    for (size_t i = 0; i < len; i++)
        put("%02x", ((const uint8_t *)data)[i]);
    put("\"");
}

static void offer(const struct segue_offer_id *id)
{
    hex("incarnation", id->incarnation, 16);
    number("sequence", id->sequence);
}

static void part(const char *name, const struct segue_layout_part *p)
{
    put(",\"%s\":[%u,%llu,%llu,%llu,%llu,%llu]", name, p->bytes,
        (unsigned long long)p->offset, (unsigned long long)p->layer,
        (unsigned long long)p->block, (unsigned long long)p->head,
        (unsigned long long)p->token);
}

static void window(const struct segue_geometry *g)
{
    number("layer_first", g->layer_first);
    number("layers", g->layout.layers);
    number("layers_total", g->layers_total);
    number("head_first", g->head_first);
    number("heads", g->layout.heads);
    number("heads_total", g->heads_total);
    number("group", g->group);
}

static void geometry(const struct segue_geometry *g)
{
    const struct segue_layout *l = &g->layout;
    window(g);
    number("dtype", l->dtype);
    number("blocks", l->blocks);
    number("block_tokens", l->block_tokens);
    part("k", &l->k);
    part("v", &l->v);
    number("kind", g->kind);
    number("window", g->window);
    put(",\"places\":[");
    for (uint32_t v = 0; v < 2; v++) {
        const struct segue_layer *place = v ? g->v_layer : g->layer;
        for (uint32_t i = 0; place && i < l->layers; i++)
            put("%s[%u,%llu]", v || i ? "," : "", place[i].region,
                (unsigned long long)place[i].offset);
    }
    put("],\"scales\":[");
    for (uint32_t i = 0; g->scale && i < 2 * l->layers; i++)
        put("%s%.9g", i ? "," : "", (double)g->scale[i]);
    put("]");
}

/* ---- messages ---- */

static enum segue_status link_message(uint8_t type, const uint8_t *data, uint32_t len)
{
    struct segue_hello hello;
    struct segue_link_error error;
    struct segue_stream_message stream = {0};
    switch (type) {
    case SEGUE_LINK_HELLO:
        SEGUE_TRY(segue_hello_read(data, len, &hello));
        number("version", hello.version);
        number("version_min", hello.version_min);
        hex("incarnation", hello.incarnation, 16);
        hex("agent", hello.agent_id, 16);
        hex("boot", hello.boot_id, 16);
        string("engine", hello.engine_id);
        number("port", hello.data_port);
        return SEGUE_OK;
    case SEGUE_LINK_ERROR:
        SEGUE_TRY(segue_link_error_read(data, len, &error));
        put(",\"status\":%d", error.status);
        string("why", error.why);
        return SEGUE_OK;
    case SEGUE_LINK_STREAM_ASK:
    case SEGUE_LINK_STREAM_GRANT:
    case SEGUE_LINK_STREAM_WANT:
        SEGUE_TRY(segue_stream_message_read(type, data, len, &stream));
        string("transport", stream.transport);
        if (type != SEGUE_LINK_STREAM_WANT)
            number("secure", stream.secure);
        if (type == SEGUE_LINK_STREAM_GRANT) {
            number("port", stream.port);
            hex("secret", stream.secret, sizeof stream.secret);
            string("why", stream.why);
        }
        return SEGUE_OK;
    default:
        return SEGUE_OK;
    }
}

static enum segue_status tell_message(const uint8_t *data, uint32_t len)
{
    static const char *const rows[] = {"shm", "ipc", "cma", "tcp"};
    struct segue_remote_cache c;
    SEGUE_TRY(segue_cache_tell_read(data, len, &c));
    number("cache", c.id);
    string("model", c.model);
    string("convention", c.convention);
    number("rank", c.rank);
    number("ranks", c.ranks);
    geometry(&c.geometry);
    string("device", c.device);
    number("abilities", c.device_caps);
    put(",\"regions\":[");
    for (uint32_t i = 0; i < c.n_regions; i++)
        put("%s%llu", i ? "," : "", (unsigned long long)c.region_len[i]);
    put("],\"reasons\":{");
    const char *comma = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (c.why[i][0]) {
            put("%s\"%s\":\"%s\"", comma, rows[i], c.why[i]);
            comma = ",";
        }
    put("}");
    segue_remote_cache_free(&c);
    return SEGUE_OK;
}

static enum segue_status handles_message(const uint8_t *data, uint32_t len)
{
    int fds[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    struct segue_frame frame = {.body = data, .len = len, .fds = fds, .n_fds = 1};
    struct segue_cache_handles h;
    SEGUE_TRY(segue_cache_handles_read(&frame, &h));
    number("cache", h.cache);
    string("transport", h.transport);
    put(",\"handles\":[");
    for (uint32_t i = 0; i < h.n_regions; i++) {
        put("%s[\"", i ? "," : "");
        for (uint32_t k = 0; k < h.handle[i].len; k++)
            put("%02x", h.handle[i].blob[k]);
        put("\",%u]", h.handle[i].n_fds);
    }
    put("]");
    return SEGUE_OK;
}

static enum segue_status cache_message(uint8_t type, const uint8_t *data, uint32_t len)
{
    struct segue_reader r = segue_reader_make(data, len);
    struct segue_geometry g;
    char address[108], network[64];
    if (type == SEGUE_CACHE_TELL)
        return tell_message(data, len);
    if (type == SEGUE_CACHE_HANDLES)
        return handles_message(data, len);
    if (type == SEGUE_CACHE_MEMBER) {
        segue_reader_str16_copy(&r, address, sizeof address);
        uint32_t rank = segue_reader_u32(&r);
        SEGUE_TRY(segue_window_read(&r, &g));
        string("address", address);
        number("rank", rank);
        window(&g);
    } else if (type == SEGUE_CACHE_JOIN) {
        number("rank", segue_reader_u32(&r));
        number("ranks", segue_reader_u32(&r));
        segue_reader_str16_copy(&r, address, sizeof address);
        string("address", address);
        segue_reader_str16_copy(&r, network, sizeof network);
        string("network", network);
    } else if (type == SEGUE_CACHE_HAVE) {
        number("cache", segue_reader_u32(&r));
        SEGUE_TRY(segue_window_read(&r, &g));
        window(&g);
    } else if (type == SEGUE_CACHE_GONE || type == SEGUE_CACHE_LACK) {
        number("cache", segue_reader_u32(&r));
    }
    return r.failed ? SEGUE_E_PROTOCOL : SEGUE_OK;
}

static enum segue_status claim_message(struct segue_reader *r)
{
    struct segue_msg_claim m;
    SEGUE_TRY(segue_claim_read(r, &m, &room));
    number("pair", m.pair);
    number("tag", m.tag);
    offer(&m.offer);
    hex("hash", m.hash.bytes, 16);
    number("tokens", m.tokens);
    number("first", m.first);
    number("cache", m.cache);
    number("digest", m.digest);
    number("transport", m.row);
    number("way", m.way + m.wire_order);
    number("piece", m.wire_tokens);
    number("credits", m.credits);
    string("model", m.model);
    string("convention", m.convention);
    geometry(&m.geometry);
    number("use", m.use);
    number("counts", m.counts);
    number("from", m.from);
    return SEGUE_OK;
}

static enum segue_status accept_message(struct segue_reader *r)
{
    struct segue_msg_accept m;
    SEGUE_TRY(segue_accept_read(r, &m));
    number("pair", m.pair);
    number("lease", m.lease_ns);
    put(",\"runs\":[");
    for (uint32_t i = 0; i < m.n_runs; i++) {
        struct segue_run run = segue_run_at(&m, i);
        put("%s[%u,%u]", i ? "," : "", run.start, run.count);
    }
    put("]");
    return SEGUE_OK;
}

static enum segue_status end_message(struct segue_reader *r)
{
    struct segue_msg_end m;
    SEGUE_TRY(segue_end_read(r, &m));
    offer(&m.offer);
    number("group", m.group);
    number("verdict", m.verdict);
    hex("hash", m.hash.bytes, 16);
    number("counts", m.counts);
    return SEGUE_OK;
}

static enum segue_status handoff_message(uint8_t type, const uint8_t *data, uint32_t len)
{
    struct segue_reader r = segue_reader_make(data, len);
    struct segue_msg_commit commit;
    struct segue_msg_verdict verdict;
    struct segue_offer_id id;
    uint8_t inner, engine[16];
    switch (type) {
    case SEGUE_FRAME_CLAIM:
        return claim_message(&r);
    case SEGUE_FRAME_ACCEPT:
        return accept_message(&r);
    case SEGUE_FRAME_COMMIT:
        SEGUE_TRY(segue_commit_read(&r, &commit));
        number("pair", commit.pair);
        number("bytes", commit.bytes);
        number("digest", commit.digest);
        return SEGUE_OK;
    case SEGUE_FRAME_VERDICT:
        SEGUE_TRY(segue_verdict_read(&r, &verdict));
        number("pair", verdict.pair);
        number("verdict", verdict.verdict);
        number("digest", verdict.digest);
        string("why", verdict.why);
        return SEGUE_OK;
    case SEGUE_FRAME_CANCEL:
    case SEGUE_FRAME_RENEW:
        number("pair", segue_reader_u64(&r));
        break;
    case SEGUE_FRAME_HOLD:
        segue_offer_id_read(&r, &id);
        offer(&id);
        break;
    case SEGUE_FRAME_END:
        return end_message(&r);
    case SEGUE_FRAME_INVALIDATE:
    case SEGUE_FRAME_INVALID:
        number("cache", segue_reader_u32(&r));
        break;
    case SEGUE_FRAME_RELAY:
        inner = segue_reader_u8(&r);
        segue_reader_copy(&r, engine, sizeof engine);
        number("type", inner);
        hex("engine", engine, sizeof engine);
        if (inner == SEGUE_FRAME_END)
            return end_message(&r);
        segue_offer_id_read(&r, &id);
        offer(&id);
        break;
    default:
        break;
    }
    return r.failed ? SEGUE_E_PROTOCOL : SEGUE_OK;
}

static enum segue_status stage_message(uint8_t type, const uint8_t *data, uint32_t len)
{
    struct segue_reader r = segue_reader_make(data, len);
    if (type == 1) { /* RING */
        number("slots", segue_reader_u32(&r));
        struct segue_bytes blob = segue_reader_bytes16(&r);
        hex("blob", blob.data, r.failed ? 0 : blob.len);
    } else {
        number("pair", segue_reader_u64(&r));
        if (type == 2) /* FULL */
            number("piece", segue_reader_u32(&r));
        number("slot", segue_reader_u32(&r));
    }
    return r.failed ? SEGUE_E_PROTOCOL : SEGUE_OK;
}

static enum segue_status decode(uint8_t service, uint8_t type, const uint8_t *data,
                                uint32_t len)
{
    switch (service) {
    case SEGUE_SERVICE_LINK:
        return link_message(type, data, len);
    case SEGUE_SERVICE_CACHE:
        return cache_message(type, data, len);
    case SEGUE_SERVICE_HANDOFF:
        return handoff_message(type, data, len);
    default:
        return stage_message(type, data, len);
    }
}

/* ---- the frames as they are written now ---- */

struct sample {
    const char *name;
    uint8_t service, type;
    uint32_t len;
    uint8_t *body;
};
static struct sample samples[64];
static size_t n_samples;

static void sample(const char *name, uint8_t service, uint8_t type, const uint8_t *data,
                   size_t len)
{
    struct sample *s = &samples[n_samples++];
    *s = (struct sample){name, service, type, (uint32_t)len, malloc(len ? len : 1)};
    if (!s->body)
        die("no memory");
    memcpy(s->body, data, len);
}

static struct segue_writer fresh(void)
{
    return segue_writer_make(body, sizeof body);
}

static const uint8_t ids[48] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
                                24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
                                36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47};

static struct segue_geometry plain(void)
{
    struct segue_geometry g = {
        .layer_first = 2, .layers_total = 8, .head_first = 4, .heads_total = 16};
    g.layout = (struct segue_layout)SEGUE_LAYOUT_INIT;
    if (segue_layout_named("nhd", SEGUE_DTYPE_BF16, 2, 10, 16, 4, 64, &g.layout) < 0)
        die("a layout");
    return g;
}

static struct segue_geometry placed(void)
{
    static const struct segue_layer k[] = {{0, 0}, {1, 4096}};
    static const float scales[] = {1, 0.5f, 2, 0.25f};
    struct segue_geometry g = plain();
    g.layout.k.layer = g.layout.v.layer = 0;
    g.layer = k;
    g.scale = scales;
    g.group = 1;
    g.kind = 1;
    g.window = 4096;
    return g;
}

static void link_samples(void)
{
    struct segue_hello hello = {1, 1, {0}, {0}, {0}, "p0", 0x1234};
    memcpy(hello.incarnation, ids, 16);
    memcpy(hello.agent_id, ids + 16, 16);
    memcpy(hello.boot_id, ids + 32, 16);
    sample("hello", 0, 1, body, segue_hello_write(&hello, body));
    struct segue_link_error error = {SEGUE_E_PROTOCOL, "a second hello"};
    sample("error", 0, 2, body, segue_link_error_write(&error, body));
    struct segue_stream_message m = {.transport = "tcp", .secure = true};
    sample("stream_ask", 0, 3, body, segue_stream_message_write(3, &m, body));
    m.port = 40000;
    memcpy(m.secret, ids, 16);
    sample("stream_grant", 0, 4, body, segue_stream_message_write(4, &m, body));
    m = (struct segue_stream_message){.transport = "tcp", .why = "not today"};
    sample("stream_refusal", 0, 4, body, segue_stream_message_write(4, &m, body));
    sample("stream_want", 0, 5, body, segue_stream_message_write(5, &m, body));
    sample("ping", 0, 6, body, 0);
    sample("pong", 0, 7, body, 0);
}

static void cache_samples(void)
{
    struct segue_remote_cache c = {.id = 3, .rank = 1, .ranks = 4, .geometry = plain()};
    struct segue_writer w = fresh();
    strcpy(c.model, "llama");
    strcpy(c.convention, "rope:half");
    strcpy(c.device, "sim:cuda");
    c.device_caps = 0x15;
    c.rows = 1; /* shm has handles */
    c.n_regions = 1;
    c.region_len[0] = 1 << 20;
    strcpy(c.why[2], "no pid");
    sample("ask", 1, 1, body, 0);
    segue_cache_tell_write(&w, &c);
    sample("tell", 1, 2, body, w.len);
    c.geometry = placed();
    c.n_regions = 2;
    c.region_len[1] = 2 << 20;
    w = fresh();
    segue_cache_tell_write(&w, &c);
    sample("tell_places", 1, 2, body, w.len);
    struct segue_handle handle = {.len = 5, .n_fds = 1};
    memcpy(handle.blob, ids, 5);
    w = fresh();
    segue_cache_handles_write(&w, 3, "shm", &handle, 1);
    sample("handles", 1, 3, body, w.len);
    sample("told", 1, 4, body, 0);
    w = fresh();
    segue_writer_u32(&w, 3);
    sample("gone", 1, 5, body, w.len);
    sample("lack", 1, 9, body, w.len);
    segue_window_write(&w, &c.geometry);
    sample("have", 1, 8, body, w.len);
    w = fresh();
    segue_writer_str16(&w, "unix:/run/p-1.sock");
    segue_writer_u32(&w, 1);
    segue_window_write(&w, &c.geometry);
    sample("member", 1, 6, body, w.len);
    w = fresh();
    segue_writer_u32(&w, 1);
    segue_writer_u32(&w, 4);
    segue_writer_str16(&w, "unix:/run/p-1.sock");
    segue_writer_str16(&w, "tcp:10.0.0.1:9000");
    sample("join", 1, 7, body, w.len);
}

static void claim_sample(const char *name, const struct segue_geometry *g)
{
    struct segue_msg_claim m = {.pair = 0x11,
                                .tag = 0x0123456789abcdef,
                                .offer.sequence = 42,
                                .tokens = 199,
                                .first = 32,
                                .cache = 3,
                                .digest = 2,
                                .row = 3,
                                .way = 2,
                                .wire_tokens = 64,
                                .credits = 2,
                                .model = "llama",
                                .convention = "rope:half",
                                .geometry = *g,
                                .use = 7,
                                .counts = 2,
                                .from = 5};
    struct segue_writer w = fresh();
    memcpy(m.offer.incarnation, ids, 16);
    memcpy(m.hash.bytes, ids + 16, 16);
    segue_claim_write(&w, &m);
    sample(name, 2, 1, body, w.len);
}

static void handoff_samples(void)
{
    struct segue_geometry a = plain(), b = placed();
    static const uint32_t blocks[] = {5, 6, 7, 2};
    claim_sample("claim", &a);
    claim_sample("claim_places", &b);
    struct segue_writer w = fresh();
    if (segue_accept_write(&w, 0x11, 20000000000u, blocks, 4) < 0)
        die("an accept");
    sample("accept", 2, 2, body, w.len);
    w = fresh();
    segue_commit_write(&w, &(struct segue_msg_commit){0x11, 1 << 20, UINT64_MAX - 1});
    sample("commit", 2, 3, body, w.len);
    w = fresh();
    segue_verdict_write(&w, &(struct segue_msg_verdict){0x11, 2, 0, "gone"});
    sample("verdict", 2, 4, body, w.len);
    w = fresh();
    segue_writer_u64(&w, 0x11);
    sample("cancel", 2, 5, body, w.len);
    sample("renew", 2, 6, body, w.len);
    struct segue_msg_end end = {
        .offer.sequence = 42, .group = 7, .verdict = 1, .counts = 2};
    memcpy(end.offer.incarnation, ids, 16);
    memcpy(end.hash.bytes, ids + 16, 16);
    w = fresh();
    segue_offer_id_write(&w, &end.offer);
    sample("hold", 2, 7, body, w.len);
    w = fresh();
    segue_end_write(&w, &end);
    sample("end", 2, 8, body, w.len);
    w = fresh();
    segue_writer_u32(&w, 3);
    sample("invalidate", 2, 9, body, w.len);
    sample("invalid", 2, 10, body, w.len);
    w = fresh();
    segue_writer_u8(&w, SEGUE_FRAME_END);
    segue_writer_bytes(&w, ids + 32, 16);
    segue_end_write(&w, &end);
    sample("relay", 2, 11, body, w.len);
}

static void stage_samples(void)
{
    struct segue_writer w = fresh();
    segue_writer_u32(&w, 32);
    segue_writer_bytes16(&w, ids, 5);
    sample("ring", 3, 1, body, w.len);
    w = fresh();
    segue_writer_u64(&w, 0x11);
    segue_writer_u32(&w, 9);
    segue_writer_u32(&w, 4);
    sample("full", 3, 2, body, w.len);
    w = fresh();
    segue_writer_u64(&w, 0x11);
    segue_writer_u32(&w, 4);
    sample("free", 3, 3, body, w.len);
}

/* ---- recorded frames ---- */

static size_t unhex(const char *in, uint8_t *out)
{
    size_t n = 0;
    unsigned byte;
    for (; sscanf(in, "%2x", &byte) == 1; in += 2)
        out[n++] = (uint8_t)byte;
    return n;
}

static const struct sample *written(const char *name)
{
    for (size_t i = 0; i < n_samples; i++)
        if (strcmp(samples[i].name, name) == 0)
            return &samples[i];
    return NULL;
}

static void report(const char *name, uint8_t service, uint8_t type, const uint8_t *data,
                   uint32_t len)
{
    static char first[sizeof text];
    const struct sample *now = written(name);
    if (!now || now->service != service || now->type != type || now->len < len ||
        memcmp(now->body, data, len) != 0) {
        segue_fail(SEGUE_E_MISMATCH, "it is not the beginning of what is written now");
        die(name);
    }
    text_len = 0;
    put("{\"name\":\"%s\"", name);
    if (decode(service, type, data, len) < 0)
        die(name);
    memcpy(first, text, text_len + 1);
    size_t whole = text_len;
    uint8_t *copy = malloc(len + 3); /* of its exact size, for the sanitizer */
    if (!copy)
        die("no memory");
    memcpy(copy, data, len);
    memset(copy + len, 0xa5, 3); /* a later version's fields */
    text_len = 0;
    put("{\"name\":\"%s\"", name);
    if (decode(service, type, copy, len + 3) < 0 || strcmp(text, first) != 0) {
        segue_fail(SEGUE_E_MISMATCH, "with more behind, it is read otherwise: %s", text);
        die(name);
    }
    printf("%.*s,\"cuts\":[", (int)whole, first);
    const char *comma = "";
    for (uint32_t cut = 0; cut < len; cut++) {
        uint8_t *shorter = malloc(cut ? cut : 1);
        if (!shorter)
            die("no memory");
        memcpy(shorter, data, cut);
        text_len = 0;
        if (decode(service, type, shorter, cut) >= 0) {
            printf("%s%u", comma, cut);
            comma = ",";
        }
        free(shorter);
    }
    printf("]}\n");
    free(copy);
}

int main(int argc, char **argv)
{
    static char line[1 << 16], name[64];
    static uint8_t data[1 << 15];
    link_samples();
    cache_samples();
    handoff_samples();
    stage_samples();
    for (size_t i = 0; argc == 2 && strcmp(argv[1], "--write") == 0 && i < n_samples;
         i++) {
        printf("%s %u %u ", samples[i].name, samples[i].service, samples[i].type);
        for (uint32_t k = 0; k < samples[i].len; k++)
            printf("%02x", samples[i].body[k]);
        printf("\n");
    }
    FILE *file = argc == 2 && argv[1][0] != '-' ? fopen(argv[1], "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        unsigned service, type;
        int at = 0;
        if (line[0] == '#' ||
            sscanf(line, "%63s %u %u %n", name, &service, &type, &at) != 3)
            continue;
        report(name, (uint8_t)service, (uint8_t)type, data,
               (uint32_t)unhex(line + at, data));
    }
    if (file)
        fclose(file);
    for (size_t i = 0; i < n_samples; i++)
        free(samples[i].body);
    return argc == 2 ? 0 : 2;
}
