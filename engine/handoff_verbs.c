/* SPDX-License-Identifier: Apache-2.0 */
/* The connector's verbs: the scheduler's wishes as offers, groups and claims. */
#include "fail.h"
#include "handoff_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void handoff_prompt_hash(const struct connector_prompt *prompt,
                         struct segue_prompt_hash *out)
{
    /* What else changes the KV (R3). The model is held against the producer's by itself,
     * so that a misfit names both. */
    const char *extra = prompt->salt ? prompt->salt : "";
    _Static_assert(sizeof(int32_t) == sizeof *prompt->tokens, "token ids are 32 bit");
    segue_prompt_hash((const int32_t *)prompt->tokens, prompt->count, extra, out);
}

static int refuse(void)
{
    engine_fail("%s", segue_error_detail());
    return -1;
}

/* ---- decode ---- */

static int arrive(void *connector, uint64_t request,
                  const struct connector_prompt *prompt)
{
    struct handoff *h = connector;
    struct segue_ticket ticket;
    if (segue_ticket_params_read(prompt->params, strlen(prompt->params), &ticket) < 0)
        return refuse();
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.ranks = h->opts.tp;
    opts.tokens = prompt->count;
    opts.siblings = prompt->answers;
    opts.digest = h->opts.digest;
    handoff_prompt_hash(prompt, &opts.hash);
    if (h->opts.corrupt == HANDOFF_CROSS) /* as if two tickets had been crossed */
        opts.hash.bytes[0] ^= 1;
    struct handoff_item *item = handoff_item_add(h, request, prompt);
    if (!item)
        return -1;
    memcpy(item->peer, ticket.engine_id, sizeof item->peer);
    opts.user = item;
    /* Under the lock: a group that ends at once is told only after its number is known here. */
    pthread_mutex_lock(&h->lock);
    enum segue_status status = segue_group_open(h->agent, &ticket, &opts, &item->group);
    if (status < 0)
        handoff_item_drop(h, item);
    uint64_t group = status < 0 ? 0 : item->group;
    pthread_mutex_unlock(&h->lock);
    if (status < 0)
        return refuse();
    (void)segue_group_hold(h->agent, group); /* one that has ended says so in its event */
    return 0;
}

/* Takes over the lock. */
static int answer_early(struct handoff *h, struct handoff_item *item)
{
    struct handoff_item had = *item;
    handoff_report_add(h, item);
    handoff_item_drop(h, item);
    pthread_mutex_unlock(&h->lock);
    scheduler_loaded(h->scheduler, had.request, had.verdict, had.detail);
    scheduler_released(h->scheduler, had.request);
    return 0;
}

/* For a working set, which takes them in once they were loaded. */
static int keep_blocks(const struct handoff *h, struct handoff_item *item,
                       const uint32_t *blocks, uint32_t count, uint32_t first)
{
    if (!h->ranks[0].set)
        return 0;
    item->first = first;
    item->blocks = malloc(count * sizeof *blocks);
    if (!item->blocks)
        return engine_fail("no memory for a hand-off of %u blocks", count);
    memcpy(item->blocks, blocks, count * sizeof *blocks);
    return 0;
}

static int load(void *connector, uint64_t request, const struct connector_prompt *prompt,
                const uint32_t *blocks, uint32_t block_count, uint32_t first)
{
    struct handoff *h = connector;
    struct segue_claim_opts opts = SEGUE_CLAIM_OPTS_INIT;
    opts.blocks = blocks;
    opts.n_blocks = block_count;
    opts.first = first;
    pthread_mutex_lock(&h->lock);
    struct handoff_item *item = handoff_item_find(h, request);
    enum segue_status status = SEGUE_OK;
    if (!item) {
        pthread_mutex_unlock(&h->lock);
        engine_fail("the hand-off has ended");
        return -1;
    }
    if (item->judged) /* it came to nothing while the request waited */
        return answer_early(h, item);
    opts.user = item;
    if (keep_blocks(h, item, blocks, block_count, first) != 0) {
        pthread_mutex_unlock(&h->lock);
        return -1;
    }
    item->loading = true;
    for (uint32_t r = 0; r < h->opts.tp && status >= 0; r++) {
        uint64_t claim;
        status = segue_claim_post(h->agent, item->group, h->ranks[r].cache, &opts,
                                  &claim);
        if (status >= 0)
            item->posted++;
    }
    bool none = item->posted == 0;
    if (none)
        item->loading = false;
    uint64_t group = item->group;
    pthread_mutex_unlock(&h->lock);
    if (status >= 0)
        return 0;
    refuse();
    if (none)
        return -1;
    (void)segue_group_close(
        h->agent, group); /* some ranks were posted: their events bring the answers */
    return 0;
}

static void leave(void *connector, uint64_t request)
{
    struct handoff *h = connector;
    pthread_mutex_lock(&h->lock);
    struct handoff_item *item = handoff_item_find(h, request);
    uint64_t group = item && !item->offers ? item->group : 0;
    if (group)
        item->left = true;
    if (group && item->judged && item->released == item->posted) {
        handoff_item_drop(h, item);
        group = 0;
    }
    pthread_mutex_unlock(&h->lock);
    if (group)
        (void)segue_group_close(h->agent, group);
}

/* The ticket is claimed by nobody: its own hash fits, and the group ends without claims (R10). */
static void drop(void *connector, const char *params)
{
    struct handoff *h = connector;
    struct segue_ticket ticket;
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    uint64_t group;
    if (segue_ticket_params_read(params, strlen(params), &ticket) < 0)
        return;
    opts.ranks = h->opts.tp;
    opts.tokens = ticket.tokens;
    opts.siblings = ticket.uses;
    opts.hash = ticket.hash;
    if (segue_group_open(h->agent, &ticket, &opts, &group) >= 0)
        (void)segue_group_close(h->agent, group);
}

/* ---- prefill ---- */

static int write_params(struct handoff *h, const struct handoff_item *item, char **params)
{
    struct segue_ticket ticket;
    char text[2048];
    size_t len;
    struct segue_params_extra extra = {.request_id = item->name[0] ? item->name : NULL,
                                       .host = h->host,
                                       .port = h->port,
                                       .tp_size = h->opts.tp};
    if (segue_offer_ticket(h->agent, &item->offer, &ticket) < 0 ||
        segue_ticket_params_write(&ticket, &extra, text, sizeof text, &len) < 0)
        return refuse();
    *params = strdup(text);
    if (!*params)
        engine_fail("no memory for kv_transfer_params");
    return *params ? 0 : -1;
}

/* From the working set: consumers read the device's memory. */
static int put_out(struct handoff *h, struct handoff_item *item, const uint32_t *blocks)
{
    for (uint32_t r = 0; r < h->opts.tp && h->ranks[r].set; r++)
        if (workset_push(h->ranks[r].set, blocks, item->tokens, &item->engine_bytes) != 0)
            return -1;
    return 0;
}

static int offer(void *connector, uint64_t request, const struct connector_prompt *prompt,
                 const uint32_t *blocks, uint32_t block_count, char **params)
{
    struct handoff *h = connector;
    struct handoff_item *item = handoff_item_add(h, request, prompt);
    if (!item)
        return -1;
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = prompt->count;
    opts.uses = prompt->answers;
    opts.user = item;
    handoff_prompt_hash(prompt, &opts.hash);
    item->offers = true;
    item->began_ns = now_ns();
    if (put_out(h, item, blocks) != 0) {
        pthread_mutex_lock(&h->lock);
        handoff_item_drop(h, item);
        pthread_mutex_unlock(&h->lock);
        return -1;
    }
    pthread_mutex_lock(&h->lock); /* its end is told only after it is whole here */
    enum segue_status status = segue_offer_mint(h->agent, &opts, &item->offer);
    if (status < 0) {
        handoff_item_drop(h, item);
        pthread_mutex_unlock(&h->lock);
        return refuse();
    }
    for (uint32_t r = 0; r < h->opts.tp && status >= 0; r++)
        status = segue_offer_create(h->ranks[r].cache, &item->offer, blocks, block_count,
                                    NULL);
    int bad = status < 0 ? refuse() : write_params(h, item, params);
    item->made_ns = now_ns();
    if (!bad)
        handoff_report_add(h, item);
    struct segue_offer_id id = item->offer;
    pthread_mutex_unlock(&h->lock);
    if (!bad)
        return 0;
    /* The scheduler hears of no offer; the one half made ends by itself. */
    pthread_mutex_lock(&h->lock);
    item->request = 0;
    pthread_mutex_unlock(&h->lock);
    (void)segue_offer_revoke(h->agent, &id);
    return -1;
}

const struct connector_ops handoff_connector = {
    .arrive = arrive, .load = load, .leave = leave, .drop = drop, .offer = offer};
