/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's half of a claim: checks it against the offer, names the blocks, sends the bytes where the path needs
 * that, and judges the commit (R6, R7). Whatever ends a serve, its offer's blocks are given back only when no copy or
 * digest of ours still reads them.
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutate.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void segue_serve_tell(struct segue_handoff *h, struct segue_link *link, uint64_t pair,
                      enum segue_verdict verdict, uint64_t digest, const char *why)
{
    struct segue_msg_verdict m = {
        .pair = pair, .verdict = (uint8_t)verdict, .digest = digest};
    snprintf(m.why, sizeof m.why, "%s", why);
    struct segue_writer w = segue_writer_make(h->frame, SEGUE_FRAME_MAX);
    segue_verdict_write(&w, &m);
    segue_link_send(link, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_VERDICT, h->frame,
                    (uint32_t)w.len, NULL, 0);
}

/* ---- end ---- */

void segue_serve_settle(struct segue_serve *serve)
{
    if (serve->state != SEGUE_SERVE_OVER || serve->digesting || serve->mover.running ||
        serve->feed.running)
        return;
    struct segue_offer *offer = serve->offer;
    struct segue_handoff *h = serve->handoff;
    segue_list_remove(&serve->list);
    segue_route_release(serve->route);
    struct segue_cache *cache = serve->cache;
    struct segue_bound spans = serve->spans;
    struct segue_pack_run run = serve->run;
    struct segue_lane_slot *lanes = serve->feed.lanes;
    struct segue_digest_bounce *bounce = serve->digest.bounce;
    *serve = (struct segue_serve){.spans = spans,
                                  .run = run,
                                  .feed = {.lanes = lanes},
                                  .digest = {.bounce = bounce}};
    segue_list_push_back(&h->free_serves, &serve->list);
    segue_cache_use_done(cache);
    segue_offer_settle(offer);
}

/* The link hears no more of it. */
static void over(struct segue_serve *serve, enum segue_serve_event why)
{
    if (!segue_may(&segue_serve_machine, serve->state, why))
        return;
    segue_step(&segue_serve_machine, &serve->state, why);
    segue_loop_timer_cancel(serve->handoff->agent->loop, &serve->park);
    if (serve->waiting)
        segue_link_wait_cancel(&serve->wait);
    serve->waiting = false;
    if (serve->link) {
        struct segue_peer *peer = serve->link->state[SEGUE_SERVICE_HANDOFF];
        if (peer)
            segue_map_remove(&peer->serves, serve->pair);
        segue_link_business(serve->link, -1);
    }
    serve->link = NULL;
    segue_offer_left(serve->offer);
    segue_mover_cancel(&serve->mover);
    segue_stage_cancel(&serve->feed);
    segue_serve_settle(serve);
}

void segue_serve_end(struct segue_serve *serve, enum segue_verdict verdict,
                     const char *why)
{
    if (serve->link)
        segue_serve_tell(serve->handoff, serve->link, serve->pair, verdict, 0, why);
    over(serve, SEGUE_SERVE_ON_END);
}

void segue_serve_lost(struct segue_serve *serve)
{
    over(serve, SEGUE_SERVE_ON_LOST);
}

void segue_serve_end_parked(struct segue_offer *offer, const struct segue_cache *cache)
{
    segue_list_each (l, &offer->serves) {
        struct segue_serve *serve = segue_container_of(l, struct segue_serve, list);
        if (serve->cache == cache && serve->state == SEGUE_SERVE_PARKED)
            segue_serve_end(serve, SEGUE_VERDICT_STALE, "the producer closed its cache");
    }
}

static void park_over(struct segue_timer *timer)
{
    struct segue_serve *serve = segue_container_of(timer, struct segue_serve, park);
    segue_serve_end(serve, SEGUE_VERDICT_STALE,
                    "the offer's blocks were not written in time");
}

/* ---- judge ---- */

static void judge(struct segue_serve *serve)
{
    if (serve->digesting || serve->state != SEGUE_SERVE_COMMITTED)
        return;
    struct segue_offer *offer = serve->offer;
    if (!SEGUE_MUTATED(R6) && segue_boot_ns() >= offer->lease_end) {
        segue_offer_end(offer, SEGUE_VERDICT_STALE, "the offer's lease has ended");
        return;
    }
    bool asked = serve->digest_mode != SEGUE_DIGEST_OFF;
    uint64_t ours = asked ? serve->digest.value : 0;
    char why[256] = "";
    enum segue_verdict verdict = SEGUE_VERDICT_VALID;
    if (asked && ours != serve->commit.digest) {
        verdict = SEGUE_VERDICT_CORRUPT;
        snprintf(why, sizeof why,
                 "the producer's digest is %016llx, the consumer's %016llx",
                 (unsigned long long)ours, (unsigned long long)serve->commit.digest);
    }
    segue_serve_tell(serve->handoff, serve->link, serve->pair, verdict, ours, why);
    over(serve, SEGUE_SERVE_ON_JUDGE);
}

static void digested(struct segue_task *task)
{
    struct segue_serve *serve = segue_container_of(
        segue_container_of(task, struct segue_digest_job, report), struct segue_serve,
        digest);
    serve->digesting = false;
    if (serve->state == SEGUE_SERVE_OVER)
        segue_serve_settle(serve);
    else if (serve->digest.status < 0)
        segue_serve_end(serve, segue_verdict_of(serve->digest.status),
                        "the producer's device could not be read for the digest");
    else
        judge(serve);
}

static void digest_done(struct segue_digest_job *job)
{
    struct segue_serve *serve = segue_container_of(job, struct segue_serve, digest);
    segue_loop_post(serve->handoff->agent->loop, &job->report);
}

static enum segue_status digest_begin(struct segue_serve *serve)
{
    struct segue_cache *cache = serve->cache;
    struct segue_overlap overlap;
    if (!segue_overlap_of(&cache->geometry, &serve->route->geometry, &overlap))
        return segue_fail(SEGUE_E_MISMATCH, "the two caches share no layer and head");
    struct segue_device *device;
    SEGUE_TRY(segue_cache_readable(cache, serve->readable, &device));
    serve->digest = (struct segue_digest_job){
        .device = device,
        .n_memory = cache->n_regions,
        .bounce = serve->digest.bounce,
        .range = {.geometry = &cache->geometry,
                  .memory = serve->readable,
                  .blocks = serve->part->blocks,
                  .token_first = serve->first,
                  .token_end = serve->offer->tokens,
                  .layer_first = overlap.layer_first,
                  .layers = overlap.layers,
                  .head_first = overlap.head_first,
                  .heads = overlap.heads,
                  .sample = serve->digest_mode == SEGUE_DIGEST_SAMPLE},
        .done = digest_done,
        .report = {.fn = digested},
    };
    SEGUE_TRY(segue_digest_start(&serve->digest, serve->handoff->agent->pool));
    serve->digesting = true;
    return SEGUE_OK;
}

/* ---- accept ---- */

static enum segue_status accept_send(struct segue_serve *serve)
{
    struct segue_handoff *h = serve->handoff;
    struct segue_writer w = segue_writer_make(h->frame, SEGUE_FRAME_MAX);
    SEGUE_TRY(segue_accept_write(&w, serve->pair, serve->offer->lease_ns,
                                 serve->part->named, serve->part->n_blocks));
    return segue_link_send(serve->link, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT,
                           h->frame, (uint32_t)w.len, NULL, 0);
}

static void open_serve(struct segue_serve *serve)
{
    segue_loop_timer_cancel(serve->handoff->agent->loop, &serve->park);
    segue_step(&segue_serve_machine, &serve->state, SEGUE_SERVE_ON_READY);
    segue_offer_renew(serve->offer, SEGUE_LEASE_ON_RENEW);
    enum segue_status status = accept_send(serve);
    if (status >= 0 && serve->digest_mode != SEGUE_DIGEST_OFF)
        status = digest_begin(serve);
    if (status >= 0)
        status = segue_serve_move(
            serve); /* may fail at once and end the serve: it goes last */
    if (status < 0)
        segue_serve_end(serve, segue_verdict_of(status), segue_error_detail());
}

void segue_serve_offered(struct segue_part *part)
{
    segue_list_each (l, &part->offer->serves) {
        struct segue_serve *serve = segue_container_of(l, struct segue_serve, list);
        if (serve->cache == part->cache && serve->state == SEGUE_SERVE_PARKED) {
            serve->part = part;
            open_serve(serve);
        }
    }
}

/* ---- claim ---- */

static enum segue_status fits(struct segue_handoff *h, const struct segue_msg_claim *m,
                              struct segue_cache **cache, struct segue_offer **offer)
{
    if (memcmp(m->offer.incarnation, h->agent->incarnation,
               sizeof m->offer.incarnation) != 0)
        return segue_fail(SEGUE_E_STALE, "the offer is of an earlier start of engine %s",
                          h->agent->engine_id);
    if (m->offer.sequence > h->minted)
        return segue_fail(SEGUE_E_REFUSED, "engine %s has made no offer %llu",
                          h->agent->engine_id, (unsigned long long)m->offer.sequence);
    *offer = segue_offer_find(h, &m->offer);
    if (!*offer)
        return segue_fail(SEGUE_E_STALE, "offer %llu has ended",
                          (unsigned long long)m->offer.sequence);
    *cache = segue_cache_find(h->agent, m->cache);
    if (!*cache)
        return segue_fail(SEGUE_E_REFUSED, "engine %s has no cache %u",
                          h->agent->engine_id, m->cache);
    if (strcmp(m->model, (*cache)->model) != 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "the consumer runs model '%s', the producer '%s'", m->model,
                          (*cache)->model);
    if (strcmp(m->convention, (*cache)->convention) != 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "the consumer's KV is of convention '%s', the producer's '%s'",
                          m->convention, (*cache)->convention);
    if (m->tokens != (*offer)->tokens)
        return segue_fail(SEGUE_E_REFUSED,
                          "the prompt of the claim has %u tokens, that of the offer %u",
                          m->tokens, (*offer)->tokens);
    if (!SEGUE_MUTATED(R3_CLAIM) &&
        memcmp(&m->hash, &(*offer)->hash, sizeof m->hash) != 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "the claim is for another prompt than the offer's");
    if (!h->agent->transports[m->row])
        return segue_fail(
            SEGUE_E_REFUSED, "the producer cannot use %s",
            segue_path_name((struct segue_path){m->row, (enum segue_way)m->way}));
    return SEGUE_OK;
}

static struct segue_serve *serve_new(struct segue_handoff *h)
{
    if (segue_list_empty(&h->free_serves)) {
        struct segue_serve *serve = calloc(1, sizeof *serve);
        if (!serve)
            segue_fail(SEGUE_E_MEMORY, "no memory for a claim");
        return serve;
    }
    return segue_container_of(segue_list_pop_front(&h->free_serves), struct segue_serve,
                              list);
}

static enum segue_status claimed(struct segue_handoff *h, struct segue_link *link,
                                 struct segue_peer *peer, const struct segue_msg_claim *m)
{
    struct segue_cache *cache = NULL;
    struct segue_offer *offer = NULL;
    SEGUE_TRY(fits(h, m, &cache, &offer));
    if (!segue_link_reaches(link, m->row))
        return segue_fail(
            SEGUE_E_REFUSED, "%s does not reach other hosts",
            segue_path_name((struct segue_path){m->row, (enum segue_way)m->way}));
    struct segue_part *part = segue_offer_part(offer, cache);
    if (peer->serves.count + segue_early_count(h, link) >= h->agent->opts.peer_claims)
        return segue_fail(SEGUE_E_LIMIT, "this peer has %zu open claims already",
                          peer->serves.count);
    struct segue_route *route;
    struct segue_cache_use *use = segue_cache_use_of(cache);
    if (!use)
        return SEGUE_E_MEMORY;
    SEGUE_TRY(segue_route_serve(link, cache, &m->geometry, &route));
    struct segue_serve *serve = serve_new(h);
    enum segue_status status = serve ? segue_map_put(&peer->serves, m->pair, serve)
                                     : SEGUE_E_MEMORY;
    if (status >= 0 && (status = segue_use_claim(offer, link, m)) < 0)
        segue_map_remove(&peer->serves, m->pair);
    if (status < 0) {
        segue_route_release(route);
        if (serve)
            segue_list_push_back(&h->free_serves, &serve->list);
        return status;
    }
    use->open++;
    serve->handoff = h;
    serve->link = link;
    serve->offer = offer;
    serve->cache = cache;
    serve->part = part;
    serve->route = route;
    serve->pair = m->pair;
    serve->first = m->first;
    serve->tag = m->tag;
    serve->wire_tokens = m->wire_tokens;
    serve->wire_order = m->wire_order;
    serve->credits = m->credits;
    serve->path = (struct segue_path){m->row, (enum segue_way)m->way};
    serve->digest_mode = (enum segue_digest)m->digest;
    serve->state = SEGUE_SERVE_PARKED;
    serve->park.fn = park_over;
    segue_link_business(link, +1);
    segue_list_push_back(&offer->serves, &serve->list);
    offer->open++;
    segue_offer_renew(offer, SEGUE_LEASE_ON_CLAIM);
    if (part && part->ready)
        open_serve(serve);
    else
        segue_loop_timer_set(h->agent->loop, &serve->park,
                             segue_now_ns() + h->agent->opts.park_ns);
    return SEGUE_OK;
}

enum segue_status segue_serve_claim(struct segue_handoff *h, struct segue_link *link,
                                    const struct segue_frame *frame)
{
    struct segue_msg_claim m;
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    SEGUE_TRY(segue_claim_read(&r, &m, h->room));
    struct segue_peer *peer = segue_peer_of(link);
    if (!peer)
        return SEGUE_E_MEMORY;
    if (segue_map_get(&peer->serves, m.pair))
        return segue_fail(SEGUE_E_PROTOCOL, "the peer used claim id %llu twice",
                          (unsigned long long)m.pair);
    /* A rank hears of offers from its engine, in order: one beyond the last is still to come (R2). */
    enum segue_status status;
    if (h->agent->opts.endpoint && m.offer.sequence > h->minted &&
        memcmp(m.offer.incarnation, h->agent->incarnation, 16) == 0)
        status = segue_early_park(h, link, frame, m.offer.sequence, m.pair);
    else
        status = claimed(h, link, peer, &m);
    if (status < 0)
        segue_serve_tell(h, link, m.pair, segue_verdict_of(status), 0,
                         segue_error_detail());
    return SEGUE_OK;
}

/* ---- the other messages ---- */

static struct segue_serve *find(struct segue_link *link, uint64_t pair)
{
    struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
    return peer ? segue_map_get(&peer->serves, pair) : NULL;
}

enum segue_status segue_serve_commit(struct segue_handoff *h, struct segue_link *link,
                                     struct segue_reader *r)
{
    struct segue_msg_commit m;
    SEGUE_TRY(segue_commit_read(r, &m));
    struct segue_serve *serve = find(link, m.pair);
    if (!serve || serve->state != SEGUE_SERVE_OPEN) {
        /* Its verdict is on the way or was given; a commit is never answered twice with valid. */
        segue_serve_tell(h, link, m.pair, SEGUE_VERDICT_STALE, 0, "the claim is over");
        return SEGUE_OK;
    }
    serve->commit = m;
    segue_step(&segue_serve_machine, &serve->state, SEGUE_SERVE_ON_COMMIT);
    judge(serve);
    return SEGUE_OK;
}

enum segue_status segue_serve_cancel(struct segue_handoff *h, struct segue_link *link,
                                     struct segue_reader *r)
{
    uint64_t pair;
    SEGUE_TRY(segue_pair_read(r, &pair));
    struct segue_serve *serve = find(link, pair);
    if (serve)
        over(serve, SEGUE_SERVE_ON_CANCEL);
    else
        segue_early_cancel(h, link, pair);
    return SEGUE_OK;
}

enum segue_status segue_serve_renew(struct segue_handoff *h, struct segue_link *link,
                                    struct segue_reader *r)
{
    uint64_t pair;
    SEGUE_TRY(segue_pair_read(r, &pair));
    struct segue_serve *serve = find(link, pair);
    if (serve)
        segue_offer_renew(serve->offer, SEGUE_LEASE_ON_RENEW);
    return SEGUE_OK;
}
