/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a producer's caches a claim needs, and the links to those that other agents of its engine have: made on need, and
 * only to ranks whose layers and heads overlap the consumer's (R17). */
#include "handoff/handoff.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Among replicas of the same heads and layers the first one serves (GQA and MLA under TP). */
static bool covered(const struct segue_cover *cover, const struct segue_overlap *o)
{
    for (size_t i = 0; i < cover->n; i++)
        if (cover->have[i].layer_first == o->layer_first &&
            cover->have[i].layers == o->layers &&
            cover->have[i].head_first == o->head_first &&
            cover->have[i].heads == o->heads)
            return true;
    return false;
}

enum segue_status segue_cover_add(struct segue_cover *cover,
                                  const struct segue_geometry *theirs, bool *needed)
{
    const struct segue_geometry *ours = cover->ours;
    struct segue_overlap o;
    *needed = false;
    if (theirs->group != ours->group)
        return SEGUE_OK;
    if (theirs->heads_total != ours->heads_total ||
        theirs->layers_total != ours->layers_total)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the producer's model has %u layers and %u KV heads, the "
                          "consumer's %u and %u",
                          theirs->layers_total, theirs->heads_total, ours->layers_total,
                          ours->heads_total);
    if (!segue_overlap_of(theirs, ours, &o) || covered(cover, &o))
        return SEGUE_OK;
    if (cover->n == SEGUE_PAIRS_MAX)
        return segue_fail(SEGUE_E_LIMIT,
                          "the claim overlaps more than %d producer caches",
                          SEGUE_PAIRS_MAX);
    cover->have[cover->n++] = o;
    cover->area += (uint64_t)o.layers * o.heads;
    *needed = true;
    return SEGUE_OK;
}

/* ---- links ---- */

static void begin_claims(struct segue_group *group)
{
    group->held++;
    segue_list_each (l, &group->claims)
        segue_claim_begin(segue_container_of(l, struct segue_claim, list));
    group->held--;
    segue_group_settle(group);
}

static void failed(struct segue_source *source, enum segue_status status, const char *why)
{
    struct segue_group *group = source->group;
    if (segue_may(&segue_group_machine, group->state, SEGUE_GROUP_ON_FAIL))
        segue_group_fail(group,
                         status == SEGUE_E_TIMEOUT ? SEGUE_VERDICT_LOST
                                                   : segue_verdict_of(status),
                         why);
}

static void asked(struct segue_caches_wait *wait, enum segue_status status)
{
    struct segue_source *source = segue_container_of(wait, struct segue_source,
                                                     caches_wait);
    source->asking = false;
    if (status < 0) {
        failed(source, status, wait->why);
        return;
    }
    source->caches = wait->caches;
    source->n = wait->n;
    source->ready = true;
    begin_claims(source->group);
}

static void dialled(struct segue_link_wait *wait, enum segue_status status)
{
    struct segue_source *source = segue_container_of(wait, struct segue_source,
                                                     link_wait);
    source->dialling = false;
    if (status < 0) {
        failed(source, status, wait->why);
        return;
    }
    source->link = wait->link;
    segue_link_business(source->link, +1);
    source->asking = true;
    source->caches_wait = (struct segue_caches_wait){.done = asked};
    segue_caches_get(source->link, &source->caches_wait);
}

static struct segue_source *find(const struct segue_group *group, const char *address)
{
    segue_list_each (l, (struct segue_list *)(uintptr_t)&group->sources) {
        struct segue_source *source = segue_container_of(l, struct segue_source, list);
        if (strcmp(source->address, address) == 0)
            return source;
    }
    return NULL;
}

static enum segue_status source_new(struct segue_group *group, const char *address,
                                    struct segue_source **out)
{
    struct segue_source *source = calloc(1, sizeof *source);
    if (!source)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a rank of the producer");
    source->group = group;
    snprintf(source->address, sizeof source->address, "%s", address);
    segue_list_push_back(&group->sources, &source->list);
    *out = source;
    return SEGUE_OK;
}

/* The answer may come inside the call, and end the group. */
static void dial(struct segue_source *source)
{
    struct segue_group *group = source->group;
    source->dialling = true;
    source->link_wait = (struct segue_link_wait){.done = dialled};
    segue_link_get(group->handoff->agent, source->address, group->ticket.id.incarnation,
                   &source->link_wait);
}

enum segue_status segue_sources_reach(struct segue_group *group,
                                      const struct segue_geometry *ours)
{
    struct segue_cover cover = {.ours = ours};
    struct segue_source *fresh[SEGUE_PAIRS_MAX];
    size_t n_fresh = 0;
    bool needed, waits = false;
    for (size_t i = 0; i < group->n_caches; i++)
        if (!group->caches[i].gone)
            SEGUE_TRY(segue_cover_add(&cover, &group->caches[i].geometry, &needed));
    for (size_t i = 0; i < group->n_members; i++) {
        SEGUE_TRY(segue_cover_add(&cover, &group->members[i].window, &needed));
        if (!needed)
            continue;
        struct segue_source *source = find(group, group->members[i].address);
        if (!source) {
            SEGUE_TRY(source_new(group, group->members[i].address, &source));
            fresh[n_fresh++] = source;
        }
        waits |= !source->ready;
    }
    group->held++;
    for (size_t i = 0; i < n_fresh && group->state == SEGUE_GROUP_READY; i++)
        dial(fresh[i]);
    group->held--;
    return waits ? SEGUE_IN_PROGRESS : SEGUE_OK;
}

static void let_go(struct segue_source *source)
{
    if (source->dialling)
        segue_link_wait_cancel(&source->link_wait);
    if (source->asking)
        segue_caches_wait_cancel(&source->caches_wait);
    if (source->link)
        segue_link_business(source->link, -1);
    segue_list_remove(&source->list);
    free(source);
}

bool segue_sources_lost(struct segue_group *group, const struct segue_link *link)
{
    segue_list_each (l, &group->sources) {
        struct segue_source *source = segue_container_of(l, struct segue_source, list);
        if (source->link == link) {
            let_go(source);
            return true;
        }
    }
    return false;
}

void segue_sources_drop(struct segue_group *group)
{
    segue_list_each (l, &group->sources)
        let_go(segue_container_of(l, struct segue_source, list));
}
