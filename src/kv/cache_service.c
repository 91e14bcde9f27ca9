/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caches between agents: ours told to whoever asks, theirs kept for the link's life.
 *
 *     consumer --ASK--> producer --TELL, HANDLES...-- for each cache --TOLD-->
 *                                --TELL, HANDLES...-- for each cache opened later
 */
#include "kv/cache_service.h"
#include "base/clock.h"
#include "base/log.h"
#include "kv/cache_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEER_FDS_MAX 1024 /* descriptors that one peer may make us keep */

struct cache_service {
    struct segue_service base;
    struct segue_agent *agent;
    struct segue_list caches; /* ours */
    uint32_t n_caches, next_id;
    struct segue_members members;  /* of an endpoint */
    uint8_t body[SEGUE_FRAME_MAX]; /* of the message being written */
};

/* What a link's peer told us, and whether it asked. */
struct peer {
    struct segue_link *link;
    bool asks;   /* it wants our caches, and has been told */
    bool owed;   /* but for the last word, as ranks are still to join */
    bool asking; /* we have asked and still wait */
    bool told;   /* we have heard of all */
    struct segue_list waits;
    struct segue_timer deadline;
    struct segue_remote_cache *caches; /* SEGUE_CACHES_MAX, so that they never move */
    size_t n_caches;
    struct segue_member *members; /* theirs */
    size_t n_members, members_cap;
    uint32_t fds;
    struct segue_list imports;
};

static struct cache_service *service_of(struct segue_agent *agent)
{
    return segue_container_of(agent->services[SEGUE_SERVICE_CACHE], struct cache_service,
                              base);
}

/* ---- ours ---- */

static void on_ask(struct cache_service *service, struct peer *peer)
{
    /* Answered once: who asks again after a deadline has the answer under way. */
    if (peer->asks)
        return;
    peer->asks = true;
    segue_list_each (at, &service->caches) {
        struct segue_cache *cache = segue_container_of(at, struct segue_cache, list);
        if (!cache->closer)
            segue_cache_tell(peer->link, cache, service->body);
    }
    peer->owed = true;
    segue_caches_told(service->agent);
}

void segue_caches_told(struct segue_agent *agent)
{
    struct cache_service *service = service_of(agent);
    if (!segue_members_complete(&service->members, agent))
        return; /* who asks has a deadline */
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
        if (!peer || !peer->owed)
            continue;
        peer->owed = false;
        segue_members_tell(&service->members, link);
        segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TOLD, NULL, 0, NULL, 0);
    }
}

bool segue_caches_any(struct segue_agent *agent)
{
    return agent->services[SEGUE_SERVICE_CACHE] &&
           !segue_list_empty(&service_of(agent)->caches);
}

struct segue_members *segue_members_of(struct segue_agent *agent)
{
    return agent->services[SEGUE_SERVICE_CACHE] ? &service_of(agent)->members : NULL;
}

struct segue_list *segue_caches_of(struct segue_agent *agent)
{
    return &service_of(agent)->caches;
}

bool segue_cache_told(const struct segue_link *link)
{
    const struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
    return peer && peer->asks;
}

struct segue_cache *segue_cache_find(struct segue_agent *agent, uint32_t id)
{
    if (!agent->services[SEGUE_SERVICE_CACHE])
        return NULL;
    segue_list_each (at, &service_of(agent)->caches) {
        struct segue_cache *cache = segue_container_of(at, struct segue_cache, list);
        if (cache->id == id && !cache->closer)
            return cache;
    }
    return NULL;
}

enum segue_status segue_cache_service_add(struct segue_agent *agent,
                                          struct segue_cache *cache)
{
    struct cache_service *service = service_of(agent);
    uint32_t n = 0;
    segue_list_each (at, &service->caches)
        n++;
    if (n == SEGUE_CACHES_MAX)
        return segue_fail(SEGUE_E_LIMIT, "this agent has %d caches already",
                          SEGUE_CACHES_MAX);
    cache->id = ++service->next_id;
    segue_list_push_back(&service->caches, &cache->list);
    segue_members_have(&service->members, cache);
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
        if (peer && peer->asks)
            segue_cache_tell(link, cache, service->body);
    }
    return SEGUE_OK;
}

void segue_cache_service_closed(const struct segue_cache *cache)
{
    uint8_t body[4];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u32(&w, cache->id);
    segue_members_lack(&service_of(cache->agent)->members, cache);
    segue_list_each (at, &cache->agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
        if (peer && peer->asks)
            segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_GONE, body,
                            (uint32_t)w.len, NULL, 0);
    }
}

/* ---- theirs ---- */

static void end_waits(struct peer *peer, enum segue_status status)
{
    char why[256];
    snprintf(why, sizeof why, "%s", status < 0 ? segue_error_detail() : "");
    struct segue_list ending, *at;
    segue_list_init(&ending);
    while ((at = segue_list_pop_front(&peer->waits)))
        segue_list_push_back(&ending, at);
    while ((at = segue_list_pop_front(&ending))) {
        struct segue_caches_wait *wait = segue_container_of(at, struct segue_caches_wait,
                                                            list);
        wait->caches = peer->caches;
        wait->n = peer->n_caches;
        wait->members = peer->members;
        wait->n_members = peer->n_members;
        snprintf(wait->why, sizeof wait->why, "%s", why);
        if (status < 0)
            segue_fail(status, "%s", why);
        wait->done(wait, status);
    }
}

static void on_deadline(struct segue_timer *timer)
{
    struct peer *peer = timer->user;
    peer->asking = false;
    segue_fail(SEGUE_E_TIMEOUT, "%s did not describe its caches in time",
               peer->link->name);
    end_waits(peer, SEGUE_E_TIMEOUT);
}

static struct peer *peer_of(struct segue_link *link)
{
    struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
    if (peer)
        return peer;
    peer = calloc(1, sizeof *peer);
    if (!peer) {
        segue_fail(SEGUE_E_MEMORY, "no memory for a peer's caches");
        return NULL;
    }
    peer->link = link;
    peer->deadline = (struct segue_timer){.fn = on_deadline, .user = peer};
    segue_list_init(&peer->waits);
    segue_list_init(&peer->imports);
    link->state[SEGUE_SERVICE_CACHE] = peer;
    return peer;
}

struct segue_list *segue_imports_of(struct segue_link *link)
{
    struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
    return peer ? &peer->imports : NULL;
}

static struct segue_remote_cache *find_told(struct peer *peer, uint32_t id)
{
    for (size_t i = 0; i < peer->n_caches; i++)
        if (peer->caches[i].id == id)
            return &peer->caches[i];
    return NULL;
}

static enum segue_status on_tell(struct peer *peer, const struct segue_frame *frame)
{
    struct segue_remote_cache cache;
    if (!peer->caches)
        return segue_fail(SEGUE_E_PROTOCOL, "a cache was told that nobody asked for");
    SEGUE_TRY(segue_cache_tell_read(frame->body, frame->len, &cache));
    if (find_told(peer, cache.id)) {
        uint32_t id = cache.id;
        segue_remote_cache_free(&cache);
        return segue_fail(SEGUE_E_PROTOCOL, "cache %u was told twice", id);
    }
    cache.handles = calloc(SEGUE_ROWS_MAX * cache.n_regions, sizeof *cache.handles);
    if (!cache.handles || peer->n_caches == SEGUE_CACHES_MAX) {
        bool full = cache.handles;
        segue_remote_cache_free(&cache);
        return full ? segue_fail(SEGUE_E_PROTOCOL, "it has more than %d caches",
                                 SEGUE_CACHES_MAX)
                    : segue_fail(SEGUE_E_MEMORY, "no memory for a peer's cache");
    }
    cache.link = peer->link;
    peer->caches[peer->n_caches++] = cache;
    return SEGUE_OK;
}

static size_t row_called(const char *transport)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++)
        if (strcmp(segue_transport_name(row), transport) == 0)
            return row;
    return SEGUE_ROWS_MAX;
}

static enum segue_status on_handles(struct peer *peer, struct segue_frame *frame)
{
    struct segue_cache_handles message;
    SEGUE_TRY(segue_cache_handles_read(frame, &message));
    struct segue_remote_cache *cache = find_told(peer, message.cache);
    if (!cache || cache->n_regions != message.n_regions)
        return segue_fail(SEGUE_E_PROTOCOL, "handles of cache %u, which is not so",
                          message.cache);
    size_t row = row_called(message.transport);
    if (row == SEGUE_ROWS_MAX || cache->rows & (1u << row))
        return SEGUE_OK;
    if (peer->fds + frame->n_fds > PEER_FDS_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "its caches need more than %d descriptors",
                          PEER_FDS_MAX);
    memcpy(&cache->handles[row * cache->n_regions], message.handle,
           cache->n_regions * sizeof *message.handle);
    for (uint32_t i = 0; i < frame->n_fds; i++)
        frame->fds[i] = -1;
    peer->fds += frame->n_fds;
    cache->rows |= 1u << row;
    return SEGUE_OK;
}

/* Its place stays taken: routes may still point there. */
static enum segue_status on_cache_gone(struct peer *peer, struct segue_frame *frame)
{
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    struct segue_remote_cache *cache = find_told(peer, segue_reader_u32(&r));
    if (r.failed)
        return segue_fail(SEGUE_E_PROTOCOL, "it closed a cache without saying which");
    if (cache)
        cache->gone = true;
    return SEGUE_OK;
}

static enum segue_status on_member(struct peer *peer, const struct segue_frame *frame)
{
    struct segue_member member;
    if (!peer->caches || peer->told || peer->n_members == SEGUE_MEMBERS_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "a member was told that nobody asked for");
    SEGUE_TRY(segue_member_read(peer->link, frame, &member));
    if (peer->n_members == peer->members_cap) {
        size_t cap = peer->members_cap ? 2 * peer->members_cap : 16;
        struct segue_member *more = realloc(peer->members, cap * sizeof *more);
        if (!more)
            return segue_fail(SEGUE_E_MEMORY, "no memory for a peer's ranks");
        peer->members = more;
        peer->members_cap = cap;
    }
    peer->members[peer->n_members++] = member;
    return SEGUE_OK;
}

static void on_told(struct peer *peer)
{
    segue_loop_timer_cancel(peer->link->agent->loop, &peer->deadline);
    peer->told = true;
    peer->asking = false;
    end_waits(peer, SEGUE_OK);
}

static enum segue_status on_frame(struct segue_service *base, struct segue_link *link,
                                  struct segue_frame *frame)
{
    struct cache_service *service = segue_container_of(base, struct cache_service, base);
    struct peer *peer = peer_of(link);
    if (!peer)
        return SEGUE_E_MEMORY;
    switch (frame->type) {
    case SEGUE_CACHE_ASK:
        on_ask(service, peer);
        return SEGUE_OK;
    case SEGUE_CACHE_TELL:
        return on_tell(peer, frame);
    case SEGUE_CACHE_HANDLES:
        return on_handles(peer, frame);
    case SEGUE_CACHE_TOLD:
        if (!peer->caches)
            return segue_fail(SEGUE_E_PROTOCOL, "it told caches that nobody asked for");
        on_told(peer);
        return SEGUE_OK;
    case SEGUE_CACHE_GONE:
        return on_cache_gone(peer, frame);
    case SEGUE_CACHE_MEMBER:
        return on_member(peer, frame);
    case SEGUE_CACHE_JOIN:
    case SEGUE_CACHE_HAVE:
    case SEGUE_CACHE_LACK:
        SEGUE_TRY(segue_members_hear(&service->members, link, frame));
        segue_caches_told(service->agent);
        return SEGUE_OK;
    default:
        return SEGUE_OK; /* of a later version (rule R21) */
    }
}

static enum segue_status ask(struct peer *peer)
{
    struct segue_link *link = peer->link;
    if (!peer->caches)
        peer->caches = calloc(SEGUE_CACHES_MAX, sizeof *peer->caches);
    if (!peer->caches)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a peer's caches");
    peer->asking = true;
    segue_loop_timer_set(link->agent->loop, &peer->deadline,
                         segue_now_ns() + link->agent->opts.connect_ns);
    return segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_ASK, NULL, 0, NULL, 0);
}

void segue_caches_get(struct segue_link *link, struct segue_caches_wait *wait)
{
    segue_list_init(&wait->list);
    wait->caches = NULL;
    wait->n = 0;
    wait->members = NULL;
    wait->n_members = 0;
    wait->why[0] = 0;
    struct peer *peer = NULL;
    enum segue_status status = SEGUE_OK;
    if (link->closing)
        status = segue_fail(SEGUE_E_LOST, "%s", link->why);
    else
        status = segue_cache_service(link->agent);
    if (status >= 0 && !(peer = peer_of(link)))
        status = SEGUE_E_MEMORY;
    if (status >= 0 && !peer->told && !peer->asking)
        status = ask(peer);
    if (status < 0) {
        snprintf(wait->why, sizeof wait->why, "%s", segue_error_detail());
        wait->done(wait, status);
        return;
    }
    segue_list_push_back(&peer->waits, &wait->list);
    if (peer->told)
        end_waits(peer, SEGUE_OK);
}

void segue_caches_wait_cancel(struct segue_caches_wait *wait)
{
    segue_list_remove(&wait->list);
}

/* ---- life ---- */

static void on_gone(struct segue_service *base, struct segue_link *link, const char *why)
{
    struct cache_service *service = segue_container_of(base, struct cache_service, base);
    segue_members_gone(&service->members, link, why);
    struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
    if (!peer)
        return;
    segue_loop_timer_cancel(link->agent->loop, &peer->deadline);
    segue_fail(SEGUE_E_LOST, "%s", why);
    end_waits(peer, SEGUE_E_LOST);
}

static void on_forget(struct segue_service *base, struct segue_link *link)
{
    struct peer *peer = link->state[SEGUE_SERVICE_CACHE];
    if (!peer)
        return;
    segue_imports_drop_all(&peer->imports);
    for (size_t i = 0; i < peer->n_caches; i++)
        segue_remote_cache_free(&peer->caches[i]);
    free(peer->caches);
    free(peer->members);
    free(peer);
    link->state[SEGUE_SERVICE_CACHE] = NULL;
}

static void on_close(struct segue_service *base)
{
    struct cache_service *service = segue_container_of(base, struct cache_service, base);
    while (!segue_list_empty(&service->caches))
        segue_cache_discard(
            segue_container_of(service->caches.next, struct segue_cache, list));
    free(service);
}

enum segue_status segue_cache_service(struct segue_agent *agent)
{
    if (agent->services[SEGUE_SERVICE_CACHE])
        return SEGUE_OK;
    struct cache_service *service = calloc(1, sizeof *service);
    if (!service)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the cache service");
    service->base = (struct segue_service){.type = SEGUE_SERVICE_CACHE,
                                           .frame = on_frame,
                                           .gone = on_gone,
                                           .forget = on_forget,
                                           .close = on_close};
    service->agent = agent;
    segue_list_init(&service->caches);
    segue_list_init(&service->members.joined);
    segue_agent_service_add(agent, &service->base);
    return SEGUE_OK;
}
