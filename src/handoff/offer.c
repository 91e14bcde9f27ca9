/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers and their leases. The agent that owns the bytes judges (R6): an offer is marked ended before anybody is told,
 * and OFFER_ENDED comes only when no copy of ours reads its blocks any more.
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutate.h"
#include "base/sized.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

struct segue_offer *segue_offer_find(struct segue_handoff *h,
                                     const struct segue_offer_id *id)
{
    if (memcmp(id->incarnation, h->agent->incarnation, sizeof id->incarnation) != 0)
        return NULL;
    return segue_map_get(&h->offers, id->sequence);
}

struct segue_part *segue_offer_part(struct segue_offer *offer,
                                    const struct segue_cache *cache)
{
    segue_list_each (l, &offer->parts) {
        struct segue_part *part = segue_container_of(l, struct segue_part, list);
        if (part->cache == cache)
            return part;
    }
    return NULL;
}

/* The blocks are the engine's again. */
static void tell_engine(struct segue_offer *offer)
{
    struct segue_agent *agent = offer->handoff->agent;
    struct segue_event event = {.type = SEGUE_EVENT_OFFER_ENDED,
                                .verdict = offer->why,
                                .id = offer->sequence,
                                .user = offer->user};
    segue_agent_fault(agent, "ended", SEGUE_FAULT_SAY);
    segue_events_push(&agent->events, &event);
}

/* ---- lease ---- */

static void lease_over(struct segue_timer *timer)
{
    struct segue_offer *offer = segue_container_of(timer, struct segue_offer, timer);
    uint64_t now = segue_boot_ns();
    if (now < offer->lease_end) /* renewed, or the clocks drifted apart in a suspend */
        segue_loop_timer_set(offer->handoff->agent->loop, timer,
                             segue_now_ns() + (offer->lease_end - now));
    else if (SEGUE_MUTATED(R6))
        tell_engine(offer);
    else
        segue_offer_end(offer, SEGUE_VERDICT_STALE, "the offer's lease has ended");
}

/* A lease of its own length is always granted. */
static uint64_t hold_most(const struct segue_offer *offer)
{
    uint64_t hold = offer->handoff->agent->opts.hold_ns;
    return hold > offer->lease_ns ? hold : offer->lease_ns;
}

static void lease_until(struct segue_offer *offer, uint64_t now, uint64_t end)
{
    offer->lease_end = end;
    segue_loop_timer_set(offer->handoff->agent->loop, &offer->timer,
                         segue_now_ns() + (end > now ? end - now : 0));
}

/* Neither who holds nor who claims and never commits can keep the blocks for ever (R11). */
void segue_offer_renew(struct segue_offer *offer, enum segue_lease_event why)
{
    if (!segue_step(&segue_lease_machine, &offer->lease, why))
        return;
    uint64_t now = segue_boot_ns(), end = now + offer->lease_ns;
    if (why == SEGUE_LEASE_ON_CLAIM && offer->renew_end == 0)
        offer->renew_end = now + hold_most(offer);
    uint64_t cap = why == SEGUE_LEASE_ON_HOLD ? offer->hold_end : offer->renew_end;
    if (end > cap)
        end = cap;
    if (end > offer->lease_end)
        lease_until(offer, now, end);
}

void segue_offer_hurry(struct segue_offer *offer, uint64_t ns)
{
    uint64_t now = segue_boot_ns();
    if (offer->lease == SEGUE_LEASE_HELD && now + ns < offer->lease_end)
        lease_until(offer, now, now + ns);
}

void segue_offer_left(struct segue_offer *offer)
{
    if (--offer->open == 0)
        segue_step(&segue_lease_machine, &offer->lease, SEGUE_LEASE_ON_LEFT);
}

/* ---- end ---- */

static void part_discard(struct segue_part *part)
{
    if (!part)
        return;
    free(part->blocks);
    free(part->named);
    free(part);
}

static void part_free(struct segue_part *part)
{
    segue_list_remove(&part->list);
    segue_cache_use_done(part->cache);
    part_discard(part);
}

void segue_offer_settle(struct segue_offer *offer)
{
    if (offer->state != SEGUE_OFFER_ENDING || offer->telling ||
        !segue_list_empty(&offer->serves))
        return;
    segue_list_each (l, &offer->parts) {
        struct segue_part *part = segue_container_of(l, struct segue_part, list);
        if (part->waiting) /* the device has not said yet; it will */
            return;
    }
    segue_step(&segue_offer_machine, &offer->state, SEGUE_OFFER_ON_QUIET);
    segue_list_each (l, &offer->parts)
        part_free(segue_container_of(l, struct segue_part, list));
    tell_engine(offer);
    offer->handoff->live--;
    free(offer);
}

void segue_offer_end(struct segue_offer *offer, enum segue_verdict verdict,
                     const char *why)
{
    if (!segue_may(&segue_offer_machine, offer->state, SEGUE_OFFER_ON_END))
        return;
    segue_step(&segue_offer_machine, &offer->state, SEGUE_OFFER_ON_END);
    segue_step(&segue_lease_machine, &offer->lease, SEGUE_LEASE_ON_END);
    offer->why = verdict;
    segue_map_remove(&offer->handoff->offers, offer->sequence);
    segue_loop_timer_cancel(offer->handoff->agent->loop, &offer->timer);
    SEGUE_LOG(DEBUG, "handoff", "offer %llu ended: %s",
              (unsigned long long)offer->sequence, why);
    offer->telling = true;
    segue_list_each (l, &offer->serves)
        segue_serve_end(segue_container_of(l, struct segue_serve, list),
                        SEGUE_VERDICT_STALE, why);
    offer->telling = false;
    segue_uses_drop(offer);
    segue_offer_settle(offer);
}

/* ---- mint ---- */

struct mint {
    const struct segue_offer_opts *opts;
    struct segue_offer_id *out;         /* mint */
    const struct segue_offer_id *given; /* adopt */
};

static enum segue_status offer_new(struct segue_handoff *h, uint64_t sequence,
                                   const struct segue_offer_opts *opts)
{
    struct segue_agent *agent = h->agent;
    SEGUE_TRY(segue_events_reserve(&agent->events, 1));
    struct segue_offer *offer = calloc(1, sizeof *offer);
    if (!offer || segue_map_put(&h->offers, sequence, offer) < 0) {
        free(offer);
        segue_events_unreserve(&agent->events, 1);
        return segue_fail(SEGUE_E_MEMORY, "no memory for an offer");
    }
    offer->handoff = h;
    offer->sequence = h->minted = sequence;
    offer->tokens = opts->tokens;
    offer->uses = offer->left = opts->uses ? opts->uses : 1;
    offer->hash = opts->hash;
    offer->lease_ns = opts->lease_ns ? opts->lease_ns : agent->opts.lease_ns;
    offer->hold_end = segue_boot_ns() + hold_most(offer);
    offer->user = opts->user;
    offer->timer.fn = lease_over;
    segue_list_init(&offer->parts);
    segue_list_init(&offer->serves);
    segue_list_init(&offer->taken);
    segue_list_init(&offer->over);
    segue_offer_renew(offer, SEGUE_LEASE_ON_HOLD);
    h->live++;
    segue_agent_fault(agent, "offer", SEGUE_FAULT_SAY);
    return SEGUE_OK;
}

static enum segue_status mint(struct segue_agent *agent, void *arg)
{
    struct mint *m = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    if (!h)
        return SEGUE_E_MEMORY;
    if (agent->opts.endpoint)
        return segue_fail(SEGUE_E_INVALID,
                          "offers of an engine are minted at its endpoint");
    SEGUE_TRY(offer_new(h, h->minted + 1, m->opts));
    memcpy(m->out->incarnation, agent->incarnation, sizeof m->out->incarnation);
    m->out->sequence = h->minted;
    return SEGUE_OK;
}

static enum segue_status adopt(struct segue_agent *agent, void *arg)
{
    struct mint *m = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    if (!h)
        return SEGUE_E_MEMORY;
    if (!agent->opts.endpoint ||
        memcmp(m->given->incarnation, agent->incarnation, 16) != 0)
        return segue_fail(SEGUE_E_INVALID,
                          "only a rank adopts offers, and only its own engine's");
    if (m->given->sequence <= h->minted)
        return segue_fail(SEGUE_E_STALE, "offer %llu comes after offer %llu",
                          (unsigned long long)m->given->sequence,
                          (unsigned long long)h->minted);
    SEGUE_TRY(offer_new(h, m->given->sequence, m->opts));
    segue_early_adopted(h, h->minted);
    return SEGUE_OK;
}

static enum segue_status take_opts(const struct segue_offer_opts *opts,
                                   struct segue_offer_opts *known)
{
    SEGUE_TRY(segue_sized_take("struct segue_offer_opts", opts, known, sizeof *known));
    if (known->tokens == 0)
        return segue_fail(SEGUE_E_INVALID, "an offer needs at least one token");
    return SEGUE_OK;
}

enum segue_status segue_offer_mint(struct segue_agent *agent,
                                   const struct segue_offer_opts *opts,
                                   struct segue_offer_id *out)
{
    struct segue_offer_opts known;
    SEGUE_TRY(take_opts(opts, &known));
    return segue_agent_call(agent, mint, &(struct mint){&known, out, NULL});
}

enum segue_status segue_offer_adopt(struct segue_agent *agent,
                                    const struct segue_offer_id *id,
                                    const struct segue_offer_opts *opts)
{
    struct segue_offer_opts known;
    SEGUE_TRY(take_opts(opts, &known));
    return segue_agent_call(agent, adopt, &(struct mint){&known, NULL, id});
}

/* ---- create ---- */

static void become_ready(struct segue_part *part)
{
    part->ready = true;
    segue_step(&segue_offer_machine, &part->offer->state, SEGUE_OFFER_ON_READY);
    segue_serve_offered(part);
}

static void retired(struct segue_task *task)
{
    struct segue_part *part = segue_container_of(task, struct segue_part, retired);
    struct segue_offer *offer = part->offer;
    part->waiting = false;
    if (offer->state == SEGUE_OFFER_ENDING)
        segue_offer_settle(offer);
    else if (part->retired_status < 0)
        segue_offer_end(offer, SEGUE_VERDICT_STALE,
                        "the producer's device failed before the blocks were written");
    else
        become_ready(part);
}

static void ready_seen(struct segue_wait *wait, enum segue_status status)
{
    struct segue_part *part = segue_container_of(wait, struct segue_part, wait);
    part->retired_status = status;
    segue_loop_post(part->cache->agent->loop, &part->retired);
}

struct create {
    const struct segue_offer_id *id;
    struct segue_part *part;
};

static enum segue_status create(struct segue_agent *agent, void *arg)
{
    struct create *c = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_part *part = c->part;
    struct segue_offer *offer = h ? segue_offer_find(h, c->id) : NULL;
    if (!offer)
        return segue_fail(SEGUE_E_STALE, "offer %llu has ended, or is not of this engine",
                          (unsigned long long)c->id->sequence);
    if (segue_offer_part(offer, part->cache))
        return segue_fail(SEGUE_E_INVALID, "this cache has created offer %llu already",
                          (unsigned long long)c->id->sequence);
    uint32_t block_tokens = part->cache->geometry.layout.block_tokens;
    if ((uint64_t)part->n_blocks * block_tokens < offer->tokens)
        return segue_fail(SEGUE_E_RANGE,
                          "%u blocks of %u tokens hold fewer than the offer's %u tokens",
                          part->n_blocks, block_tokens, offer->tokens);
    struct segue_cache_use *use = segue_cache_use_of(part->cache);
    if (!use)
        return SEGUE_E_MEMORY;
    if (use->reset)
        return segue_fail(SEGUE_E_BUSY, "the cache is being reset");
    use->open++;
    part->offer = offer;
    segue_list_push_back(&offer->parts, &part->list);
    if (!part->waiting)
        become_ready(part);
    return SEGUE_OK;
}

/* A negative control. A lone block changes places with one that is not offered. */
static void swap_first(uint32_t *named, uint32_t n_blocks, uint32_t blocks)
{
    uint32_t first = named[0];
    named[0] = n_blocks > 1 ? named[1] : (first + 1) % blocks;
    if (n_blocks > 1)
        named[1] = first;
}

enum segue_status segue_offer_create(struct segue_cache *cache,
                                     const struct segue_offer_id *id,
                                     const uint32_t *blocks, uint32_t n_blocks,
                                     const struct segue_sync *ready)
{
    for (uint32_t i = 0; i < n_blocks; i++)
        if (blocks[i] >= cache->geometry.layout.blocks)
            return segue_fail(SEGUE_E_RANGE, "block %u is beyond the cache's %u blocks",
                              blocks[i], cache->geometry.layout.blocks);
    struct segue_part *part = calloc(1, sizeof *part);
    if (part) {
        part->blocks = malloc(n_blocks * sizeof *blocks);
        part->named = malloc(n_blocks * sizeof *blocks);
    }
    if (!part || !part->blocks || !part->named) {
        part_discard(part);
        return segue_fail(SEGUE_E_MEMORY, "no memory for an offer of %u blocks",
                          n_blocks);
    }
    memcpy(part->blocks, blocks, n_blocks * sizeof *blocks);
    memcpy(part->named, blocks, n_blocks * sizeof *blocks);
    if (segue_agent_fault(cache->agent, "named", SEGUE_FAULT_SWAP))
        swap_first(part->named, n_blocks, cache->geometry.layout.blocks);
    part->n_blocks = n_blocks;
    part->cache = cache;
    part->retired.fn = retired;
    part->wait.done = ready_seen;
    bool wait = ready && ready->kind != SEGUE_SYNC_NONE && !SEGUE_MUTATED(R14_READY);
    part->waiting = wait;
    enum segue_status status = segue_agent_call(cache->agent, create,
                                                &(struct create){id, part});
    if (status < 0) {
        part_discard(part);
        return status;
    }
    if (!wait)
        return SEGUE_OK;
    /* The handle is captured here, on the caller's thread (D13). A sync that fails ends the offer. */
    status = segue_device_sync(ready->device, ready, &part->wait);
    if (status < 0) {
        part->retired_status = status;
        segue_loop_post(cache->agent->loop, &part->retired);
    }
    return status;
}

/* ---- revoke ---- */

static enum segue_status revoke(struct segue_agent *agent, void *arg)
{
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_offer *offer = h ? segue_offer_find(h, arg) : NULL;
    if (!offer)
        return segue_fail(SEGUE_E_STALE, "the offer has ended already");
    segue_offer_end(offer, SEGUE_VERDICT_CANCELLED, "the producer revoked the offer");
    return SEGUE_OK;
}

enum segue_status segue_offer_revoke(struct segue_agent *agent,
                                     const struct segue_offer_id *id)
{
    struct segue_offer_id copy = *id;
    return segue_agent_call(agent, revoke, &copy);
}
