/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-off service: frames to their handlers, links that come and go, the arrays that objects keep. */
#include "handoff/handoff.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

enum segue_status segue_ids_room(struct segue_ids *ids, uint32_t n)
{
    if (n <= ids->cap)
        return SEGUE_OK;
    uint32_t *id = realloc(ids->id, n * sizeof *id);
    if (!id)
        return segue_fail(SEGUE_E_MEMORY, "no memory for %u block ids", n);
    ids->id = id;
    ids->cap = n;
    return SEGUE_OK;
}

enum segue_status segue_ids_set(struct segue_ids *ids, const uint32_t *from, uint32_t n)
{
    SEGUE_TRY(segue_ids_room(ids, n));
    if (n)
        memcpy(ids->id, from, n * sizeof *from);
    ids->n = n;
    return SEGUE_OK;
}

enum segue_status segue_bound_room(struct segue_bound *bound, size_t n)
{
    if (n <= bound->cap)
        return SEGUE_OK;
    struct segue_span *span = realloc(bound->span, n * sizeof *span);
    if (!span)
        return segue_fail(SEGUE_E_MEMORY, "no memory for %zu spans", n);
    bound->span = span;
    bound->cap = n;
    return SEGUE_OK;
}

struct segue_transfer segue_bound_transfer(const struct segue_plan *plan,
                                           const struct segue_bound *bound)
{
    return (struct segue_transfer){.moves = plan->moves,
                                   .n_moves = plan->n_moves,
                                   .spans = bound->span,
                                   .n_spans = bound->n};
}

static enum segue_status identity(struct segue_handoff *h, uint32_t n,
                                  const uint32_t **out)
{
    SEGUE_TRY(segue_ids_room(&h->identity, n));
    for (; h->identity.n < n; h->identity.n++)
        h->identity.id[h->identity.n] = h->identity.n;
    *out = h->identity.id;
    return SEGUE_OK;
}

enum segue_status segue_bound_bind(struct segue_handoff *h, struct segue_bound *bound,
                                   const struct segue_plan *plan, struct segue_tokens src,
                                   struct segue_tokens dst, uint32_t tokens)
{
    if (!src.blocks)
        SEGUE_TRY(identity(h, (uint32_t)src.n_blocks, &src.blocks));
    if (!dst.blocks)
        SEGUE_TRY(identity(h, (uint32_t)dst.n_blocks, &dst.blocks));
    size_t max = segue_spans_max(&src, &dst, tokens);
    SEGUE_TRY(segue_bound_room(bound, max));
    return segue_spans_bind(plan, &src, &dst, tokens, bound->span, max, &bound->n);
}

void segue_cache_extents(const struct segue_cache *cache, struct segue_extent *extents)
{
    for (uint32_t i = 0; i < cache->n_regions; i++)
        extents[i] = (struct segue_extent){cache->regions[i]->address,
                                           cache->regions[i]->len};
}

enum segue_status segue_cache_readable(const struct segue_cache *cache,
                                       struct segue_extent *memory,
                                       struct segue_device **device)
{
    bool views = cache->device->caps & SEGUE_DEVICE_VIEW;
    segue_cache_extents(cache, memory);
    for (uint32_t i = 0; views && i < cache->n_regions; i++) {
        void *view;
        SEGUE_TRY(segue_device_view(cache->device, memory[i].base, memory[i].len, &view));
        memory[i].base = view;
    }
    *device = views ? NULL : cache->device;
    return SEGUE_OK;
}

enum segue_verdict segue_verdict_of(enum segue_status status)
{
    switch (status) {
    case SEGUE_E_STALE:
        return SEGUE_VERDICT_STALE;
    case SEGUE_E_CORRUPT:
        return SEGUE_VERDICT_CORRUPT;
    case SEGUE_E_TIMEOUT:
        return SEGUE_VERDICT_TIMEOUT;
    case SEGUE_E_CANCELLED:
        return SEGUE_VERDICT_CANCELLED;
    case SEGUE_E_LOST:
    case SEGUE_E_PROTOCOL:
    case SEGUE_E_AUTH:
    case SEGUE_E_SYSTEM:
    case SEGUE_E_DEVICE:
    case SEGUE_E_INTERNAL:
        return SEGUE_VERDICT_LOST;
    default:
        return SEGUE_VERDICT_REFUSED;
    }
}

/* ---- links ---- */

struct segue_peer *segue_peer_of(struct segue_link *link)
{
    struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
    if (!peer) {
        peer = calloc(1, sizeof *peer);
        if (!peer) {
            segue_fail(SEGUE_E_MEMORY, "no memory for a peer");
            return NULL;
        }
        segue_list_init(&peer->routes);
        link->state[SEGUE_SERVICE_HANDOFF] = peer;
    }
    return peer;
}

static void link_gone(struct segue_service *service, struct segue_link *link,
                      const char *why)
{
    struct segue_handoff *h = segue_container_of(service, struct segue_handoff, service);
    struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
    struct segue_map_cursor at = {0};
    struct segue_group *group;
    while ((group = segue_map_next(&h->groups, &at, NULL)))
        segue_group_lost(group, link, why);
    if (!peer)
        return;
    link->state[SEGUE_SERVICE_HANDOFF] = NULL;
    at = (struct segue_map_cursor){0};
    struct segue_serve *serve;
    while ((serve = segue_map_next(&peer->serves, &at, NULL)))
        segue_serve_lost(serve);
    segue_use_link_gone(h, link);
    segue_resets_link_gone(h, link);
    segue_early_gone(h, link);
    segue_list_each (l, &peer->routes)
        segue_route_gone(segue_container_of(l, struct segue_route, list));
    segue_map_clear(&peer->serves);
    free(peer);
}

/* ---- frames ---- */

static enum segue_status on_accept(struct segue_handoff *h, struct segue_link *link,
                                   struct segue_reader *r)
{
    struct segue_msg_accept m;
    SEGUE_TRY(segue_accept_read(r, &m));
    struct segue_pair *pair = segue_map_get(&h->pairs, m.pair);
    if (pair && pair->route->link == link) /* else: it was given up meanwhile */
        segue_pair_accept(pair, &m);
    return SEGUE_OK;
}

static enum segue_status on_verdict(struct segue_handoff *h, struct segue_link *link,
                                    struct segue_reader *r)
{
    struct segue_msg_verdict m;
    SEGUE_TRY(segue_verdict_read(r, &m));
    struct segue_pair *pair = segue_map_get(&h->pairs, m.pair);
    if (pair && pair->route->link == link)
        segue_pair_verdict(pair, &m);
    return SEGUE_OK;
}

static enum segue_status on_hold(struct segue_handoff *h, struct segue_reader *r)
{
    struct segue_offer_id id;
    segue_offer_id_read(r, &id);
    if (r->failed)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed hold");
    struct segue_offer *offer = segue_offer_find(h, &id);
    if (offer)
        segue_offer_renew(offer, SEGUE_LEASE_ON_HOLD);
    return SEGUE_OK;
}

static enum segue_status on_end(struct segue_handoff *h, const uint8_t engine[16],
                                struct segue_reader *r)
{
    struct segue_msg_end m;
    SEGUE_TRY(segue_end_read(r, &m));
    struct segue_offer *offer = segue_offer_find(h, &m.offer);
    if (offer)
        segue_use_end(offer, engine, &m);
    return SEGUE_OK;
}

/* The endpoint of an engine whose ranks are processes says it on (R11): they own the bytes, and judge. */
static void relay(struct segue_handoff *h, const struct segue_link *link,
                  const struct segue_frame *frame)
{
    uint8_t body[128];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    if (h->agent->opts.ranks == 0 || h->agent->opts.endpoint || frame->len > 96)
        return;
    segue_writer_u8(&w, frame->type);
    segue_writer_bytes(&w, link->peer.incarnation, sizeof link->peer.incarnation);
    segue_writer_bytes(&w, frame->body, frame->len);
    segue_members_send(h->agent, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_RELAY, body,
                       (uint32_t)w.len);
}

static enum segue_status on_relay(struct segue_handoff *h, struct segue_link *link,
                                  const struct segue_frame *frame, struct segue_reader *r)
{
    uint8_t type = segue_reader_u8(r), engine[16];
    segue_reader_copy(r, engine, sizeof engine);
    struct segue_reader peek = *r;
    struct segue_offer_id id;
    segue_offer_id_read(&peek, &id);
    if (peek.failed || segue_endpoint_link(h->agent) != link)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "the peer relayed what is not this rank's to hear");
    if (id.sequence > h->minted) /* told before the engine has told us of the offer */
        return segue_early_park(h, link, frame, id.sequence, 0);
    if (type == SEGUE_FRAME_HOLD)
        return on_hold(h, r);
    return type == SEGUE_FRAME_END ? on_end(h, engine, r) : SEGUE_OK;
}

enum segue_status segue_handoff_frame(struct segue_handoff *h, struct segue_link *link,
                                      struct segue_frame *frame)
{
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    switch ((enum segue_handoff_frame)frame->type) {
    case SEGUE_FRAME_CLAIM:
        return segue_serve_claim(h, link, frame);
    case SEGUE_FRAME_ACCEPT:
        return on_accept(h, link, &r);
    case SEGUE_FRAME_COMMIT:
        return segue_serve_commit(h, link, &r);
    case SEGUE_FRAME_VERDICT:
        return on_verdict(h, link, &r);
    case SEGUE_FRAME_CANCEL:
        return segue_serve_cancel(h, link, &r);
    case SEGUE_FRAME_RENEW:
        return segue_serve_renew(h, link, &r);
    case SEGUE_FRAME_HOLD:
        relay(h, link, frame);
        return on_hold(h, &r);
    case SEGUE_FRAME_END:
        relay(h, link, frame);
        return on_end(h, link->peer.incarnation, &r);
    case SEGUE_FRAME_INVALIDATE:
        return segue_route_invalidate(link, &r);
    case SEGUE_FRAME_INVALID:
        return segue_reset_heard(h, link, &r);
    case SEGUE_FRAME_RELAY:
        return on_relay(h, link, frame, &r);
    }
    return SEGUE_OK; /* of a later version: skipped (R21) */
}

static enum segue_status on_frame(struct segue_service *service, struct segue_link *link,
                                  struct segue_frame *frame)
{
    return segue_handoff_frame(segue_container_of(service, struct segue_handoff, service),
                               link, frame);
}

/* ---- life ---- */

static void stop(struct segue_service *service)
{
    struct segue_handoff *h = segue_container_of(service, struct segue_handoff, service);
    struct segue_map_cursor at = {0};
    struct segue_group *group;
    while ((group = segue_map_next(&h->groups, &at, NULL)))
        segue_group_stop(group, SEGUE_VERDICT_CANCELLED, "the agent ends");
    struct segue_offer *offer;
    at = (struct segue_map_cursor){0};
    while ((offer = segue_map_next(&h->offers, &at, NULL)))
        segue_offer_end(offer, SEGUE_VERDICT_STALE, "the producer's agent ended");
}

static bool idle(struct segue_service *service)
{
    return segue_container_of(service, struct segue_handoff, service)->live == 0;
}

static void close_service(struct segue_service *service)
{
    struct segue_handoff *h = segue_container_of(service, struct segue_handoff, service);
    segue_list_each (l, &h->free_claims) {
        struct segue_claim *claim = segue_container_of(l, struct segue_claim, list);
        free(claim->blocks.id);
        free(claim);
    }
    segue_list_each (l, &h->free_pairs) {
        struct segue_pair *pair = segue_container_of(l, struct segue_pair, list);
        free(pair->src_blocks.id);
        free(pair->spans.span);
        free(pair->intake.lanes);
        free(pair->digest.bounce);
        segue_pack_run_free(&pair->run);
        free(pair);
    }
    segue_list_each (l, &h->free_serves) {
        struct segue_serve *serve = segue_container_of(l, struct segue_serve, list);
        free(serve->spans.span);
        free(serve->feed.lanes);
        free(serve->digest.bounce);
        segue_pack_run_free(&serve->run);
        free(serve);
    }
    segue_list_each (l, &h->free_uses) {
        struct segue_use *use = segue_container_of(l, struct segue_use, list);
        free(use->claims);
        free(use);
    }
    segue_map_clear(&h->offers);
    segue_map_clear(&h->groups);
    segue_map_clear(&h->claims);
    segue_map_clear(&h->pairs);
    free(h->identity.id);
    free(h->frame);
    free(h->room);
    free(h);
}

struct segue_handoff *segue_handoff_of(struct segue_agent *agent)
{
    struct segue_service *have = agent->services[SEGUE_SERVICE_HANDOFF];
    if (have)
        return segue_container_of(have, struct segue_handoff, service);
    struct segue_handoff *h = calloc(1, sizeof *h);
    if (h) {
        h->frame = malloc(SEGUE_FRAME_MAX);
        h->room = malloc(sizeof *h->room);
    }
    if (!h || !h->frame || !h->room) {
        if (h) {
            free(h->frame);
            free(h->room);
        }
        free(h);
        segue_fail(SEGUE_E_MEMORY, "no memory for the hand-off service");
        return NULL;
    }
    h->agent = agent;
    segue_list_init(&h->free_claims);
    segue_list_init(&h->free_pairs);
    segue_list_init(&h->free_serves);
    segue_list_init(&h->free_uses);
    segue_list_init(&h->resets);
    segue_list_init(&h->early);
    h->service = (struct segue_service){.type = SEGUE_SERVICE_HANDOFF,
                                        .frame = on_frame,
                                        .gone = link_gone,
                                        .stop = stop,
                                        .idle = idle,
                                        .close = close_service};
    segue_cache_service(agent);
    segue_agent_service_add(agent, &h->service);
    return h;
}
