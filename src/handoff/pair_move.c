/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a pair: from the path's first byte to the digest of the last. */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/status.h"

static struct segue_agent *agent_of(const struct segue_pair *pair)
{
    return pair->claim->group->handoff->agent;
}

uint32_t segue_pair_tokens(const struct segue_pair *pair)
{
    return pair->claim->group->ticket.tokens - pair->claim->first;
}

bool segue_pair_streams(const struct segue_pair *pair)
{
    return agent_of(pair)->transports[pair->route->path.row]->caps &
           SEGUE_TRANSPORT_STREAM;
}

/* ---- digest ---- */

static void digested(struct segue_task *task)
{
    struct segue_pair *pair = segue_container_of(
        segue_container_of(task, struct segue_digest_job, report), struct segue_pair,
        digest);
    pair->digesting = false;
    if (pair->state == SEGUE_PAIR_JUDGED)
        segue_claim_settle(pair->claim);
    else if (pair->digest.status < 0)
        segue_pair_fail(pair, pair->digest.status,
                        "the consumer's device could not be read for the digest");
    else
        segue_pair_commit(pair);
}

static void digest_done(struct segue_digest_job *job)
{
    segue_loop_post(agent_of(segue_container_of(job, struct segue_pair, digest))->loop,
                    &job->report);
}

enum segue_digest segue_pair_digest_mode(const struct segue_pair *pair)
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
                  .sample = segue_pair_digest_mode(pair) == SEGUE_DIGEST_SAMPLE},
        .done = digest_done,
        .report = {.fn = digested},
    };
    SEGUE_TRY(segue_digest_start(&pair->digest, agent_of(pair)->pool));
    pair->digesting = true;
    segue_step(&segue_pair_machine, &pair->state, SEGUE_PAIR_ON_DIGEST);
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
        segue_pair_fail(pair, status, segue_error_detail());
        return;
    }
    pair->bytes = pair->route->plan.bytes_per_token * segue_pair_tokens(pair);
    if (segue_agent_fault(agent_of(pair), "arrived", SEGUE_FAULT_FLIP))
        status = segue_pair_flip(pair);
    if (status < 0) {
        segue_pair_fail(pair, status, segue_error_detail());
        return;
    }
    claim->moved_ns = segue_now_ns();
    if (!claim->accepted_ns) /* a stream may be through before its accept is read */
        claim->accepted_ns = claim->moved_ns;
    if (segue_pair_digest_mode(pair) == SEGUE_DIGEST_OFF) {
        segue_pair_commit(pair);
        return;
    }
    status = digest_begin(pair);
    if (status < 0)
        segue_pair_fail(pair, status, segue_error_detail());
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
    return segue_bound_bind(claim->group->handoff, &pair->spans, &pair->route->plan, from,
                            to, tokens - claim->first);
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
                              claim->first, segue_pair_tokens(pair), &pair->run));
    pair->tag = agent_of(pair)->next_id + 1; /* one a piece */
    agent_of(pair)->next_id += pair->run.pieces.count;
    pair->intake = (struct segue_stage_half){
        .done = taken_in,
        .pair = pair->id,
        .pieces = &pair->run.pieces,
        .connection = segue_pair_streams(pair) ? pair->route->connection : NULL,
        .tag = pair->tag,
        .deadline_ns = claim->posted_ns + claim->group->opts.timeout_ns,
        .lanes = pair->intake.lanes,
    };
    return segue_stage_intake(pair->route->link, &pair->intake);
}

enum segue_status segue_pair_receive(struct segue_pair *pair)
{
    if (pair->route->path.way == SEGUE_WAY_PACKED)
        return take_in(pair);
    if (!segue_pair_streams(pair))
        return SEGUE_OK;
    pair->tag = pair->id;
    SEGUE_TRY(bind(pair, NULL));
    return start(pair, SEGUE_OP_RECV);
}

enum segue_status segue_pair_fetch(struct segue_pair *pair)
{
    SEGUE_TRY(bind(pair, &pair->src_blocks));
    return start(pair, pair->route->path.way == SEGUE_WAY_MAPPED ? SEGUE_OP_COPY
                                                                 : SEGUE_OP_READ);
}
