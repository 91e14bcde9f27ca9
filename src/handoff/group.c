/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: one consumer engine's use of one offer. A group dials the producer, learns its caches, lets its claims go, and
 * says `end` when the last has its verdict (R8), so that the producer's blocks come back at once.
 */
#include "handoff/handoff.h"
#include "handoff/ticket.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutate.h"
#include "base/sized.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- end ---- */

static void send_offer(struct segue_group *group, enum segue_handoff_frame type)
{
    struct segue_handoff *h = group->handoff;
    struct segue_writer w = segue_writer_make(h->frame, SEGUE_FRAME_MAX);
    if (type == SEGUE_FRAME_END) {
        struct segue_msg_end m = {
            .offer = group->ticket.id,
            .group = group->id,
            .verdict = (uint8_t)(group->posted ? group->verdict : SEGUE_VERDICT_NONE),
            .hash = group->ticket.hash,
            .counts = group->opts.siblings};
        segue_end_write(&w, &m);
    } else {
        segue_offer_id_write(&w, &group->ticket.id);
    }
    segue_link_send(group->link, SEGUE_SERVICE_HANDOFF, (uint8_t)type, h->frame,
                    (uint32_t)w.len, NULL, 0);
}

static void finish(struct segue_group *group)
{
    struct segue_handoff *h = group->handoff;
    if (group->state == SEGUE_GROUP_ASKING)
        segue_caches_wait_cancel(&group->caches_wait);
    segue_step(&segue_group_machine, &group->state, SEGUE_GROUP_ON_FINISH);
    if (group->verdict == SEGUE_VERDICT_NONE)
        group->verdict = group->posted ? SEGUE_VERDICT_VALID : SEGUE_VERDICT_CANCELLED;
    segue_loop_timer_cancel(h->agent->loop, &group->renew);
    segue_sources_drop(group);
    if (group->link) {
        if (!group->opts.use) /* else the engine's endpoint ends it */
            send_offer(group, SEGUE_FRAME_END);
        segue_link_business(group->link, -1);
        group->link = NULL;
    }
    struct segue_event event = {.type = SEGUE_EVENT_GROUP,
                                .verdict = group->verdict,
                                .id = group->id,
                                .user = group->opts.user};
    memcpy(event.detail, group->why, sizeof event.detail);
    segue_events_push(&h->agent->events, &event);
}

void segue_group_settle(struct segue_group *group)
{
    if (group->held)
        return;
    bool all = group->judged == group->posted &&
               (group->closed || group->posted == group->opts.ranks);
    /* While it dials there is nobody to tell that the use is over: the dial has a deadline. */
    if (all && segue_may(&segue_group_machine, group->state, SEGUE_GROUP_ON_FINISH))
        finish(group);
    if (group->state != SEGUE_GROUP_OVER || !segue_list_empty(&group->claims))
        return;
    struct segue_handoff *h = group->handoff;
    segue_map_remove(&h->groups, group->id);
    h->live--;
    free(group);
}

void segue_group_judged(struct segue_group *group, struct segue_claim *claim,
                        enum segue_verdict verdict, const char *why)
{
    group->judged++;
    if (verdict != SEGUE_VERDICT_VALID && group->verdict == SEGUE_VERDICT_NONE) {
        group->verdict = verdict;
        snprintf(group->why, sizeof group->why, "%s", why);
    }
}

void segue_group_stop(struct segue_group *group, enum segue_verdict verdict,
                      const char *why)
{
    group->held++;
    group->closed = true;
    if (group->verdict == SEGUE_VERDICT_NONE && group->judged < group->posted)
        group->verdict = verdict;
    segue_list_each (l, &group->claims)
        segue_claim_judge(segue_container_of(l, struct segue_claim, list), verdict, why);
    group->held--;
    segue_group_settle(group);
}

void segue_group_fail(struct segue_group *group, enum segue_verdict verdict,
                      const char *why)
{
    segue_step(&segue_group_machine, &group->state, SEGUE_GROUP_ON_FAIL);
    group->verdict = verdict;
    snprintf(group->why, sizeof group->why, "%s", why);
    group->held++;
    segue_list_each (l, &group->claims)
        segue_claim_judge(segue_container_of(l, struct segue_claim, list), verdict, why);
    group->held--;
    segue_group_settle(group);
}

void segue_group_lost(struct segue_group *group, struct segue_link *link, const char *why)
{
    if (group->link == link) {
        if (group->state == SEGUE_GROUP_ASKING)
            segue_caches_wait_cancel(&group->caches_wait);
        group->link = NULL;
    } else if (!segue_sources_lost(group, link)) {
        return;
    }
    if (group->state == SEGUE_GROUP_FAILED) /* it waits for its claims, to judge them */
        return;
    segue_group_fail(group, SEGUE_VERDICT_LOST, why);
}

/* ---- first contact ---- */

static void asked(struct segue_caches_wait *wait, enum segue_status status)
{
    struct segue_group *group = segue_container_of(wait, struct segue_group, caches_wait);
    if (status < 0) {
        segue_group_fail(group, segue_verdict_of(status), wait->why);
        return;
    }
    group->caches = wait->caches;
    group->n_caches = wait->n;
    group->members = wait->members;
    group->n_members = wait->n_members;
    segue_step(&segue_group_machine, &group->state, SEGUE_GROUP_ON_TOLD);
    group->held++;
    segue_list_each (l, &group->claims)
        segue_claim_begin(segue_container_of(l, struct segue_claim, list));
    group->held--;
    segue_group_settle(group);
}

static void dialled(struct segue_link_wait *wait, enum segue_status status);

static void dial(struct segue_group *group, const char *address)
{
    group->link_wait = (struct segue_link_wait){.done = dialled};
    segue_link_get(group->handoff->agent, address, group->ticket.id.incarnation,
                   &group->link_wait);
}

static void dialled(struct segue_link_wait *wait, enum segue_status status)
{
    struct segue_group *group = segue_container_of(wait, struct segue_group, link_wait);
    const char *other = group->other_address;
    group->other_address = NULL;
    if (status < 0 && other) {
        SEGUE_LOG(INFO, "handoff", "%s; trying %s", wait->why, other);
        dial(group, other);
        return;
    }
    if (status < 0) {
        /* Nobody there within the deadline: the producer is gone as far as this hand-off goes. */
        segue_group_fail(group,
                         status == SEGUE_E_TIMEOUT ? SEGUE_VERDICT_LOST
                                                   : segue_verdict_of(status),
                         wait->why);
        return;
    }
    group->link = wait->link;
    segue_link_business(group->link, +1);
    segue_step(&segue_group_machine, &group->state, SEGUE_GROUP_ON_LINKED);
    if (group->holding)
        send_offer(group, SEGUE_FRAME_HOLD);
    /* Nobody will claim, or not through this agent: all there is to do is to hold, and to say how it ended. */
    if (group->closed || !segue_caches_any(group->handoff->agent)) {
        segue_step(&segue_group_machine, &group->state, SEGUE_GROUP_ON_TOLD);
        segue_group_settle(group);
        return;
    }
    group->caches_wait = (struct segue_caches_wait){.done = asked};
    segue_caches_get(group->link, &group->caches_wait);
}

static void renew(struct segue_timer *timer)
{
    struct segue_group *group = segue_container_of(timer, struct segue_group, renew);
    struct segue_agent *agent = group->handoff->agent;
    if (group->link && group->holding)
        send_offer(group, SEGUE_FRAME_HOLD);
    if (group->link)
        segue_list_each (c, &group->claims)
            segue_list_each (p, &segue_container_of(c, struct segue_claim, list)->pairs)
                segue_pair_renew(segue_container_of(p, struct segue_pair, list));
    segue_loop_timer_set(agent->loop, timer, segue_now_ns() + agent->opts.renew_ns);
}

/* ---- calls ---- */

struct open {
    const struct segue_ticket *ticket;
    const struct segue_group_opts *opts;
    uint64_t *id;
};

static enum segue_status open_group(struct segue_agent *agent, void *arg)
{
    struct open *o = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    if (!h)
        return SEGUE_E_MEMORY;
    struct segue_ticket_places places;
    SEGUE_TRY(segue_ticket_check(agent, o->ticket, &places));
    SEGUE_TRY(segue_events_reserve(&agent->events, 1));
    struct segue_group *group = calloc(1, sizeof *group);
    uint64_t id = ++agent->next_id;
    if (!group || segue_map_put(&h->groups, id, group) < 0) {
        free(group);
        segue_events_unreserve(&agent->events, 1);
        return segue_fail(SEGUE_E_MEMORY, "no memory for a group");
    }
    group->handoff = h;
    group->id = id;
    group->ticket = *o->ticket;
    group->opts = *o->opts;
    if (group->opts.ranks == 0)
        group->opts.ranks = 1;
    /* A prefill that was not told of siblings made one use for all of them. */
    if (group->opts.siblings == 0)
        group->opts.siblings = 1;
    if (group->opts.siblings > group->ticket.uses)
        group->opts.siblings = group->ticket.uses;
    if (group->opts.timeout_ns == 0)
        group->opts.timeout_ns = agent->opts.claim_ns;
    segue_list_init(&group->claims);
    segue_list_init(&group->sources);
    group->renew.fn = renew;
    segue_loop_timer_set(agent->loop, &group->renew,
                         segue_now_ns() + agent->opts.renew_ns);
    h->live++;
    *o->id = id;
    group->held++; /* the application has its id before the group can end */
    if (places.n > 1)
        group->other_address = group->ticket.network;
    dial(group, places.address[0]);
    group->held--;
    return SEGUE_OK;
}

enum segue_status segue_group_open(struct segue_agent *agent,
                                   const struct segue_ticket *ticket,
                                   const struct segue_group_opts *opts, uint64_t *group)
{
    struct segue_group_opts known;
    SEGUE_TRY(segue_sized_take("struct segue_group_opts", opts, &known, sizeof known));
    if (known.tokens != ticket->tokens)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the request has %u prompt tokens, the ticket's prompt %u",
                          known.tokens, ticket->tokens);
    if (!SEGUE_MUTATED(R3_TICKET) &&
        memcmp(&known.hash, &ticket->hash, sizeof known.hash) != 0)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the ticket is for another prompt than the request's");
    return segue_agent_call(agent, open_group, &(struct open){ticket, &known, group});
}

static struct segue_group *find(struct segue_agent *agent, uint64_t id)
{
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_group *group = h ? segue_map_get(&h->groups, id) : NULL;
    if (!group || group->state == SEGUE_GROUP_OVER) {
        segue_fail(SEGUE_E_NOT_FOUND, "group %llu has ended", (unsigned long long)id);
        return NULL;
    }
    return group;
}

static enum segue_status close_group(struct segue_agent *agent, void *arg)
{
    struct segue_group *group = find(agent, *(uint64_t *)arg);
    if (!group)
        return SEGUE_E_NOT_FOUND;
    segue_group_stop(group, SEGUE_VERDICT_CANCELLED, "the engine gave it up");
    return SEGUE_OK;
}

enum segue_status segue_group_close(struct segue_agent *agent, uint64_t group)
{
    return segue_agent_call(agent, close_group, &group);
}

static enum segue_status hold_group(struct segue_agent *agent, void *arg)
{
    struct segue_group *group = find(agent, *(uint64_t *)arg);
    if (!group)
        return SEGUE_E_NOT_FOUND;
    group->holding = group->posted == 0;
    if (group->link && group->holding)
        send_offer(group, SEGUE_FRAME_HOLD);
    return SEGUE_OK;
}

enum segue_status segue_group_hold(struct segue_agent *agent, uint64_t group)
{
    return segue_agent_call(agent, hold_group, &group);
}

/* ---- ranks that are processes ---- */

struct report {
    uint64_t group;
    enum segue_verdict verdict;
    const char *detail;
};

static enum segue_status report_group(struct segue_agent *agent, void *arg)
{
    struct report *r = arg;
    struct segue_group *group = find(agent, r->group);
    if (!group)
        return SEGUE_E_NOT_FOUND;
    if (r->verdict == SEGUE_VERDICT_NONE || group->posted == group->opts.ranks)
        return segue_fail(SEGUE_E_INVALID, "the group has %u ranks, and each one verdict",
                          group->opts.ranks);
    group->holding = false;
    group->posted++;
    segue_group_judged(group, NULL, r->verdict, r->detail);
    segue_group_settle(group);
    return SEGUE_OK;
}

enum segue_status segue_group_report(struct segue_agent *agent, uint64_t group,
                                     enum segue_verdict verdict, const char *detail)
{
    return segue_agent_call(agent, report_group,
                            &(struct report){group, verdict, detail ? detail : ""});
}
