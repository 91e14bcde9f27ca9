/* SPDX-License-Identifier: Apache-2.0 */
/* What the producer does for the bytes of a claim: nothing where the consumer reads them, the sending half of a stream, or
 * the feeding half of the packed way. */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/status.h"

/* ---- the sending half of a stream ---- */

static void sent(struct segue_mover *mover, enum segue_status status)
{
    struct segue_serve *serve = segue_container_of(mover, struct segue_serve, mover);
    if (status < 0 && serve->state != SEGUE_SERVE_OVER)
        segue_serve_end(serve, SEGUE_VERDICT_LOST, segue_error_detail());
    else
        segue_serve_settle(serve);
}

static enum segue_status send_begin(struct segue_serve *serve,
                                    struct segue_connection *connection)
{
    struct segue_cache *cache = serve->cache;
    for (uint32_t i = 0; i < cache->n_regions; i++)
        serve->local[i] = cache->regions[i]->registrations[serve->path.row];
    serve->mover = (struct segue_mover){
        .agent = serve->handoff->agent,
        .done = sent,
        .op = {.kind = SEGUE_OP_SEND,
               .transfer = segue_bound_transfer(&serve->route->plan, &serve->spans),
               .local = serve->local,
               .n_local = cache->n_regions,
               .tag = serve->tag,
               .deadline_ns = segue_now_ns() + serve->handoff->agent->opts.claim_ns},
    };
    return segue_mover_start(&serve->mover, connection);
}

/* ---- the feeding half of a packed way ---- */

static void fed(struct segue_stage_half *half, enum segue_status status)
{
    struct segue_serve *serve = segue_container_of(half, struct segue_serve, feed);
    if (status < 0 && serve->state != SEGUE_SERVE_OVER)
        segue_serve_end(serve, SEGUE_VERDICT_LOST, segue_error_detail());
    else
        segue_serve_settle(serve);
}

static enum segue_status feed_begin(struct segue_serve *serve,
                                    struct segue_connection *connection)
{
    struct segue_cache *cache = serve->cache;
    SEGUE_TRY(segue_route_pack(serve->route, serve->wire_tokens,
                               (enum segue_wire_order)serve->wire_order));
    segue_cache_extents(cache, serve->memory);
    SEGUE_TRY(segue_pack_bind(serve->route->pack, &cache->geometry, serve->memory,
                              cache->n_regions, serve->part->named, serve->part->n_blocks,
                              serve->first, serve->offer->tokens - serve->first,
                              &serve->run));
    if (serve->credits > serve->run.pieces.count)
        return segue_fail(SEGUE_E_REFUSED, "the claim gives %u credits for %u pieces",
                          serve->credits, serve->run.pieces.count);
    serve->feed = (struct segue_stage_half){
        .done = fed,
        .pair = serve->pair,
        .pieces = &serve->run.pieces,
        .connection = connection,
        .tag = serve->tag,
        .deadline_ns = segue_now_ns() + serve->handoff->agent->opts.claim_ns,
        .credits = serve->credits,
        .lanes = serve->feed.lanes,
    };
    return segue_stage_feed(serve->link, &serve->feed);
}

static void stream_ready(struct segue_link_wait *wait, enum segue_status status)
{
    struct segue_serve *serve = segue_container_of(wait, struct segue_serve, wait);
    serve->waiting = false;
    if (status < 0)
        segue_serve_end(serve, SEGUE_VERDICT_LOST, wait->why);
    else {
        status = serve->path.way == SEGUE_WAY_PACKED
                     ? feed_begin(serve, wait->connection)
                     : send_begin(serve, wait->connection);
        if (status < 0)
            segue_serve_end(serve, segue_verdict_of(status), segue_error_detail());
    }
}

static void stream_wait(struct segue_serve *serve)
{
    serve->wait = (struct segue_link_wait){.done = stream_ready};
    serve->waiting = true;
    segue_link_connect(serve->link, serve->path.row, &serve->wait);
}

/* Both sides walk the same moves in the same order; only the block ids of the other side are not known here, and not
 * needed: any list of its length binds to spans of the same tokens. */
static enum segue_status stream_begin(struct segue_serve *serve)
{
    const struct segue_layout *theirs = &serve->route->geometry.layout,
                              *ours = &serve->cache->geometry.layout;
    struct segue_offer *offer = serve->offer;
    for (uint32_t i = 0; i < serve->cache->n_regions; i++)
        if (!serve->cache->regions[i]->registrations[serve->path.row])
            return segue_fail(SEGUE_E_REFUSED,
                              "the producer's memory cannot be sent over %s: %s",
                              segue_path_name(serve->path),
                              serve->cache->regions[i]->why[serve->path.row]);
    uint32_t n_theirs = (uint32_t)(((uint64_t)offer->tokens + theirs->block_tokens - 1) /
                                   theirs->block_tokens);
    struct segue_tokens from = {serve->part->named, serve->part->n_blocks,
                                ours->block_tokens, serve->first};
    struct segue_tokens to = {NULL, n_theirs, theirs->block_tokens, serve->first};
    SEGUE_TRY(segue_bound_bind(serve->handoff, &serve->spans, &serve->route->plan, from,
                               to, offer->tokens - serve->first));
    stream_wait(serve);
    return SEGUE_OK;
}

static bool streams(const struct segue_serve *serve)
{
    return serve->handoff->agent->transports[serve->path.row]->caps &
           SEGUE_TRANSPORT_STREAM;
}

enum segue_status segue_serve_move(struct segue_serve *serve)
{
    if (serve->path.way == SEGUE_WAY_DIRECT)
        return streams(serve) ? stream_begin(serve) : SEGUE_OK;
    if (serve->path.way == SEGUE_WAY_MAPPED)
        return SEGUE_OK;
    if (!streams(serve))
        return feed_begin(serve, NULL);
    stream_wait(serve);
    return SEGUE_OK;
}
