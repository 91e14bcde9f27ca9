/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes: what two caches need to know of each other, compiled once. The consumer's route has the plan, the selected
 * path, the transport's connection and the imported memory; the producer's has the plan (for the sending half).
 */
#include "handoff/handoff.h"

#include "base/log.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- geometry ---- */

bool segue_overlap_of(const struct segue_geometry *a, const struct segue_geometry *b,
                      struct segue_overlap *out)
{
    uint32_t l0 = a->layer_first > b->layer_first ? a->layer_first : b->layer_first;
    uint32_t h0 = a->head_first > b->head_first ? a->head_first : b->head_first;
    uint32_t la = a->layer_first + a->layout.layers,
             lb = b->layer_first + b->layout.layers;
    uint32_t ha = a->head_first + a->layout.heads, hb = b->head_first + b->layout.heads;
    uint32_t l1 = la < lb ? la : lb, h1 = ha < hb ? ha : hb;
    if (l1 <= l0 || h1 <= h0)
        return false;
    *out = (struct segue_overlap){l0, l1 - l0, h0, h1 - h0};
    return true;
}

/* ---- life ---- */

static void route_free(struct segue_route *route)
{
    segue_list_remove(&route->list);
    segue_plan_free(&route->plan);
    segue_pack_free(route->pack);
    segue_geometry_drop(&route->geometry);
    free(route);
}

/* ---- caches that are reset ---- */

/* Perhaps the last pair that read one of them has gone. */
static void let_go(struct segue_link *link)
{
    struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
    for (uint32_t i = 0; peer && i < peer->n_invalid; i++) {
        bool used = false;
        segue_list_each (l, &peer->routes) {
            struct segue_route *route = segue_container_of(l, struct segue_route, list);
            used |= route->remote && route->remote->id == peer->invalid[i] &&
                    route->users;
        }
        if (used)
            continue;
        uint8_t body[4];
        struct segue_writer w = segue_writer_make(body, sizeof body);
        segue_list_each (l, &peer->routes) {
            struct segue_route *route = segue_container_of(l, struct segue_route, list);
            if (route->remote && route->remote->id == peer->invalid[i] &&
                route->state == SEGUE_ROUTE_READY) {
                route->import = NULL;
                route->state = SEGUE_ROUTE_NEW;
            }
        }
        segue_cache_imports_drop(link, peer->invalid[i]);
        segue_writer_u32(&w, peer->invalid[i]);
        peer->invalid[i--] = peer->invalid[--peer->n_invalid];
        segue_link_send(link, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_INVALID, body,
                        (uint32_t)w.len, NULL, 0);
    }
}

enum segue_status segue_route_invalidate(struct segue_link *link, struct segue_reader *r)
{
    struct segue_peer *peer = segue_peer_of(link);
    uint32_t cache = segue_reader_u32(r);
    if (!peer)
        return SEGUE_E_MEMORY;
    if (r->failed || peer->n_invalid == SEGUE_CACHES_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed invalidate");
    peer->invalid[peer->n_invalid++] = cache;
    let_go(link);
    return SEGUE_OK;
}

void segue_route_release(struct segue_route *route)
{
    if (--route->users)
        return;
    if (route->dead)
        route_free(route);
    else if (route->remote)
        let_go(route->link);
}

void segue_route_gone(struct segue_route *route)
{
    if (route->state == SEGUE_ROUTE_CONNECTING) {
        segue_link_wait_cancel(&route->wait);
        segue_stage_wait_cancel(&route->staging);
    }
    route->state = SEGUE_ROUTE_FAILED;
    snprintf(route->why, sizeof route->why, "the link or the cache is gone");
    route->dead = true;
    route->link = NULL;
    route->remote = NULL;
    route->connection = NULL;
    route->import = NULL;
    segue_list_remove(&route->list); /* the list's head goes with the link */
    segue_list_init(&route->list);
    if (route->users == 0)
        route_free(route);
}

static enum segue_status route_new(struct segue_link *link, struct segue_cache *cache,
                                   const struct segue_geometry *geometry,
                                   struct segue_route **out)
{
    struct segue_peer *peer = segue_peer_of(link);
    struct segue_route *route = peer ? calloc(1, sizeof *route) : NULL;
    if (!route)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a route");
    route->link = link;
    route->cache = cache;
    segue_list_init(&route->pairs);
    segue_list_init(&route->staging.list);
    enum segue_status status = segue_geometry_copy(geometry, &route->geometry);
    if (status < 0) {
        free(route);
        return status;
    }
    segue_list_push_back(&peer->routes, &route->list);
    *out = route;
    return SEGUE_OK;
}

enum segue_status segue_route_serve(struct segue_link *link, struct segue_cache *cache,
                                    const struct segue_geometry *geometry,
                                    struct segue_route **out)
{
    struct segue_peer *peer = segue_peer_of(link);
    if (!peer)
        return SEGUE_E_MEMORY;
    struct segue_route *route, *unused = NULL;
    uint32_t n = 0;
    segue_list_each (l, &peer->routes) {
        route = segue_container_of(l, struct segue_route, list);
        if (route->remote)
            continue;
        if (route->cache == cache && segue_geometry_equal(&route->geometry, geometry)) {
            route->users++;
            *out = route;
            return SEGUE_OK;
        }
        if (!unused && route->users == 0)
            unused = route;
        n++;
    }
    if (n >= SEGUE_PEER_ROUTES_MAX) {
        if (!unused)
            return segue_fail(SEGUE_E_LIMIT, "this peer claims into %u caches already",
                              n);
        route_free(unused);
    }
    SEGUE_TRY(route_new(link, cache, geometry, &route));
    enum segue_status status = segue_plan_build(&cache->geometry, &route->geometry,
                                                &route->plan);
    if (status < 0) {
        route_free(route);
        return status;
    }
    route->users = 1;
    *out = route;
    return SEGUE_OK;
}

/* ---- consumer ---- */

static struct segue_select_side local_side(const struct segue_cache *cache)
{
    struct segue_select_side side = {.device = cache->device->name,
                                     .device_caps = cache->device->caps,
                                     .rows = UINT32_MAX};
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        for (uint32_t i = 0; i < cache->n_regions; i++)
            if (!cache->regions[i]->registrations[row]) {
                side.rows &= ~(1u << row);
                side.why[row] = cache->regions[i]->why[row];
            }
    return side;
}

/* Rates that only their ratio matters of: a host's copy, a stream, a ring in shared memory. */
#define COPY_GBPS   10.0
#define STREAM_GBPS 4.0

/* Who converts on the chosen path, and why; for the transcript. */
static enum segue_status say_who_converts(struct segue_route *route)
{
    const struct segue_plan *plan = &route->plan;
    char *why = route->selection.why;
    size_t cap = sizeof route->selection.why;
    bool converts = plan->converts || plan->run != plan->src_run ||
                    plan->run != plan->dst_run;
    if (route->path.way == SEGUE_WAY_DIRECT)
        snprintf(why, cap, "in place, pieces of %u B", plan->run);
    else if (route->path.way == SEGUE_WAY_MAPPED)
        snprintf(why, cap,
                 converts ? "the consumer scatters in its one copy, pieces of %u B"
                          : "one copy, pieces of %u B",
                 plan->run);
    if (route->path.way != SEGUE_WAY_PACKED || plan->bytes_per_token == 0)
        return SEGUE_OK;
    bool streams = route->cache->agent->transports[route->path.row]->caps &
                   SEGUE_TRANSPORT_STREAM;
    struct segue_cost_input in = {
        .src = &route->geometry,
        .dst = &route->cache->geometry,
        .src_strided = route->remote->device_caps & SEGUE_DEVICE_STRIDED,
        .dst_strided = route->cache->device->caps & SEGUE_DEVICE_STRIDED,
        .copy_gbps = COPY_GBPS,
        .link_gbps = streams ? STREAM_GBPS : COPY_GBPS};
    SEGUE_TRY(segue_plan_cost(&in, &route->cost));
    snprintf(why, cap, "%s", route->cost.why);
    return SEGUE_OK;
}

static enum segue_status select_path(struct segue_route *route)
{
    const struct segue_remote_cache *remote = route->remote;
    const struct segue_agent *agent = route->cache->agent;
    const struct segue_plan *plan = &route->plan;
    struct segue_select_input in = {
        .local = local_side(route->cache),
        .remote = {.device = remote->device,
                   .device_caps = remote->device_caps,
                   .rows = remote->rows},
        .same_host = !route->link->network,
        .run = plan->run,
        .strided = plan->run != plan->src_run || plan->run != plan->dst_run,
        .converts = plan->converts,
        .require = agent->opts.require,
        .exclude = agent->opts.exclude,
    };
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        in.remote.why[row] = remote->why[row][0] ? remote->why[row] : NULL;
    segue_select(&in, &route->selection);
    if (route->selection.n == 0) {
        char text[200];
        segue_select_text(&route->selection, text, sizeof text);
        return segue_fail(SEGUE_E_REFUSED, "no path from %s to %s: %s", remote->device,
                          route->cache->device->name, text);
    }
    route->path = route->selection.path[0];
    SEGUE_TRY(say_who_converts(route));
    SEGUE_LOG(INFO, "handoff", "engine %s cache %u to cache %u goes over %s: %s",
              route->link->peer.engine_id, remote->id, route->cache->id,
              segue_path_name(route->path), route->selection.why);
    return SEGUE_OK;
}

enum segue_status segue_route_get(struct segue_link *link, struct segue_cache *cache,
                                  const struct segue_remote_cache *remote,
                                  struct segue_route **out)
{
    struct segue_peer *peer = segue_peer_of(link);
    if (!peer)
        return SEGUE_E_MEMORY;
    segue_list_each (l, &peer->routes) {
        struct segue_route *route = segue_container_of(l, struct segue_route, list);
        if (route->remote == remote && route->cache == cache) {
            route->users++;
            *out = route;
            return SEGUE_OK;
        }
    }
    if (strcmp(remote->model, cache->model) != 0)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the producer runs model '%s', the consumer '%s'",
                          remote->model, cache->model);
    if (strcmp(remote->convention, cache->convention) != 0)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the producer's KV is of convention '%s', the consumer's '%s'",
                          remote->convention, cache->convention);
    struct segue_route *route;
    SEGUE_TRY(route_new(link, cache, &remote->geometry, &route));
    route->remote = remote;
    enum segue_status status = segue_plan_build(&route->geometry, &cache->geometry,
                                                &route->plan);
    if (status >= 0)
        status = select_path(route);
    if (status < 0) {
        route_free(route);
        return status;
    }
    route->users = 1;
    *out = route;
    return SEGUE_OK;
}

enum segue_status segue_route_pack(struct segue_route *route, uint32_t wire_tokens,
                                   enum segue_wire_order order)
{
    bool feeds = !route->remote;
    const struct segue_geometry *ours = &route->cache->geometry,
                                *theirs = &route->geometry;
    if (!route->pack)
        return segue_pack_build(route->cache, feeds, feeds ? ours : theirs,
                                feeds ? theirs : ours, wire_tokens, order, &route->pack);
    if (route->pack->wire_tokens != wire_tokens || route->pack->order != order)
        return segue_fail(SEGUE_E_REFUSED,
                          "the peer changed the size or order of its pieces");
    return SEGUE_OK;
}

static void routed(struct segue_route *route)
{
    route->users++; /* a pair that ends here may be the last */
    while (!segue_list_empty(&route->pairs)) {
        struct segue_list *l = segue_list_pop_front(&route->pairs);
        segue_list_init(l);
        segue_pair_routed(segue_container_of(l, struct segue_pair, routing));
    }
    segue_route_release(route);
}

static enum segue_status import(struct segue_route *route)
{
    struct segue_transport *t = route->cache->agent->transports[route->path.row];
    if (route->path.way == SEGUE_WAY_PACKED)
        return segue_route_pack(
            route, segue_pack_tokens(&route->geometry, &route->cache->geometry),
            route->cost.order);
    if (t->caps & SEGUE_TRANSPORT_STREAM)
        return SEGUE_OK;
    return segue_cache_import(route->remote, route->connection, route->path.row,
                              route->cache->device, &route->import);
}

static void opened(struct segue_route *route, enum segue_status status, const char *why)
{
    route->state = status < 0 ? SEGUE_ROUTE_FAILED : SEGUE_ROUTE_READY;
    if (status < 0)
        snprintf(route->why, sizeof route->why, "%s: %.230s",
                 segue_path_name(route->path), why);
    routed(route);
}

static void staged(struct segue_stage_wait *wait, enum segue_status status)
{
    opened(segue_container_of(wait, struct segue_route, staging), status, wait->why);
}

static void connected(struct segue_link_wait *wait, enum segue_status status)
{
    struct segue_route *route = segue_container_of(wait, struct segue_route, wait);
    struct segue_agent *agent = route->cache->agent;
    route->connection = wait->connection;
    if (status >= 0) {
        status = import(route);
        if (status < 0)
            snprintf(wait->why, sizeof wait->why, "%s", segue_error_detail());
    }
    if (status >= 0 && route->path.way == SEGUE_WAY_PACKED &&
        agent->transports[route->path.row]->caps & SEGUE_TRANSPORT_STREAM) {
        route->staging.done = staged;
        segue_stage_prepare(agent, &route->staging);
    } else {
        opened(route, status, wait->why);
    }
}

void segue_route_open(struct segue_route *route)
{
    switch (route->state) {
    case SEGUE_ROUTE_NEW:
        route->state = SEGUE_ROUTE_CONNECTING;
        route->wait = (struct segue_link_wait){.done = connected};
        segue_link_connect(route->link, route->path.row, &route->wait);
        break;
    case SEGUE_ROUTE_CONNECTING:
        break;
    case SEGUE_ROUTE_READY:
    case SEGUE_ROUTE_FAILED:
        routed(route);
        break;
    }
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
