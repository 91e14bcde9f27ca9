/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pairs: one claim's share from one producer cache, from opening the path to the verdict. What a pair may still be doing
 * to the destination blocks (`moving`, `digesting`) is kept apart from how it was judged (R7b).
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutate.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_frame(struct segue_pair *pair, enum segue_handoff_frame type,
                       const struct segue_writer *w)
{
    if (pair->route->link)
        segue_link_send(pair->route->link, SEGUE_SERVICE_HANDOFF, (uint8_t)type, w->data,
                        (uint32_t)w->len, NULL, 0);
}

static void send_about(struct segue_pair *pair, enum segue_handoff_frame type)
{
    uint8_t body[8];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u64(&w, pair->id);
    send_frame(pair, type, &w);
}

/* ---- end ---- */

bool segue_pair_quiet(const struct segue_pair *pair)
{
    bool moves = pair->mover.running || pair->intake.running || pair->digesting;
    return pair->state == SEGUE_PAIR_JUDGED && (!moves || SEGUE_MUTATED(R12));
}

void segue_pair_free(struct segue_pair *pair)
{
    struct segue_handoff *h = pair->claim->group->handoff;
    segue_map_remove(&h->pairs, pair->id);
    segue_list_remove(&pair->list);
    segue_route_release(pair->route);
    struct segue_ids blocks = pair->src_blocks;
    struct segue_bound spans = pair->spans;
    struct segue_pack_run run = pair->run;
    struct segue_lane_slot *lanes = pair->intake.lanes;
    struct segue_digest_bounce *bounce = pair->digest.bounce;
    *pair = (struct segue_pair){.src_blocks = blocks,
                                .spans = spans,
                                .run = run,
                                .intake = {.lanes = lanes},
                                .digest = {.bounce = bounce}};
    segue_list_push_back(&h->free_pairs, &pair->list);
}

/* Adds what this pair did to the claim's report. */
static void account(struct segue_pair *pair)
{
    struct segue_claim_report *r = &pair->claim->report;
    const char *path = segue_path_name(pair->route->path);
    if (!strstr(r->path, path) && strlen(r->path) + strlen(path) + 2 <= sizeof r->path) {
        if (r->path[0])
            strcat(r->path, ",");
        strcat(r->path, path);
    }
    r->bytes_expected += pair->route->plan.bytes_per_token * segue_pair_tokens(pair);
    r->bytes_moved += pair->bytes;
    r->bytes_staged += pair->route->path.way == SEGUE_WAY_PACKED ? pair->bytes : 0;
    r->bytes_digest += pair->digest.bytes;
    r->digest_consumer += pair->digest.value;
}

static void judged(struct segue_pair *pair, enum segue_pair_event why)
{
    if (pair->state == SEGUE_PAIR_ROUTING)
        segue_list_remove(&pair->routing);
    segue_step(&segue_pair_machine, &pair->state, why);
    pair->claim->open--;
    account(pair);
}

void segue_pair_stop(struct segue_pair *pair)
{
    if (pair->state == SEGUE_PAIR_JUDGED)
        return;
    if (pair->state != SEGUE_PAIR_ROUTING)
        send_about(pair, SEGUE_FRAME_CANCEL);
    judged(pair, SEGUE_PAIR_ON_STOP);
    segue_mover_cancel(&pair->mover);
    segue_stage_cancel(&pair->intake);
}

void segue_pair_fail(struct segue_pair *pair, enum segue_status status, const char *why)
{
    segue_claim_judge(pair->claim, segue_verdict_of(status), why);
}

void segue_pair_verdict(struct segue_pair *pair, const struct segue_msg_verdict *m)
{
    struct segue_claim *claim = pair->claim;
    if (!segue_may(&segue_pair_machine, pair->state, SEGUE_PAIR_ON_VERDICT))
        return; /* it is over; or the peer answers what was not asked */
    if (m->verdict == SEGUE_VERDICT_VALID && pair->state != SEGUE_PAIR_COMMITTED) {
        segue_claim_judge(claim, SEGUE_VERDICT_LOST,
                          "the producer said valid before it was asked");
        return;
    }
    claim->report.digest_producer += m->digest;
    claim->held++;
    judged(pair, SEGUE_PAIR_ON_VERDICT);
    segue_mover_cancel(&pair->mover); /* a verdict that comes unasked ends the copy */
    segue_stage_cancel(&pair->intake);
    if (m->verdict != SEGUE_VERDICT_VALID)
        segue_claim_judge(claim, (enum segue_verdict)m->verdict, m->why);
    else if (claim->open == 0)
        segue_claim_judge(claim, SEGUE_VERDICT_VALID, "");
    claim->held--;
    segue_claim_settle(claim);
}

/* ---- commit ---- */

void segue_pair_commit(struct segue_pair *pair)
{
    uint8_t body[64];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    struct segue_msg_commit m = {pair->id, pair->bytes, pair->digest.value};
    segue_commit_write(&w, &m);
    segue_step(&segue_pair_machine, &pair->state, SEGUE_PAIR_ON_COMMIT);
    send_frame(pair, SEGUE_FRAME_COMMIT, &w);
}

/* ---- claim and accept ---- */

static void send_claim(struct segue_pair *pair)
{
    struct segue_claim *claim = pair->claim;
    struct segue_cache *cache = claim->cache;
    struct segue_msg_claim m = {
        .pair = pair->id,
        .offer = claim->group->ticket.id,
        .hash = claim->group->ticket.hash,
        .tokens = claim->group->ticket.tokens,
        .first = claim->first,
        .cache = pair->route->remote->id,
        .digest = (uint8_t)segue_pair_digest_mode(pair),
        .tag = pair->tag,
        .row = pair->route->path.row,
        .way = (uint8_t)pair->route->path.way,
        .geometry = cache->geometry,
        .use = claim->group->opts.use ? claim->group->opts.use : claim->group->id,
        .counts = claim->group->opts.siblings,
        .from = cache->id,
    };
    if (m.way == SEGUE_WAY_PACKED) {
        m.wire_tokens = pair->route->pack->wire_tokens;
        m.wire_order = (uint8_t)pair->route->pack->order;
        m.credits = segue_stage_credits(pair->run.pieces.count);
    }
    memcpy(m.model, cache->model, sizeof m.model);
    memcpy(m.convention, cache->convention, sizeof m.convention);
    struct segue_writer w = segue_writer_make(claim->group->handoff->frame,
                                              SEGUE_FRAME_MAX);
    segue_claim_write(&w, &m);
    send_frame(pair, SEGUE_FRAME_CLAIM, &w);
}

void segue_pair_routed(struct segue_pair *pair)
{
    if (pair->route->state == SEGUE_ROUTE_FAILED) {
        char why[256];
        memcpy(why, pair->route->why, sizeof why);
        segue_list_push_back(&pair->route->pairs,
                             &pair->routing); /* judging takes it out */
        segue_claim_judge(pair->claim, SEGUE_VERDICT_LOST, why);
        return;
    }
    segue_step(&segue_pair_machine, &pair->state, SEGUE_PAIR_ON_ROUTED);
    /* The receiving half stands before the producer is asked to send. */
    enum segue_status status = segue_pair_receive(pair);
    if (status < 0)
        segue_pair_fail(pair, status, segue_error_detail());
    else
        send_claim(pair);
}

/* The producer's block list; every id is checked against the cache it described. */
static enum segue_status expand(struct segue_pair *pair, const struct segue_msg_accept *m)
{
    const struct segue_layout *theirs = &pair->route->geometry.layout;
    uint32_t tokens = pair->claim->group->ticket.tokens;
    uint32_t needed = (uint32_t)(((uint64_t)tokens + theirs->block_tokens - 1) /
                                 theirs->block_tokens),
             n = 0;
    SEGUE_TRY(segue_ids_room(&pair->src_blocks, needed));
    for (uint32_t i = 0; i < m->n_runs && n < needed; i++) {
        struct segue_run run = segue_run_at(m, i);
        if (run.start >= theirs->blocks || run.count > theirs->blocks - run.start)
            return segue_fail(
                SEGUE_E_PROTOCOL, "the producer named blocks %u..%llu of a cache of %u",
                run.start, (unsigned long long)run.start + run.count, theirs->blocks);
        for (uint32_t k = 0; k < run.count && n < needed; k++)
            pair->src_blocks.id[n++] = run.start + k;
    }
    pair->src_blocks.n = n;
    if (n < needed)
        return segue_fail(SEGUE_E_PROTOCOL, "the producer named %u of %u blocks", n,
                          needed);
    return SEGUE_OK;
}

void segue_pair_accept(struct segue_pair *pair, const struct segue_msg_accept *m)
{
    struct segue_claim *claim = pair->claim;
    if (!segue_may(&segue_pair_machine, pair->state, SEGUE_PAIR_ON_ACCEPT))
        return; /* a stream is through already, or it is over */
    if (claim->accepted_ns == 0)
        claim->accepted_ns = segue_now_ns();
    segue_step(&segue_pair_machine, &pair->state, SEGUE_PAIR_ON_ACCEPT);
    if (segue_pair_streams(pair) || pair->route->path.way == SEGUE_WAY_PACKED)
        return; /* the producer walks its own blocks */
    enum segue_status status = expand(pair, m);
    if (status >= 0)
        status = segue_pair_fetch(pair);
    if (SEGUE_MUTATED(R7) && status >= 0)
        segue_pair_commit(pair);
    if (status < 0)
        segue_pair_fail(pair, status, segue_error_detail());
}

void segue_pair_renew(struct segue_pair *pair)
{
    if (pair->state > SEGUE_PAIR_ROUTING && pair->state < SEGUE_PAIR_JUDGED)
        send_about(pair, SEGUE_FRAME_RENEW);
}

enum segue_status segue_pair_open(struct segue_claim *claim,
                                  const struct segue_remote_cache *remote)
{
    struct segue_handoff *h = claim->group->handoff;
    struct segue_pair *pair;
    if (segue_list_empty(&h->free_pairs))
        pair = calloc(1, sizeof *pair);
    else
        pair = segue_container_of(segue_list_pop_front(&h->free_pairs), struct segue_pair,
                                  list);
    if (!pair)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a claim");
    pair->id = ++h->agent->next_id;
    pair->claim = claim;
    pair->state = SEGUE_PAIR_ROUTING;
    enum segue_status status = segue_map_put(&h->pairs, pair->id, pair);
    if (status >= 0 &&
        (status = segue_route_get(remote->link, claim->cache, remote, &pair->route)) < 0)
        segue_map_remove(&h->pairs, pair->id);
    if (status < 0) {
        segue_list_push_back(&h->free_pairs, &pair->list);
        return status;
    }
    segue_list_push_back(&claim->pairs, &pair->list);
    segue_list_push_back(&pair->route->pairs, &pair->routing);
    segue_route_open(pair->route);
    return SEGUE_OK;
}
