/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses (R9): who may claim an offer. A use belongs to one group of one consumer engine; all ranks of that engine claim in
 * it, each cache once. It is spent by the group's END, and given back when the group fails or its engine dies, so that
 * another engine can claim with the same ticket.
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutate.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define USE_CLAIMS_MAX 1024
#define USES_ENDED_MAX 64 /* hand-offs of one offer that are known to be over */

/* What is left of the lease when a use has failed: a router tries another engine at once or not at all, and blocks that
 * nobody wants are to be free 2 s after `end`. */
#define RETRY_NS (2 * SEGUE_NS_PER_S)

static struct segue_use *find(const struct segue_list *uses, const uint8_t engine[16],
                              uint64_t id)
{
    segue_list_each (l, (struct segue_list *)(uintptr_t)uses) {
        struct segue_use *use = segue_container_of(l, struct segue_use, list);
        if (use->id == id && memcmp(use->engine, engine, sizeof use->engine) == 0)
            return use;
    }
    return NULL;
}

static struct segue_use *make(struct segue_offer *offer, const uint8_t engine[16],
                              uint64_t id, uint32_t counts)
{
    struct segue_list *kept = segue_list_pop_front(&offer->handoff->free_uses);
    struct segue_use *use = kept ? segue_container_of(kept, struct segue_use, list)
                                 : calloc(1, sizeof *use);
    if (!use)
        return NULL;
    use->offer = offer;
    use->id = id;
    use->counts = counts;
    use->state = SEGUE_USE_TAKEN;
    memcpy(use->engine, engine, sizeof use->engine);
    return use;
}

static enum segue_status take(struct segue_offer *offer, const uint8_t engine[16],
                              uint64_t id, uint32_t counts, struct segue_use **out)
{
    if (!SEGUE_MUTATED(R9) && counts > offer->left)
        return segue_fail(SEGUE_E_REFUSED,
                          "offer %llu may be claimed %u times, and has been; its ticket "
                          "went to more engines than that",
                          (unsigned long long)offer->sequence, offer->uses);
    *out = make(offer, engine, id, counts);
    if (!*out)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a use");
    segue_list_push_back(&offer->taken, &(*out)->list);
    offer->left -= counts;
    return SEGUE_OK;
}

static void keep(struct segue_use *use)
{
    struct segue_handoff *h = use->offer->handoff;
    segue_list_remove(&use->list);
    use->n_claims = 0;
    segue_list_push_back(&h->free_uses, &use->list);
}

static void over(struct segue_use *use, enum segue_use_event why)
{
    segue_step(&segue_use_machine, &use->state, why);
    if (!SEGUE_MUTATED(R9_BACK) && use->state == SEGUE_USE_BACK)
        use->offer->left += use->counts;
    keep(use);
}

static enum segue_status remember(struct segue_use *use, const struct segue_link *link,
                                  uint32_t from, uint32_t cache)
{
    for (uint32_t i = 0; i < use->n_claims; i++)
        if (use->claims[i].link == link && use->claims[i].from == from &&
            use->claims[i].cache == cache)
            return segue_fail(
                SEGUE_E_REFUSED, "cache %u of engine %s has claimed offer %llu already",
                from, link->peer.engine_id, (unsigned long long)use->offer->sequence);
    if (use->n_claims == USE_CLAIMS_MAX)
        return segue_fail(SEGUE_E_LIMIT, "one use has %d claims already", USE_CLAIMS_MAX);
    if (use->n_claims == use->cap) {
        uint32_t cap = use->cap ? 2 * use->cap : 4;
        struct segue_use_claim *more = realloc(use->claims, cap * sizeof *more);
        if (!more)
            return segue_fail(SEGUE_E_MEMORY, "no memory for the claims of a use");
        use->claims = more;
        use->cap = cap;
    }
    use->claims[use->n_claims++] = (struct segue_use_claim){link, from, cache};
    return SEGUE_OK;
}

enum segue_status segue_use_claim(struct segue_offer *offer, struct segue_link *link,
                                  const struct segue_msg_claim *m)
{
    const uint8_t *engine = link->peer.incarnation;
    if (find(&offer->over, engine, m->use))
        return segue_fail(SEGUE_E_STALE, "the hand-off of this claim has ended already");
    struct segue_use *use = find(&offer->taken, engine, m->use);
    if (use) {
        segue_step(&segue_use_machine, &use->state, SEGUE_USE_ON_CLAIM);
        return remember(use, link, m->from, m->cache);
    }
    SEGUE_TRY(take(offer, engine, m->use, m->counts, &use));
    enum segue_status status = remember(use, link, m->from, m->cache);
    if (status < 0)
        over(use, SEGUE_USE_ON_FAIL);
    return status;
}

static bool failed(uint8_t verdict)
{
    return verdict == SEGUE_VERDICT_LOST || verdict == SEGUE_VERDICT_TIMEOUT ||
           verdict == SEGUE_VERDICT_CANCELLED;
}

/* Where ranks are processes, a claim comes by another link than its group's END and may come later: a use that it took
 * then would be given back by nobody. */
static void remember_end(struct segue_offer *offer, const uint8_t engine[16], uint64_t id)
{
    struct segue_use *use = SEGUE_MUTATED(R9_LATE) ? NULL : make(offer, engine, id, 0);
    if (!use)
        return;
    segue_list_push_back(&offer->over, &use->list);
    if (++offer->n_over > USES_ENDED_MAX) {
        keep(segue_container_of(offer->over.next, struct segue_use, list));
        offer->n_over--;
    }
}

void segue_use_end(struct segue_offer *offer, const uint8_t engine[16],
                   const struct segue_msg_end *m)
{
    /* Whoever holds a crossed or forged ticket ends nobody else's offer (R3). */
    if (memcmp(&m->hash, &offer->hash, sizeof m->hash) != 0)
        return;
    struct segue_use *use = find(&offer->taken, engine, m->group);
    if (use)
        over(use, failed(m->verdict) ? SEGUE_USE_ON_FAIL : SEGUE_USE_ON_END);
    else if (!failed(m->verdict)) /* it never claimed (R10), or never could */
        offer->left -= m->counts < offer->left ? m->counts : offer->left;
    bool idle = segue_list_empty(&offer->taken);
    if (idle && offer->left == 0) {
        segue_offer_end(
            offer, m->verdict ? (enum segue_verdict)m->verdict : SEGUE_VERDICT_CANCELLED,
            "its last use is over");
        return;
    }
    remember_end(offer, engine, m->group);
    if (idle && failed(m->verdict))
        segue_offer_hurry(offer, RETRY_NS);
}

void segue_use_link_gone(struct segue_handoff *h, const struct segue_link *link)
{
    struct segue_map_cursor at = {0};
    struct segue_offer *offer;
    while ((offer = segue_map_next(&h->offers, &at, NULL)))
        segue_list_each (l, &offer->taken) {
            struct segue_use *use = segue_container_of(l, struct segue_use, list);
            uint32_t n = 0;
            for (uint32_t i = 0; i < use->n_claims; i++)
                if (use->claims[i].link != link)
                    use->claims[n++] = use->claims[i];
            use->n_claims = n;
            if (n == 0)
                over(use, SEGUE_USE_ON_DEATH);
        }
}

void segue_uses_drop(struct segue_offer *offer)
{
    segue_list_each (l, &offer->taken)
        keep(segue_container_of(l, struct segue_use, list));
    segue_list_each (l, &offer->over)
        keep(segue_container_of(l, struct segue_use, list));
}
