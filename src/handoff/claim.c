/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims: one rank's share of a hand-off, cut into pairs, one for each producer cache it overlaps. A claim is judged once,
 * by its first pair that ends badly or its last that ends well, and released once, when no pair can touch its blocks.
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/mutate.h"
#include "base/sized.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- destination blocks: no two open claims (R12) ---- */

static uint32_t first_block(const struct segue_claim *claim)
{
    return claim->first / claim->cache->geometry.layout.block_tokens;
}

static void unmark(struct segue_claim *claim, uint32_t end)
{
    struct segue_cache_use *use = claim->cache->above;
    for (uint32_t i = first_block(claim); i < end; i++)
        use->claimed[claim->blocks.id[i] / 8] &= (uint8_t) ~(1u
                                                             << claim->blocks.id[i] % 8);
}

static enum segue_status mark(struct segue_claim *claim)
{
    struct segue_cache_use *use = segue_cache_use_of(claim->cache);
    if (!use)
        return SEGUE_E_MEMORY;
    if (use->reset)
        return segue_fail(SEGUE_E_BUSY, "the cache is being reset");
    for (uint32_t i = first_block(claim); i < claim->blocks.n; i++) {
        uint32_t id = claim->blocks.id[i];
        if (use->claimed[id / 8] & 1u << id % 8) {
            unmark(claim, i);
            return segue_fail(SEGUE_E_BUSY, "block %u has an open claim already", id);
        }
        use->claimed[id / 8] |= (uint8_t)(1u << id % 8);
    }
    use->open++;
    return SEGUE_OK;
}

/* ---- end ---- */

void segue_claim_settle(struct segue_claim *claim)
{
    if (claim->state != SEGUE_CLAIM_JUDGED || claim->held || claim->waiting)
        return;
    segue_list_each (l, &claim->pairs)
        if (!segue_pair_quiet(segue_container_of(l, struct segue_pair, list)))
            return;
    segue_step(&segue_claim_machine, &claim->state, SEGUE_CLAIM_ON_QUIET);
    struct segue_group *group = claim->group;
    struct segue_handoff *h = group->handoff;
    segue_list_each (l, &claim->pairs)
        segue_pair_free(segue_container_of(l, struct segue_pair, list));
    unmark(claim, claim->blocks.n);
    segue_cache_use_done(claim->cache);
    struct segue_event event = {
        .type = SEGUE_EVENT_RELEASED, .id = claim->id, .user = claim->user};
    segue_agent_fault(h->agent, "released", SEGUE_FAULT_SAY);
    segue_events_push(&h->agent->events, &event);
    segue_map_remove(&h->claims, claim->id);
    segue_list_remove(&claim->list);
    struct segue_ids blocks = claim->blocks;
    *claim = (struct segue_claim){.blocks = blocks};
    segue_list_push_back(&h->free_claims, &claim->list);
    segue_group_settle(group);
}

static void report_end(struct segue_claim *claim)
{
    uint64_t now = segue_now_ns();
    struct segue_claim_report *r = &claim->report;
    if (claim->accepted_ns)
        r->wait_ns = claim->accepted_ns - claim->posted_ns;
    if (claim->moved_ns) {
        r->copy_ns = claim->moved_ns - claim->accepted_ns;
        r->commit_ns = now - claim->moved_ns;
    }
}

void segue_claim_judge(struct segue_claim *claim, enum segue_verdict verdict,
                       const char *why)
{
    if (!segue_may(&segue_claim_machine, claim->state, SEGUE_CLAIM_ON_JUDGE))
        return;
    segue_step(&segue_claim_machine, &claim->state, SEGUE_CLAIM_ON_JUDGE);
    struct segue_agent *agent = claim->group->handoff->agent;
    struct segue_event event = {.type = SEGUE_EVENT_VERDICT,
                                .verdict = verdict,
                                .id = claim->id,
                                .user = claim->user};
    snprintf(event.detail, sizeof event.detail, "%s",
             why); /* before anything below writes a new sentence */
    segue_loop_timer_cancel(agent->loop, &claim->deadline);
    claim->held++;
    segue_list_each (l, &claim->pairs)
        segue_pair_stop(segue_container_of(l, struct segue_pair, list));
    claim->held--;
    report_end(claim);
    event.report = claim->report;
    segue_events_push(&agent->events, &event);
    segue_group_judged(claim->group, claim, verdict, event.detail);
    segue_group_settle(claim->group); /* told before the blocks are quiet */
    segue_claim_settle(claim);
}

static void deadline(struct segue_timer *timer)
{
    struct segue_claim *claim = segue_container_of(timer, struct segue_claim, deadline);
    segue_claim_judge(claim, SEGUE_VERDICT_TIMEOUT, "the claim's deadline passed");
}

/* ---- pairing ---- */

static enum segue_status choose_from(struct segue_cover *cover,
                                     const struct segue_remote_cache *caches, size_t n,
                                     const struct segue_remote_cache **out)
{
    for (size_t i = 0; i < n; i++) {
        bool needed = false;
        if (!caches[i].gone)
            SEGUE_TRY(segue_cover_add(cover, &caches[i].geometry, &needed));
        if (needed)
            out[cover->n - 1] = &caches[i];
    }
    return SEGUE_OK;
}

static enum segue_status choose(struct segue_claim *claim,
                                const struct segue_remote_cache **out, size_t *n_out)
{
    struct segue_group *group = claim->group;
    const struct segue_geometry *ours = &claim->cache->geometry;
    struct segue_cover cover = {.ours = ours};
    SEGUE_TRY(choose_from(&cover, group->caches, group->n_caches, out));
    segue_list_each (l, &group->sources) {
        struct segue_source *source = segue_container_of(l, struct segue_source, list);
        SEGUE_TRY(choose_from(&cover, source->caches, source->n, out));
    }
    uint64_t want = (uint64_t)ours->layout.layers * ours->layout.heads;
    if (cover.area != want)
        return segue_fail(SEGUE_E_MISMATCH,
                          "engine %s holds %llu of the %llu layers x heads of this rank",
                          group->ticket.engine_id, (unsigned long long)cover.area,
                          (unsigned long long)want);
    *n_out = cover.n;
    return SEGUE_OK;
}

void segue_claim_begin(struct segue_claim *claim)
{
    struct segue_group *group = claim->group;
    if (claim->state != SEGUE_CLAIM_WAITING || !claim->writable)
        return;
    if (group->state == SEGUE_GROUP_FAILED) {
        segue_claim_judge(claim, group->verdict, group->why);
        return;
    }
    if (group->state != SEGUE_GROUP_READY)
        return;
    group->holding = false;
    enum segue_status status = claim->first == group->ticket.tokens
                                   ? SEGUE_OK
                                   : segue_sources_reach(group, &claim->cache->geometry);
    if (status == SEGUE_IN_PROGRESS || claim->state != SEGUE_CLAIM_WAITING)
        return; /* it begins again when they are; or that has failed at once */
    segue_step(&segue_claim_machine, &claim->state, SEGUE_CLAIM_ON_BEGIN);
    if (claim->first ==
        group->ticket.tokens) { /* everything is here already: nothing to ask for (R10) */
        segue_claim_judge(claim, SEGUE_VERDICT_VALID, "");
        return;
    }
    const struct segue_remote_cache *remote[SEGUE_PAIRS_MAX];
    size_t n = 0;
    if (status >= 0)
        status = choose(claim, remote, &n);
    claim->held++;
    claim->open = (uint32_t)n;
    for (size_t i = 0; i < n && status >= 0 && claim->state == SEGUE_CLAIM_PAIRED; i++)
        status = segue_pair_open(claim, remote[i]);
    if (status < 0)
        segue_claim_judge(claim, segue_verdict_of(status), segue_error_detail());
    claim->held--;
    segue_claim_settle(claim);
}

/* ---- calls ---- */

static void retired(struct segue_task *task)
{
    struct segue_claim *claim = segue_container_of(task, struct segue_claim, retired);
    claim->waiting = false;
    if (claim->state == SEGUE_CLAIM_JUDGED) {
        segue_claim_settle(claim);
    } else if (claim->retired_status < 0) {
        segue_claim_judge(claim, SEGUE_VERDICT_CANCELLED,
                          "the device failed before the blocks could be written");
    } else {
        claim->writable = true;
        segue_claim_begin(claim);
    }
}

static void writable_seen(struct segue_wait *wait, enum segue_status status)
{
    struct segue_claim *claim = segue_container_of(wait, struct segue_claim, wait);
    claim->retired_status = status;
    segue_loop_post(claim->cache->agent->loop, &claim->retired);
}

static bool must_wait(const struct segue_sync *writable)
{
    return writable && writable->kind != SEGUE_SYNC_NONE && !SEGUE_MUTATED(R14_WRITABLE);
}

struct post {
    uint64_t group;
    struct segue_cache *cache;
    const struct segue_claim_opts *opts;
    struct segue_claim *claim;
    uint64_t id;
};

static enum segue_status check(const struct post *p, const struct segue_group *group)
{
    const struct segue_layout *layout = &p->cache->geometry.layout;
    if (group->closed || group->posted == group->opts.ranks)
        return segue_fail(SEGUE_E_INVALID, "the group expects no more than %u claims",
                          group->opts.ranks);
    if (p->opts->first > group->ticket.tokens)
        return segue_fail(SEGUE_E_RANGE, "the claim begins at token %u of %u",
                          p->opts->first, group->ticket.tokens);
    uint32_t needed =
        (uint32_t)(((uint64_t)group->ticket.tokens + layout->block_tokens - 1) /
                   layout->block_tokens);
    if (p->opts->n_blocks < needed)
        return segue_fail(
            SEGUE_E_RANGE, "%u tokens need %u blocks of %u, the claim has %u",
            group->ticket.tokens, needed, layout->block_tokens, p->opts->n_blocks);
    for (uint32_t i = 0; i < p->opts->n_blocks; i++)
        if (p->opts->blocks[i] >= layout->blocks)
            return segue_fail(SEGUE_E_RANGE, "block %u is beyond the cache's %u blocks",
                              p->opts->blocks[i], layout->blocks);
    return SEGUE_OK;
}

static enum segue_status claim_new(struct segue_handoff *h, struct segue_claim **out)
{
    if (segue_list_empty(&h->free_claims)) {
        *out = calloc(1, sizeof **out);
        return *out ? SEGUE_OK : segue_fail(SEGUE_E_MEMORY, "no memory for a claim");
    }
    *out = segue_container_of(segue_list_pop_front(&h->free_claims), struct segue_claim,
                              list);
    return SEGUE_OK;
}

static enum segue_status fill(struct segue_handoff *h, struct segue_claim *claim,
                              struct segue_group *group, const struct post *p)
{
    claim->group = group;
    claim->cache = p->cache;
    claim->first = segue_geometry_first(&p->cache->geometry, group->ticket.tokens,
                                        p->opts->first);
    claim->user = p->opts->user;
    claim->retired.fn = retired;
    claim->wait.done = writable_seen;
    claim->deadline.fn = deadline;
    claim->id = ++h->agent->next_id;
    claim->posted_ns = segue_now_ns();
    segue_list_init(&claim->pairs);
    /* Only the blocks that hold tokens are claimed. */
    uint32_t block_tokens = p->cache->geometry.layout.block_tokens;
    uint32_t needed = (uint32_t)(((uint64_t)group->ticket.tokens + block_tokens - 1) /
                                 block_tokens);
    SEGUE_TRY(segue_ids_set(&claim->blocks, p->opts->blocks, needed));
    SEGUE_TRY(segue_events_reserve(&h->agent->events, 2));
    enum segue_status status = segue_map_put(&h->claims, claim->id, claim);
    if (status >= 0 && (status = mark(claim)) < 0)
        segue_map_remove(&h->claims, claim->id);
    if (status < 0)
        segue_events_unreserve(&h->agent->events, 2);
    return status;
}

static enum segue_status post(struct segue_agent *agent, void *arg)
{
    struct post *p = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_group *group = h ? segue_map_get(&h->groups, p->group) : NULL;
    if (!group || group->state == SEGUE_GROUP_OVER)
        return segue_fail(SEGUE_E_NOT_FOUND, "group %llu has ended",
                          (unsigned long long)p->group);
    if (p->cache->agent != agent)
        return segue_fail(SEGUE_E_INVALID, "the cache belongs to another agent");
    SEGUE_TRY(check(p, group));
    struct segue_claim *claim;
    SEGUE_TRY(claim_new(h, &claim));
    enum segue_status status = fill(h, claim, group, p);
    if (status < 0) {
        segue_list_push_back(&h->free_claims, &claim->list);
        return status;
    }
    group->posted++;
    segue_list_push_back(&group->claims, &claim->list);
    segue_loop_timer_set(agent->loop, &claim->deadline,
                         claim->posted_ns + group->opts.timeout_ns);
    p->claim = claim;
    p->id = claim->id;
    claim->waiting = must_wait(p->opts->writable);
    if (!claim->waiting) {
        claim->writable = true;
        segue_claim_begin(claim);
    }
    return SEGUE_OK;
}

enum segue_status segue_claim_post(struct segue_agent *agent, uint64_t group,
                                   struct segue_cache *cache,
                                   const struct segue_claim_opts *opts, uint64_t *claim)
{
    struct segue_claim_opts known;
    SEGUE_TRY(segue_sized_take("struct segue_claim_opts", opts, &known, sizeof known));
    struct post p = {group, cache, &known, NULL, 0};
    SEGUE_TRY(segue_agent_call(agent, post, &p));
    *claim = p.id;
    if (!must_wait(known.writable))
        return SEGUE_OK;
    /* Captured here, on the caller's thread (D13); the claim cannot be freed while it is `waiting`. */
    enum segue_status status = segue_device_sync(known.writable->device, known.writable,
                                                 &p.claim->wait);
    if (status < 0) {
        p.claim->retired_status = status;
        segue_loop_post(agent->loop, &p.claim->retired);
    }
    return SEGUE_OK; /* how it ended is told by events: the claim exists */
}

static enum segue_status cancel(struct segue_agent *agent, void *arg)
{
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_claim *claim = h ? segue_map_get(&h->claims, *(uint64_t *)arg) : NULL;
    if (!claim)
        return segue_fail(SEGUE_E_NOT_FOUND, "claim %llu has ended",
                          (unsigned long long)*(uint64_t *)arg);
    segue_claim_judge(claim, SEGUE_VERDICT_CANCELLED, "the engine gave it up");
    return SEGUE_OK;
}

enum segue_status segue_claim_cancel(struct segue_agent *agent, uint64_t claim)
{
    return segue_agent_call(agent, cancel, &claim);
}
