/* SPDX-License-Identifier: Apache-2.0 */
/* What handoff.c (life, events), handoff_verbs.c (the connector) and handoff_report.c share. */
#ifndef ENGINE_HANDOFF_INSIDE_H
#define ENGINE_HANDOFF_INSIDE_H

#include "handoff.h"
#include "workset.h"

#include <pthread.h>

#define HANDOFF_REPORTS 256

/* One request's hand-off, offered or claimed. Freed when its last event has come. */
struct handoff_item {
    struct handoff_item *next, *prev; /* handoff->items */
    uint64_t request;
    char name[128];
    uint32_t tokens;
    bool offers; /* prefill side */
    struct segue_offer_id offer;
    uint64_t group; /* decode side */
    char peer[64];  /* the producer's engine id */
    uint32_t posted, released;
    bool loading, left, judged; /* load, leave was called; GROUP came */
    enum segue_verdict verdict;
    char detail[256];
    struct segue_claim_report report; /* of all ranks together */
    uint32_t *blocks, first;          /* being loaded: where to, from which token on */
    uint64_t engine_bytes;            /* between the device and the working set */
    uint64_t began_ns, made_ns;       /* offers: mint, ticket written */
};

struct handoff_report {
    char name[128], detail[256], peer[64], path[24];
    bool offered;
    uint32_t tokens;
    enum segue_verdict verdict;
    struct segue_claim_report claim;
    uint64_t ticket_ns, engine_bytes;
    double first_token_ms; /* 0: not yet */
    char explain[1024];
};

struct handoff {
    struct handoff_opts opts;
    char model[128];
    uint32_t block_tokens;
    segue_agent *agent;
    segue_device *device;
    struct handoff_rank {
        void *address;
        segue_region *region;
        segue_cache *cache;
        struct workset *set; /* NULL: the engine computes in the device's memory itself */
    } * ranks;
    struct scheduler *scheduler;
    char host[256];
    uint32_t port;
    pthread_t thread;
    bool started;
    int stop_fd;
    pthread_mutex_t lock; /* of what follows */
    struct handoff_item items;
    struct handoff_report *reports; /* a ring */
    uint64_t n_reports;
};

struct handoff_item *handoff_item_add(struct handoff *h, uint64_t request,
                                      const struct connector_prompt *prompt);
struct handoff_item *handoff_item_find(struct handoff *h,
                                       uint64_t request);             /* under the lock */
void handoff_item_drop(struct handoff *h, struct handoff_item *item); /* under the lock */
void handoff_prompt_hash(const struct connector_prompt *prompt,
                         struct segue_prompt_hash *out);
void handoff_report_add(struct handoff *h,
                        const struct handoff_item *item); /* under the lock */

#endif
