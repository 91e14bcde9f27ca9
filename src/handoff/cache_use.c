/* SPDX-License-Identifier: Apache-2.0 */
/* What lies over a cache (offers, claims, readers) and how all of it ends: when the cache is closed, and when it is reset. */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

static void end_claims_over(struct segue_handoff *h, struct segue_cache *cache,
                            const char *why)
{
    struct segue_map_cursor at = {0};
    struct segue_claim *claim;
    while ((claim = segue_map_next(&h->claims, &at, NULL)))
        if (claim->cache == cache)
            segue_claim_judge(claim, SEGUE_VERDICT_CANCELLED, why);
}

/* Ends what lies over it; each end comes back here through segue_cache_use_done. */
static void end_all_over(struct segue_handoff *h, struct segue_cache *cache)
{
    end_claims_over(h, cache, "its cache was closed");
    struct segue_map_cursor at = {0};
    struct segue_offer *offer;
    while ((offer = segue_map_next(&h->offers, &at, NULL)))
        if (segue_offer_part(offer, cache))
            segue_offer_end(offer, SEGUE_VERDICT_STALE, "the producer closed its cache");
        else
            segue_serve_end_parked(offer, cache);
}

/* Links outlive caches: what was compiled for this one goes with it. */
static void forget_routes(struct segue_cache *cache)
{
    segue_list_each (l, &cache->agent->links) {
        struct segue_link *link = segue_container_of(l, struct segue_link, list);
        struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
        if (!peer)
            continue;
        segue_list_each (r, &peer->routes) {
            struct segue_route *route = segue_container_of(r, struct segue_route, list);
            if (route->cache == cache)
                segue_route_gone(route);
        }
    }
}

static bool cache_closing(struct segue_cache *cache)
{
    struct segue_cache_use *use = cache->above;
    if (!use->closing) {
        use->closing = true;
        use->open++; /* until the last of what ends here has been told */
        end_all_over(segue_handoff_of(cache->agent), cache);
        use->open--;
    }
    if (use->open)
        return false;
    forget_routes(cache);
    free(use->claimed);
    free(use);
    cache->above = NULL;
    return true;
}

struct segue_cache_use *segue_cache_use_of(struct segue_cache *cache)
{
    if (!cache->above) {
        struct segue_cache_use *use = calloc(1, sizeof *use);
        if (use)
            use->claimed = calloc(1, cache->geometry.layout.blocks / 8 + 1);
        if (!use || !use->claimed) {
            free(use);
            segue_fail(SEGUE_E_MEMORY, "no memory for a cache of %u blocks",
                       cache->geometry.layout.blocks);
            return NULL;
        }
        cache->above = use;
        cache->closing = cache_closing;
    }
    return cache->above;
}

/* ---- reset (R15) ---- */

/* A peer that was told of the cache and may have its memory mapped. */
struct reader {
    struct segue_list list; /* segue_reset.readers */
    struct segue_link *link;
};

struct segue_reset {
    struct segue_list list; /* handoff->resets */
    struct segue_cache *cache;
    struct segue_list readers;
    struct segue_timer timer; /* their deadline */
    bool ending;              /* its offers and claims are just being ended */
    uint64_t generation;
    sem_t done;
};

static void reset_settle(struct segue_reset *reset)
{
    struct segue_cache_use *use = reset->cache->above;
    if (reset->ending || use->open || !segue_list_empty(&reset->readers))
        return;
    segue_loop_timer_cancel(reset->cache->agent->loop, &reset->timer);
    segue_list_remove(&reset->list);
    use->reset = NULL;
    sem_post(&reset->done);
}

void segue_cache_use_done(struct segue_cache *cache)
{
    struct segue_cache_use *use = cache->above;
    use->open--;
    if (use->reset)
        reset_settle(use->reset);
    if (use->closing && use->open == 0)
        segue_cache_ended(cache);
}

static void reader_done(struct segue_reset *reset, struct reader *reader)
{
    segue_list_remove(&reader->list);
    free(reader);
    reset_settle(reset);
}

void segue_resets_link_gone(struct segue_handoff *h, const struct segue_link *link)
{
    segue_list_each (l, &h->resets) {
        struct segue_reset *reset = segue_container_of(l, struct segue_reset, list);
        segue_list_each (r, &reset->readers) {
            struct reader *reader = segue_container_of(r, struct reader, list);
            if (reader->link == link) {
                reader_done(reset, reader);
                break;
            }
        }
    }
}

enum segue_status segue_reset_heard(struct segue_handoff *h, struct segue_link *link,
                                    struct segue_reader *r)
{
    uint32_t cache = segue_reader_u32(r);
    if (r->failed)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed invalid");
    segue_list_each (l, &h->resets) {
        struct segue_reset *reset = segue_container_of(l, struct segue_reset, list);
        if (reset->cache->id == cache) {
            segue_resets_link_gone(h, link);
            break;
        }
    }
    return SEGUE_OK;
}

/* Without its link a peer's mapping is nobody's any more: what it reads is never judged valid. */
static void reset_late(struct segue_timer *timer)
{
    struct segue_reset *reset = segue_container_of(timer, struct segue_reset, timer);
    segue_list_each (l, &reset->readers)
        segue_link_close(segue_container_of(l, struct reader, list)->link,
                         "it did not let go of a cache that was reset in time");
}

static enum segue_status invalidate(struct segue_reset *reset, struct segue_link *link)
{
    uint8_t body[4];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return segue_fail(SEGUE_E_MEMORY, "no memory to reset a cache");
    reader->link = link;
    segue_list_push_back(&reset->readers, &reader->list);
    segue_writer_u32(&w, reset->cache->id);
    segue_link_send(link, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_INVALIDATE, body,
                    (uint32_t)w.len, NULL, 0); /* one that goes down says so by `gone` */
    return SEGUE_OK;
}

static enum segue_status begin_reset(struct segue_agent *agent, void *arg)
{
    struct segue_reset *reset = arg;
    struct segue_cache *cache = reset->cache;
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_cache_use *use = h ? segue_cache_use_of(cache) : NULL;
    if (!use)
        return SEGUE_E_MEMORY;
    if (use->reset || use->closing)
        return segue_fail(SEGUE_E_BUSY, "the cache is being %s already",
                          use->reset ? "reset" : "closed");
    use->reset = reset;
    reset->ending = true;
    reset->generation = ++cache->generation;
    segue_list_push_back(&h->resets, &reset->list);
    end_claims_over(h, cache, "its cache was reset");
    /* Every offer, also one that names no blocks of this cache yet: it is of the past generation. */
    struct segue_map_cursor at = {0};
    struct segue_offer *offer;
    while ((offer = segue_map_next(&h->offers, &at, NULL)))
        segue_offer_end(offer, SEGUE_VERDICT_STALE, "the producer reset its cache");
    enum segue_status status = SEGUE_OK;
    segue_list_each (l, &agent->links) {
        struct segue_link *link = segue_container_of(l, struct segue_link, list);
        if (status >= 0 && !link->closing && segue_cache_told(link))
            status = invalidate(reset, link);
    }
    segue_loop_timer_set(agent->loop, &reset->timer,
                         segue_now_ns() + agent->opts.connect_ns);
    reset->ending = false;
    reset_settle(reset);
    return status; /* even then it is waited for, as far as it went */
}

enum segue_status segue_cache_reset(struct segue_cache *cache, uint64_t *generation)
{
    struct segue_reset reset = {.cache = cache, .timer = {.fn = reset_late}};
    segue_list_init(&reset.list);
    segue_list_init(&reset.readers);
    sem_init(&reset.done, 0, 0);
    enum segue_status status = segue_agent_call(cache->agent, begin_reset, &reset);
    if (reset.generation) {
        while (sem_wait(&reset.done) < 0)
            assert(errno == EINTR);
        if (generation)
            *generation = reset.generation;
    }
    sem_destroy(&reset.done);
    return status;
}

static enum segue_status read_generation(struct segue_agent *agent, void *arg)
{
    struct segue_reset *reset = arg;
    reset->generation = reset->cache->generation;
    return SEGUE_OK;
}

uint64_t segue_cache_generation(struct segue_cache *cache)
{
    struct segue_reset reset = {.cache = cache};
    segue_agent_call(cache->agent, read_generation, &reset);
    return reset.generation;
}
