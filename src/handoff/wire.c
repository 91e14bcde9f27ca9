/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-off's messages, field by field in the order of docs/wire.md section 3. */
#include "handoff/wire.h"

#include "agent/select.h"
#include "base/status.h"
#include "kv/cache.h"
#include "kv/plan.h"

static enum segue_status malformed(const char *message)
{
    return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed %s", message);
}

/* Every message may grow at its end (R21): bytes beyond the fields known here are skipped. */
static enum segue_status whole(const struct segue_reader *r, const char *message)
{
    return r->failed ? malformed(message) : SEGUE_OK;
}

void segue_offer_id_write(struct segue_writer *w, const struct segue_offer_id *id)
{
    segue_writer_bytes(w, id->incarnation, sizeof id->incarnation);
    segue_writer_u64(w, id->sequence);
}

void segue_offer_id_read(struct segue_reader *r, struct segue_offer_id *id)
{
    segue_reader_copy(r, id->incarnation, sizeof id->incarnation);
    id->sequence = segue_reader_u64(r);
}

void segue_claim_write(struct segue_writer *w, const struct segue_msg_claim *m)
{
    segue_writer_u64(w, m->pair);
    segue_writer_u64(w, m->tag);
    segue_offer_id_write(w, &m->offer);
    segue_writer_bytes(w, m->hash.bytes, sizeof m->hash.bytes);
    segue_writer_u32(w, m->tokens);
    segue_writer_u32(w, m->first);
    segue_writer_u32(w, m->cache);
    segue_writer_u8(w, m->digest);
    segue_writer_u8(w, m->row);
    segue_writer_u8(w, (uint8_t)(m->way + m->wire_order)); /* order: packed only */
    segue_writer_u32(w, m->wire_tokens);
    segue_writer_u32(w, m->credits);
    segue_writer_str16(w, m->model);
    segue_writer_str16(w, m->convention);
    segue_geometry_write(w, &m->geometry);
    segue_writer_u64(w, m->use);
    segue_writer_u32(w, m->counts);
    segue_writer_u32(w, m->from);
}

enum segue_status segue_claim_read(struct segue_reader *r, struct segue_msg_claim *m,
                                   struct segue_geometry_room *room)
{
    m->pair = segue_reader_u64(r);
    m->tag = segue_reader_u64(r);
    segue_offer_id_read(r, &m->offer);
    segue_reader_copy(r, m->hash.bytes, sizeof m->hash.bytes);
    m->tokens = segue_reader_u32(r);
    m->first = segue_reader_u32(r);
    m->cache = segue_reader_u32(r);
    m->digest = segue_reader_u8(r);
    m->row = segue_reader_u8(r);
    m->way = segue_reader_u8(r);
    m->wire_order = m->way == SEGUE_WAY_PACKED + SEGUE_WIRE_BY_TOKEN;
    m->way -= m->wire_order;
    m->wire_tokens = segue_reader_u32(r);
    m->credits = segue_reader_u32(r);
    segue_reader_str16_copy(r, m->model, sizeof m->model);
    segue_reader_str16_copy(r, m->convention, sizeof m->convention);
    SEGUE_TRY(whole(r, "claim"));
    if (m->first >= m->tokens || m->digest > SEGUE_DIGEST_FULL ||
        m->way > SEGUE_WAY_PACKED || m->row >= SEGUE_ROWS_MAX)
        return malformed("claim");
    SEGUE_TRY(segue_geometry_read(r, &m->geometry, room));
    m->use = segue_reader_u64(r);
    m->counts = segue_reader_u32(r);
    m->from = segue_reader_u32(r);
    if (m->counts == 0)
        return malformed("claim");
    return whole(r, "claim");
}

enum segue_status segue_accept_write(struct segue_writer *w, uint64_t pair,
                                     uint64_t lease_ns, const uint32_t *blocks,
                                     uint32_t n)
{
    segue_writer_u64(w, pair);
    segue_writer_u64(w, lease_ns);
    size_t count_at = segue_writer_reserve(w, 4);
    uint32_t runs = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t count = 1;
        while (i + count < n && blocks[i + count] == blocks[i] + count)
            count++;
        if (runs == SEGUE_WIRE_RUNS_MAX)
            return segue_fail(SEGUE_E_LIMIT,
                              "the offer's %u blocks lie in more than %u runs", n,
                              SEGUE_WIRE_RUNS_MAX);
        segue_writer_u32(w, blocks[i]);
        segue_writer_u32(w, count);
        runs++;
        i += count;
    }
    segue_writer_patch_u32(w, count_at, runs);
    return w->failed ? segue_fail(SEGUE_E_LIMIT, "the accept does not fit in a frame")
                     : SEGUE_OK;
}

enum segue_status segue_accept_read(struct segue_reader *r, struct segue_msg_accept *m)
{
    m->pair = segue_reader_u64(r);
    m->lease_ns = segue_reader_u64(r);
    m->n_runs = segue_reader_u32(r);
    if (m->n_runs > SEGUE_WIRE_RUNS_MAX)
        return malformed("accept");
    m->runs = segue_reader_take(r, (size_t)m->n_runs * 8);
    return whole(r, "accept");
}

struct segue_run segue_run_at(const struct segue_msg_accept *m, uint32_t i)
{
    struct segue_reader r = segue_reader_make(m->runs + (size_t)i * 8, 8);
    struct segue_run run = {.start = segue_reader_u32(&r)};
    run.count = segue_reader_u32(&r);
    return run;
}

void segue_commit_write(struct segue_writer *w, const struct segue_msg_commit *m)
{
    segue_writer_u64(w, m->pair);
    segue_writer_u64(w, m->bytes);
    segue_writer_u64(w, m->digest);
}

enum segue_status segue_commit_read(struct segue_reader *r, struct segue_msg_commit *m)
{
    m->pair = segue_reader_u64(r);
    m->bytes = segue_reader_u64(r);
    m->digest = segue_reader_u64(r);
    return whole(r, "commit");
}

void segue_verdict_write(struct segue_writer *w, const struct segue_msg_verdict *m)
{
    segue_writer_u64(w, m->pair);
    segue_writer_u8(w, m->verdict);
    segue_writer_u64(w, m->digest);
    segue_writer_str16(w, m->why);
}

enum segue_status segue_verdict_read(struct segue_reader *r, struct segue_msg_verdict *m)
{
    m->pair = segue_reader_u64(r);
    m->verdict = segue_reader_u8(r);
    m->digest = segue_reader_u64(r);
    segue_reader_str16_copy(r, m->why, sizeof m->why);
    if (m->verdict == SEGUE_VERDICT_NONE || m->verdict > SEGUE_VERDICT_CANCELLED)
        return malformed("verdict");
    return whole(r, "verdict");
}

void segue_end_write(struct segue_writer *w, const struct segue_msg_end *m)
{
    segue_offer_id_write(w, &m->offer);
    segue_writer_u64(w, m->group);
    segue_writer_u8(w, m->verdict);
    segue_writer_bytes(w, m->hash.bytes, sizeof m->hash.bytes);
    segue_writer_u32(w, m->counts);
}

enum segue_status segue_end_read(struct segue_reader *r, struct segue_msg_end *m)
{
    segue_offer_id_read(r, &m->offer);
    m->group = segue_reader_u64(r);
    m->verdict = segue_reader_u8(r);
    segue_reader_copy(r, m->hash.bytes, sizeof m->hash.bytes);
    m->counts = segue_reader_u32(r);
    if (m->verdict > SEGUE_VERDICT_CANCELLED || (!r->failed && m->counts == 0))
        return malformed("end");
    return whole(r, "end");
}

enum segue_status segue_pair_read(struct segue_reader *r, uint64_t *pair)
{
    *pair = segue_reader_u64(r);
    return whole(r, "message about a claim");
}
