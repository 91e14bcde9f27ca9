/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's life inside the engine, and its events turned into the scheduler's answers. */
#include "fail.h"
#include "handoff_inside.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- items ---- */

struct handoff_item *handoff_item_find(struct handoff *h, uint64_t request)
{
    for (struct handoff_item *i = h->items.next; i != &h->items; i = i->next)
        if (i->request == request)
            return i;
    return NULL;
}

struct handoff_item *handoff_item_add(struct handoff *h, uint64_t request,
                                      const struct connector_prompt *prompt)
{
    struct handoff_item *item = calloc(1, sizeof *item);
    if (!item) {
        engine_fail("no memory for a hand-off");
        return NULL;
    }
    item->request = request;
    item->tokens = prompt->count;
    snprintf(item->name, sizeof item->name, "%s", prompt->name ? prompt->name : "");
    pthread_mutex_lock(&h->lock);
    item->next = &h->items;
    item->prev = h->items.prev;
    item->prev->next = item->next->prev = item;
    pthread_mutex_unlock(&h->lock);
    return item;
}

void handoff_item_drop(struct handoff *h, struct handoff_item *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    free(item->blocks);
    free(item);
}

/* ---- events ---- */

static void add_report(struct segue_claim_report *to,
                       const struct segue_claim_report *from)
{
    if (!to->path[0])
        memcpy(to->path, from->path, sizeof to->path);
    to->bytes_expected += from->bytes_expected;
    to->bytes_moved += from->bytes_moved;
    to->bytes_staged += from->bytes_staged;
    to->bytes_digest += from->bytes_digest;
    to->digest_producer += from->digest_producer;
    to->digest_consumer += from->digest_consumer;
    to->wait_ns = from->wait_ns > to->wait_ns ? from->wait_ns : to->wait_ns;
    to->copy_ns = from->copy_ns > to->copy_ns ? from->copy_ns : to->copy_ns;
    to->commit_ns = from->commit_ns > to->commit_ns ? from->commit_ns : to->commit_ns;
}

/* Into the working set, while nobody else has the blocks: released is told only after this. */
static int take_in(struct handoff *h, struct handoff_item *item)
{
    for (uint32_t r = 0; r < h->opts.tp && h->ranks[r].set; r++)
        if (workset_pull(h->ranks[r].set, item->blocks, item->first, item->tokens,
                         &item->engine_bytes) != 0)
            return -1;
    return 0;
}

static void on_event(struct handoff *h, const struct segue_event *event)
{
    struct handoff_item *item = event->user;
    if (!item) /* a group that was dropped */
        return;
    uint64_t request = item->request;
    bool loaded = false, released = false, ended = false;
    enum segue_verdict verdict = event->verdict;
    char detail[256];
    memcpy(detail, event->detail, sizeof detail);
    if (event->type == SEGUE_EVENT_GROUP && verdict == SEGUE_VERDICT_VALID &&
        take_in(h, item) != 0) {
        verdict = SEGUE_VERDICT_LOST;
        snprintf(detail, sizeof detail, "%s", engine_error());
    }
    pthread_mutex_lock(&h->lock);
    switch (event->type) {
    case SEGUE_EVENT_VERDICT:
        add_report(&item->report, &event->report);
        break;
    case SEGUE_EVENT_RELEASED:
        item->released++;
        break;
    case SEGUE_EVENT_GROUP:
        item->judged = loaded = true;
        item->verdict = verdict;
        memcpy(item->detail, detail, sizeof item->detail);
        if (item->loading)
            handoff_report_add(h, item);
        break;
    case SEGUE_EVENT_OFFER_ENDED:
        item->verdict = event->verdict;
        ended = true;
        break;
    }
    bool loading = item->loading;
    released = item->judged && item->released == item->posted;
    if (ended ||
        (released && (loading || item->left))) /* else load or leave is still to come */
        handoff_item_drop(h, item);
    pthread_mutex_unlock(&h->lock);
    if (loaded && loading)
        scheduler_loaded(h->scheduler, request, verdict, detail);
    if (released && loading)
        scheduler_released(h->scheduler, request);
    if (ended)
        scheduler_offer_ended(h->scheduler, request);
}

static void *serve(void *arg)
{
    struct handoff *h = arg;
    struct pollfd fds[2] = {{segue_agent_fd(h->agent), POLLIN, 0},
                            {h->stop_fd, POLLIN, 0}};
    while (!(fds[1].revents & POLLIN)) {
        struct segue_event event;
        while (segue_event_next(h->agent, &event) == SEGUE_OK)
            on_event(h, &event);
        poll(fds, 2, -1);
    }
    return NULL;
}

/* ---- life ---- */

static int fail_segue(const char *what)
{
    engine_fail("%s: %s", what, segue_error_detail());
    return -1;
}

static const char *const order_names[CACHE_ORDERS] = {"LBHNC", "LBNHC", "LHBNC",
                                                      "BLHNC", "BLNHC", "BHLNC"};
static const enum segue_dtype dtypes[CACHE_DTYPES] = {
    SEGUE_DTYPE_FP32, SEGUE_DTYPE_FP16, SEGUE_DTYPE_BF16, SEGUE_DTYPE_FP8_E4M3,
    SEGUE_DTYPE_FP8_E5M2};

static int open_base(struct handoff *h, struct handoff_rank *rank, struct cache *cache)
{
    void *view;
    enum segue_status status = segue_device_view(h->device, rank->address, cache->size,
                                                 &view);
    if (status == SEGUE_E_UNSUPPORTED)
        return workset_open(&rank->set, cache, h->device, rank->address);
    if (status < 0)
        return fail_segue("the KV cache");
    cache->base = view;
    return 0;
}

static int open_rank(struct handoff *h, uint32_t r, struct cache *cache)
{
    const struct cache_shape *shape = &cache->shape;
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    struct handoff_rank *rank = &h->ranks[r];
    if (segue_alloc(h->device, cache->size, &rank->address) < 0)
        return fail_segue("the KV cache");
    if (open_base(h, rank, cache) != 0)
        return -1;
    if (segue_region_register(h->agent, h->device, rank->address, cache->size,
                              &rank->region) < 0)
        return fail_segue("the KV cache");
    if (segue_layout_named(order_names[shape->order], dtypes[shape->dtype], shape->layers,
                           shape->blocks, shape->block_tokens, shape->kv_heads,
                           shape->head_dim, &opts.layout) < 0)
        return fail_segue("the KV cache");
    opts.model = h->model;
    opts.convention = "rope:half";
    opts.rank = r;
    opts.ranks = h->opts.tp;
    opts.layers_total = h->opts.layers;
    opts.head_first = r * h->opts.kv_heads / h->opts.tp; /* replicas share one */
    opts.heads_total = h->opts.kv_heads;
    opts.region = rank->region;
    return segue_cache_open(h->agent, &opts, &rank->cache) < 0
               ? fail_segue("the KV cache")
               : 0;
}

int handoff_open(struct handoff **out, const struct handoff_opts *opts,
                 struct cache *caches)
{
    struct handoff *h = calloc(1, sizeof *h);
    if (h) {
        h->ranks = calloc(opts->tp, sizeof *h->ranks);
        h->reports = calloc(HANDOFF_REPORTS, sizeof *h->reports);
    }
    if (!h || !h->ranks || !h->reports) {
        engine_fail("no memory for %u ranks", opts->tp);
        handoff_close(h);
        return -1;
    }
    h->opts = *opts;
    h->block_tokens = caches[0].shape.block_tokens;
    h->stop_fd = -1;
    snprintf(h->model, sizeof h->model, "%s", opts->model);
    h->items.next = h->items.prev = &h->items;
    pthread_mutex_init(&h->lock, NULL);
    struct segue_agent_opts agent = SEGUE_AGENT_OPTS_INIT;
    agent.engine_id = opts->engine_id;
    agent.ipc_dir = opts->ipc_dir;
    agent.require = opts->require;
    agent.exclude = opts->exclude;
    agent.key = opts->network.key;
    agent.listen = opts->network.listen;
    agent.advertise = opts->network.advertise;
    agent.encrypt = opts->network.encrypt;
    agent.insecure = opts->network.insecure;
    agent.mover_threads = opts->mover_threads;
    agent.fault = opts->corrupt == HANDOFF_FLIP   ? "* arrived#* flip"
                  : opts->corrupt == HANDOFF_SWAP ? "* named#* swap"
                                                  : opts->fault;
    int bad = segue_agent_create(&agent, &h->agent) < 0 ? fail_segue("the agent") : 0;
    if (!bad && segue_device_find(h->agent, opts->device, &h->device) < 0)
        bad = fail_segue("the device");
    for (uint32_t r = 0; r < opts->tp && !bad; r++)
        bad = open_rank(h, r, &caches[r]);
    if (!bad && (h->stop_fd = eventfd(0, EFD_CLOEXEC)) < 0) {
        engine_fail("no file descriptor for the hand-off thread");
        bad = -1;
    }
    if (bad) {
        handoff_close(h);
        return -1;
    }
    *out = h;
    return 0;
}

int handoff_start(struct handoff *h, struct scheduler *scheduler, const char *host,
                  uint32_t port)
{
    h->scheduler = scheduler;
    h->port = port;
    snprintf(h->host, sizeof h->host, "%s", host);
    if (pthread_create(&h->thread, NULL, serve, h) != 0) {
        engine_fail("no thread for hand-offs");
        return -1;
    }
    h->started = true;
    return 0;
}

void handoff_writes(struct handoff *h, const struct step_seq *seqs, uint32_t count)
{
    for (uint32_t r = 0; r < h->opts.tp && h->ranks[r].set; r++)
        for (uint32_t i = 0; i < count; i++) {
            uint32_t size = h->block_tokens, at = seqs[i].past;
            for (uint32_t end = at + seqs[i].n_tokens; at < end; at += size - at % size)
                workset_wrote(h->ranks[r].set, seqs[i].blocks[at / size], at % size);
        }
}

/* What is still open: offers are revoked, groups closed; their events end the items. */
static bool open_items(struct handoff *h, bool close)
{
    uint64_t groups[64];
    struct segue_offer_id offers[64];
    size_t n_groups = 0, n_offers = 0;
    pthread_mutex_lock(&h->lock);
    bool any = h->items.next != &h->items;
    for (struct handoff_item *i = h->items.next; close && i != &h->items; i = i->next) {
        if (i->offers && n_offers < 64)
            offers[n_offers++] = i->offer;
        else if (!i->offers && n_groups < 64)
            groups[n_groups++] = i->group;
    }
    pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < n_groups; i++)
        (void)segue_group_close(h->agent,
                                groups[i]); /* one that has just ended says so */
    for (size_t i = 0; i < n_offers; i++)
        (void)segue_offer_revoke(h->agent, &offers[i]);
    return any;
}

void handoff_stop(struct handoff *h)
{
    if (!h || !h->started)
        return;
    for (int i = 0; i < 500 && open_items(h, i % 50 == 0);
         i++) /* at most 5 s: a copy under way ends in ms */
        usleep(10000);
    uint64_t one = 1;
    if (write(h->stop_fd, &one, sizeof one) == sizeof one)
        pthread_join(h->thread, NULL);
    h->started = false;
}

void handoff_close(struct handoff *h)
{
    if (!h)
        return;
    for (uint32_t r = 0; h->ranks && r < h->opts.tp; r++)
        segue_cache_close(h->ranks[r].cache);
    for (uint32_t r = 0; h->ranks && r < h->opts.tp; r++) {
        segue_region_deregister(h->ranks[r].region);
        segue_free(h->device, h->ranks[r].address);
        workset_close(h->ranks[r].set);
    }
    segue_agent_destroy(h->agent);
    while (h->items.next && h->items.next != &h->items)
        handoff_item_drop(h, h->items.next);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    free(h->ranks);
    free(h->reports);
    free(h);
}

const char *handoff_network_address(const struct handoff *h)
{
    return segue_agent_network(h->agent);
}
