/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a hand-off from any bytes: what is believed can be said again, and is then believed again. */
#include "agent/frame.h"
#include "fuzz/message.h"
#include "handoff/wire.h"

static uint8_t again[SEGUE_FRAME_MAX];

static struct segue_reader reader(const uint8_t *body, uint32_t len)
{
    return segue_reader_make(body, len);
}

static struct segue_writer writer(void)
{
    return segue_writer_make(again, sizeof again);
}

static void claim(const uint8_t *body, uint32_t len)
{
    static struct segue_geometry_room room, more;
    struct segue_msg_claim m, same;
    struct segue_reader r = reader(body, len);
    if (segue_claim_read(&r, &m, &room) < 0)
        return;
    struct segue_writer w = writer();
    segue_claim_write(&w, &m);
    r = reader(again, (uint32_t)w.len);
    must(!w.failed && segue_claim_read(&r, &same, &more) >= 0);
    must(same.pair == m.pair && same.credits == m.credits &&
         strcmp(same.model, m.model) == 0 &&
         same.geometry.layout.blocks == m.geometry.layout.blocks);
}

static void accept(const uint8_t *body, uint32_t len)
{
    struct segue_msg_accept m;
    struct segue_reader r = reader(body, len);
    volatile uint64_t sum = 0;
    if (segue_accept_read(&r, &m) < 0)
        return;
    for (uint32_t i = 0; i < m.n_runs; i++)
        sum += segue_run_at(&m, i).count;
}

static void commit(const uint8_t *body, uint32_t len)
{
    struct segue_msg_commit m, same;
    struct segue_reader r = reader(body, len);
    if (segue_commit_read(&r, &m) < 0)
        return;
    struct segue_writer w = writer();
    segue_commit_write(&w, &m);
    r = reader(again, (uint32_t)w.len);
    must(segue_commit_read(&r, &same) >= 0 && same.pair == m.pair &&
         same.bytes == m.bytes && same.digest == m.digest);
}

static void verdict(const uint8_t *body, uint32_t len)
{
    struct segue_msg_verdict m, same;
    struct segue_reader r = reader(body, len);
    if (segue_verdict_read(&r, &m) < 0)
        return;
    must(memchr(m.why, 0, sizeof m.why) && m.verdict != SEGUE_VERDICT_NONE);
    struct segue_writer w = writer();
    segue_verdict_write(&w, &m);
    r = reader(again, (uint32_t)w.len);
    must(segue_verdict_read(&r, &same) >= 0 && same.verdict == m.verdict &&
         strcmp(same.why, m.why) == 0);
}

static void pair(const uint8_t *body, uint32_t len) /* CANCEL, RENEW */
{
    struct segue_reader r = reader(body, len);
    uint64_t pair;
    must(segue_pair_read(&r, &pair) < 0 || len >= sizeof pair);
}

static void hold(const uint8_t *body, uint32_t len)
{
    struct segue_reader r = reader(body, len);
    struct segue_offer_id id;
    segue_offer_id_read(&r, &id);
    if (r.failed)
        return;
    struct segue_writer w = writer();
    segue_offer_id_write(&w, &id);
    must(w.len <= len && memcmp(again, body, w.len) == 0);
}

static void end(const uint8_t *body, uint32_t len)
{
    struct segue_msg_end m, same;
    struct segue_reader r = reader(body, len);
    if (segue_end_read(&r, &m) < 0)
        return;
    struct segue_writer w = writer();
    segue_end_write(&w, &m);
    r = reader(again, (uint32_t)w.len);
    must(segue_end_read(&r, &same) >= 0 && same.group == m.group &&
         same.verdict == m.verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct message messages[] = {
        {"claim", claim}, {"accept", accept}, {"commit", commit}, {"verdict", verdict},
        {"pair", pair},   {"hold", hold},     {"end", end},
    };
    return message_run(messages, data, size);
}
