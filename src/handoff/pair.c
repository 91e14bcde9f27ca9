/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pairs: one claim's share from one producer cache, from opening the path to the verdict. What a pair may still be doing
 * to the destination blocks (`moving`, `digesting`) is kept apart from how it was judged (R7b).
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct segue_agent *agent_of(const struct segue_pair *pair)
{
    return pair->claim->group->handoff->agent;
}

static uint32_t tokens_of(const struct segue_pair *pair)
{
    return pair->claim->group->ticket.tokens - pair->claim->first;
}

static bool streams(const struct segue_pair *pair)
{
    return agent_of(pair)->transports[pair->route->path.row]->caps &
           SEGUE_TRANSPORT_STREAM;
}

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
    return pair->state == SEGUE_PAIR_JUDGED && !pair->mover.running &&
           !pair->intake.running && !pair->digesting;
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
    r->bytes_expected += pair->route->plan.bytes_per_token * tokens_of(pair);
    r->bytes_moved += pair->bytes;
    r->bytes_staged += pair->route->path.way == SEGUE_WAY_PACKED ? pair->bytes : 0;
    r->bytes_digest += pair->digest.bytes;
    r->digest_consumer += pair->digest.value;
}

static void judged(struct segue_pair *pair)
{
    if (pair->state == SEGUE_PAIR_ROUTING)
        segue_list_remove(&pair->routing);
    pair->state = SEGUE_PAIR_JUDGED;
    pair->claim->open--;
    account(pair);
}

void segue_pair_stop(struct segue_pair *pair)
{
    if (pair->state == SEGUE_PAIR_JUDGED)
        return;
    if (pair->state != SEGUE_PAIR_ROUTING)
        send_about(pair, SEGUE_FRAME_CANCEL);
    judged(pair);
    segue_mover_cancel(&pair->mover);
    segue_stage_cancel(&pair->intake);
}

static void fail(struct segue_pair *pair, enum segue_status status, const char *why)
{
    segue_claim_judge(pair->claim, segue_verdict_of(status), why);
}

void segue_pair_verdict(struct segue_pair *pair, const struct segue_msg_verdict *m)
{
    struct segue_claim *claim = pair->claim;
    if (pair->state == SEGUE_PAIR_JUDGED)
        return;
    if (m->verdict == SEGUE_VERDICT_VALID && pair->state != SEGUE_PAIR_COMMITTED) {
        segue_claim_judge(claim, SEGUE_VERDICT_LOST,
                          "the producer said valid before it was asked");
        return;
    }
    claim->report.digest_producer += m->digest;
    claim->held++;
    judged(pair);
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

static void commit(struct segue_pair *pair)
{
    uint8_t body[64];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    struct segue_msg_commit m = {pair->id, pair->bytes, pair->digest.value};
    segue_commit_write(&w, &m);
    pair->state = SEGUE_PAIR_COMMITTED;
    send_frame(pair, SEGUE_FRAME_COMMIT, &w);
}

static void digested(struct segue_task *task)
{
    struct segue_pair *pair = segue_container_of(
        segue_container_of(task, struct segue_digest_job, report), struct segue_pair,
        digest);
    pair->digesting = false;
    if (pair->state == SEGUE_PAIR_JUDGED)
        segue_claim_settle(pair->claim);
    else if (pair->digest.status < 0)
        fail(pair, pair->digest.status,
             "the consumer's device could not be read for the digest");
    else
        commit(pair);
}

static void digest_done(struct segue_digest_job *job)
{
    segue_loop_post(agent_of(segue_container_of(job, struct segue_pair, digest))->loop,
                    &job->report);
}

static enum segue_digest digest_mode(const struct segue_pair *pair)
{
    /* Over the producer's bytes before any conversion, which a converting copy does not keep. */
    return pair->route->plan.converts ? SEGUE_DIGEST_OFF
                                      : pair->claim->group->opts.digest;
}

static enum segue_status digest_begin(struct segue_pair *pair)
{
    struct segue_claim *claim = pair->claim;
    struct segue_overlap overlap;
    segue_overlap_of(&claim->cache->geometry, &pair->route->geometry, &overlap);
    struct segue_device *device;
    SEGUE_TRY(segue_cache_readable(claim->cache, pair->readable, &device));
    pair->digest = (struct segue_digest_job){
        .device = device,
        .n_memory = claim->cache->n_regions,
        .bounce = pair->digest.bounce,
        .range = {.geometry = &claim->cache->geometry,
                  .memory = pair->readable,
                  .blocks = claim->blocks.id,
                  .token_first = claim->first,
                  .token_end = claim->group->ticket.tokens,
                  .layer_first = overlap.layer_first,
                  .layers = overlap.layers,
                  .head_first = overlap.head_first,
                  .heads = overlap.heads,
                  .sample = digest_mode(pair) == SEGUE_DIGEST_SAMPLE},
        .done = digest_done,
        .report = {.fn = digested},
    };
    SEGUE_TRY(segue_digest_start(&pair->digest, agent_of(pair)->pool));
    pair->digesting = true;
    pair->state = SEGUE_PAIR_DIGESTING;
    return SEGUE_OK;
}

/* ---- bytes ---- */

static void moved(struct segue_pair *pair, enum segue_status status)
{
    struct segue_claim *claim = pair->claim;
    if (pair->state == SEGUE_PAIR_JUDGED) {
        segue_claim_settle(claim);
        return;
    }
    if (status < 0) {
        fail(pair, status, segue_error_detail());
        return;
    }
    pair->bytes = pair->route->plan.bytes_per_token * tokens_of(pair);
    if (agent_of(pair)->opts.fault == SEGUE_FAULT_FLIP)
        status = segue_pair_flip(pair);
    if (status < 0) {
        fail(pair, status, segue_error_detail());
        return;
    }
    claim->moved_ns = segue_now_ns();
    if (!claim->accepted_ns) /* a stream may be through before its accept is read */
        claim->accepted_ns = claim->moved_ns;
    if (digest_mode(pair) == SEGUE_DIGEST_OFF) {
        commit(pair);
        return;
    }
    status = digest_begin(pair);
    if (status < 0)
        fail(pair, status, segue_error_detail());
}

static void mover_done(struct segue_mover *mover, enum segue_status status)
{
    moved(segue_container_of(mover, struct segue_pair, mover), status);
}

static enum segue_status start(struct segue_pair *pair, enum segue_op_kind kind)
{
    struct segue_claim *claim = pair->claim;
    struct segue_cache *cache = claim->cache;
    struct segue_route *route = pair->route;
    for (uint32_t i = 0; i < cache->n_regions; i++)
        pair->local[i] = cache->regions[i]->registrations[route->path.row];
    pair->mover = (struct segue_mover){
        .agent = agent_of(pair),
        .done = mover_done,
        .op = {.kind = kind,
               .transfer = segue_bound_transfer(&route->plan, &pair->spans),
               .local = pair->local,
               .n_local = cache->n_regions,
               .remote = route->import ? route->import->remote : NULL,
               .n_remote = route->import ? route->import->n : 0,
               .tag = pair->tag,
               .deadline_ns = claim->posted_ns + claim->group->opts.timeout_ns},
    };
    return segue_mover_start(&pair->mover, route->connection);
}

/* Binds the plan to the producer's blocks, or to any of their number where the producer walks its own. */
static enum segue_status bind(struct segue_pair *pair, const struct segue_ids *src)
{
    const struct segue_layout *theirs = &pair->route->geometry.layout,
                              *ours = &pair->claim->cache->geometry.layout;
    const struct segue_claim *claim = pair->claim;
    uint32_t tokens = claim->group->ticket.tokens;
    uint32_t n = (uint32_t)(((uint64_t)tokens + theirs->block_tokens - 1) /
                            theirs->block_tokens);
    struct segue_tokens from = {src ? src->id : NULL, src ? src->n : n,
                                theirs->block_tokens, claim->first};
    struct segue_tokens to = {claim->blocks.id, claim->blocks.n, ours->block_tokens,
                              claim->first};
    return segue_bound_bind(claim->group->handoff, &pair->spans, from, to,
                            tokens - claim->first);
}

static void taken_in(struct segue_stage_half *half, enum segue_status status)
{
    moved(segue_container_of(half, struct segue_pair, intake), status);
}

static enum segue_status take_in(struct segue_pair *pair)
{
    struct segue_claim *claim = pair->claim;
    struct segue_cache *cache = claim->cache;
    segue_cache_extents(cache, pair->memory);
    SEGUE_TRY(segue_pack_bind(pair->route->pack, &cache->geometry, pair->memory,
                              cache->n_regions, claim->blocks.id, claim->blocks.n,
                              claim->first, tokens_of(pair), &pair->run));
    pair->tag = agent_of(pair)->next_id + 1; /* one a piece */
    agent_of(pair)->next_id += pair->run.pieces.count;
    pair->intake = (struct segue_stage_half){
        .done = taken_in,
        .pair = pair->id,
        .pieces = &pair->run.pieces,
        .connection = streams(pair) ? pair->route->connection : NULL,
        .tag = pair->tag,
        .deadline_ns = claim->posted_ns + claim->group->opts.timeout_ns,
        .lanes = pair->intake.lanes,
    };
    return segue_stage_intake(pair->route->link, &pair->intake);
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
        .digest = (uint8_t)digest_mode(pair),
        .tag = pair->tag,
        .row = pair->route->path.row,
        .way = (uint8_t)pair->route->path.way,
        .geometry = cache->geometry,
    };
    if (m.way == SEGUE_WAY_PACKED) {
        m.wire_tokens = pair->route->pack->wire_tokens;
        m.credits = segue_stage_credits(pair->run.pieces.count);
    }
    memcpy(m.model, cache->model, sizeof m.model);
    memcpy(m.convention, cache->convention, sizeof m.convention);
    struct segue_writer w = segue_writer_make(claim->group->handoff->frame,
                                              SEGUE_FRAME_MAX);
    segue_claim_write(&w, &m);
    pair->state = SEGUE_PAIR_CLAIMED;
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
    enum segue_status status = SEGUE_OK;
    pair->state = SEGUE_PAIR_CLAIMED;
    /* The receiving half stands before the producer is asked to send. */
    if (pair->route->path.way == SEGUE_WAY_PACKED) {
        status = take_in(pair);
    } else if (streams(pair)) {
        pair->tag = pair->id;
        status = bind(pair, NULL);
        if (status >= 0)
            status = start(pair, SEGUE_OP_RECV);
    }
    if (status < 0)
        fail(pair, status, segue_error_detail());
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
    if (pair->state != SEGUE_PAIR_CLAIMED)
        return;
    if (claim->accepted_ns == 0)
        claim->accepted_ns = segue_now_ns();
    pair->state = SEGUE_PAIR_MOVING;
    if (streams(pair) || pair->route->path.way == SEGUE_WAY_PACKED)
        return; /* the producer walks its own blocks */
    enum segue_status status = expand(pair, m);
    if (status >= 0)
        status = bind(pair, &pair->src_blocks);
    if (status >= 0)
        status = start(pair, pair->route->path.way == SEGUE_WAY_MAPPED ? SEGUE_OP_COPY
                                                                       : SEGUE_OP_READ);
    if (status < 0)
        fail(pair, status, segue_error_detail());
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
    enum segue_status status = segue_map_put(&h->pairs, pair->id, pair);
    if (status >= 0 && (status = segue_route_get(claim->group->link, claim->cache, remote,
                                                 &pair->route)) < 0)
        segue_map_remove(&h->pairs, pair->id);
    if (status < 0) {
        segue_list_push_back(&h->free_pairs, &pair->list);
        return status;
    }
    pair->state = SEGUE_PAIR_ROUTING;
    segue_list_push_back(&claim->pairs, &pair->list);
    segue_list_push_back(&pair->route->pairs, &pair->routing);
    segue_route_open(pair->route);
    return SEGUE_OK;
}

/* ---- transcript ---- */

struct explain {
    struct segue_cache *cache;
    const char *engine_id;
    char *text;
    size_t cap;
};

static enum segue_status explain(struct segue_agent *agent, void *arg)
{
    struct explain *e = arg;
    segue_list_each (l, &agent->links) {
        struct segue_link *link = segue_container_of(l, struct segue_link, list);
        struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
        if (!peer || strcmp(link->peer.engine_id, e->engine_id) != 0)
            continue;
        segue_list_each (r, &peer->routes) {
            struct segue_route *route = segue_container_of(r, struct segue_route, list);
            if (route->cache == e->cache && route->remote) {
                segue_select_text(&route->selection, e->text, e->cap);
                return SEGUE_OK;
            }
        }
    }
    return segue_fail(SEGUE_E_NOT_FOUND, "this cache has not met engine %s yet",
                      e->engine_id);
}

enum segue_status segue_path_explain(struct segue_cache *cache, const char *engine_id,
                                     char *text, size_t cap)
{
    return segue_agent_call(cache->agent, explain,
                            &(struct explain){cache, engine_id, text, cap});
}
