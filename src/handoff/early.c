/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R2 where ranks are processes: the engine mints offers and tells its ranks in order, so a consumer may be faster. A claim on
 * a sequence above the highest that this rank has adopted is not yet, and kept as the frame it came in; so is an END that the
 * endpoint has relayed. When the offer is adopted the frame is heard again; when a later one is, the claim is stale.
 */
#include "handoff/handoff.h"

#include "base/clock.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define LINK_BYTES_MAX (8u << 20) /* of kept frames of one link */

struct segue_early {
    struct segue_list list;
    struct segue_handoff *handoff;
    struct segue_link *link;
    uint64_t sequence, pair;
    struct segue_timer timer;
    struct segue_frame frame;
    uint8_t body[];
};

static void drop(struct segue_early *early)
{
    segue_loop_timer_cancel(early->handoff->agent->loop, &early->timer);
    segue_link_business(early->link, -1);
    segue_list_remove(&early->list);
    free(early);
}

static void refuse(struct segue_early *early, const char *why)
{
    if (early->pair)
        segue_serve_tell(early->handoff, early->link, early->pair, SEGUE_VERDICT_STALE, 0,
                         why);
    drop(early);
}

static void too_late(struct segue_timer *timer)
{
    refuse(segue_container_of(timer, struct segue_early, timer),
           "the offer was not made in time");
}

uint32_t segue_early_count(const struct segue_handoff *h, const struct segue_link *link)
{
    uint32_t n = 0;
    segue_list_each (l, (struct segue_list *)(uintptr_t)&h->early)
        n += segue_container_of(l, struct segue_early, list)->link == link;
    return n;
}

static uint64_t bytes_of(const struct segue_handoff *h, const struct segue_link *link)
{
    uint64_t n = 0;
    segue_list_each (l, (struct segue_list *)(uintptr_t)&h->early) {
        struct segue_early *early = segue_container_of(l, struct segue_early, list);
        n += early->link == link ? early->frame.len : 0;
    }
    return n;
}

enum segue_status segue_early_park(struct segue_handoff *h, struct segue_link *link,
                                   const struct segue_frame *frame, uint64_t sequence,
                                   uint64_t pair)
{
    struct segue_peer *peer = segue_peer_of(link);
    if (!peer)
        return SEGUE_E_MEMORY;
    if (peer->serves.count + segue_early_count(h, link) >= h->agent->opts.peer_claims ||
        bytes_of(h, link) + frame->len > LINK_BYTES_MAX)
        return segue_fail(SEGUE_E_LIMIT, "this peer has %u claims parked already",
                          segue_early_count(h, link));
    segue_list_each (l, &h->early) {
        struct segue_early *other = segue_container_of(l, struct segue_early, list);
        if (pair && other->link == link && other->pair == pair)
            return segue_fail(SEGUE_E_LIMIT, "claim %llu is parked already",
                              (unsigned long long)pair);
    }
    struct segue_early *early = calloc(1, sizeof *early + frame->len);
    if (!early)
        return segue_fail(SEGUE_E_MEMORY, "no memory to park a claim");
    early->handoff = h;
    early->link = link;
    early->sequence = sequence;
    early->pair = pair;
    early->timer.fn = too_late;
    memcpy(early->body, frame->body, frame->len);
    early->frame = (struct segue_frame){.service = frame->service,
                                        .type = frame->type,
                                        .body = early->body,
                                        .len = frame->len};
    segue_link_business(link, +1);
    segue_list_push_back(&h->early, &early->list);
    segue_loop_timer_set(h->agent->loop, &early->timer,
                         segue_now_ns() + h->agent->opts.park_ns);
    return SEGUE_OK;
}

void segue_early_adopted(struct segue_handoff *h, uint64_t sequence)
{
    segue_list_each (l, &h->early) {
        struct segue_early *early = segue_container_of(l, struct segue_early, list);
        if (early->sequence > sequence)
            continue;
        if (early->sequence < sequence) {
            refuse(early, "the offer was passed over");
            continue;
        }
        /* What it may fail with was the peer's fault when it came: it ends the link as it would have then. */
        if (segue_handoff_frame(h, early->link, &early->frame) < 0)
            segue_link_close(early->link, segue_error_detail());
        drop(early);
    }
}

void segue_early_cancel(struct segue_handoff *h, const struct segue_link *link,
                        uint64_t pair)
{
    segue_list_each (l, &h->early) {
        struct segue_early *early = segue_container_of(l, struct segue_early, list);
        if (early->link == link && early->pair == pair)
            drop(early);
    }
}

void segue_early_gone(struct segue_handoff *h, const struct segue_link *link)
{
    segue_list_each (l, &h->early) {
        struct segue_early *early = segue_container_of(l, struct segue_early, list);
        if (early->link == link)
            drop(early);
    }
}
