/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decides which requests compute in each step of the model, on one thread that sleeps
 * while there is nothing to do: continuous batching, chunked prefill, prefix caching,
 * preemption when the KV cache is full, and the two halves of a hand-off.
 *
 *   WAITING -> RUNNING -> ended                     computes everything here
 *   WAITING -> LOADING -> RUNNING -> ended          REQUEST_DECODE: blocks are reserved
 *                                                   while the KV comes
 *              RUNNING -> OFFERED -> gone           REQUEST_PREFILL: the request has ended,
 *                                                   its blocks wait for the offer's end
 *              LOADING or RUNNING -> QUARANTINED    the request has ended, a load may
 *                                                   still touch its blocks
 *   RUNNING -> WAITING                              preempted: computed again later
 *   LOADING -> DRAINING -> WAITING                  a load failed and is to be recomputed
 */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "connector.h"
#include "request.h"
#include "runner.h"

struct scheduler;

struct scheduler_opts {
    uint32_t block_tokens, blocks; /* of the KV cache */
    uint32_t vocab;
    uint32_t context;    /* most tokens of prompt and answer; they must fit the cache */
    uint32_t max_tokens; /* most tokens of one step */
    uint32_t max_seqs;   /* most sequences of one step; <= max_tokens */
    uint32_t eos;        /* the end-of-text token; TOKEN_NONE: none */
    bool prefix_caching;
    bool recompute; /* a load that fails is computed here instead of ending the request */
    uint64_t secret; /* for the hashes of the prefix cache */

    /* The model: runner_step on a runner, or something that keeps its contract. */
    int (*step)(void *user, const struct step_seq *seqs, uint32_t count);
    void *step_user;
    const struct connector_ops *connector; /* NULL: REQUEST_WHOLE only */
    void *connector_user;
};

/* Counters since the start, and gauges of now. */
struct scheduler_stats {
    uint64_t prompt_tokens, generated_tokens, preemptions, steps;
    uint64_t prefix_queries, prefix_hits; /* tokens looked for, found */
    uint64_t finished[FINISH_ERROR + 1];
    uint64_t verdicts[SEGUE_VERDICT_CANCELLED + 1];
    uint64_t loaded_tokens, offers;
    uint32_t waiting, running, loading;
    uint32_t blocks, blocks_free, blocks_offered, blocks_quarantined;
};

/* Starts the thread. The caller owns *out. -1: no memory, no thread, or numbers that do
 * not fit together; the sentence names them. */
int scheduler_open(struct scheduler **out, const struct scheduler_opts *opts);

/* Ends every request (FINISH_ABORT) and the thread; blocks still offered or loading stay
 * untouched memory until the connector is closed, which must happen before the memory
 * goes. After it only scheduler_close and the connector's answers are legal. */
void scheduler_stop(struct scheduler *scheduler);
void scheduler_close(struct scheduler *scheduler); /* NULL is allowed */

/* Queues a request and returns its number in *id; never refuses for lack of room. -1: no
 * memory, or it is stopped; `ended` is not called then. Any thread. */
int scheduler_submit(struct scheduler *scheduler, struct request *request, uint64_t *id);

/* Ends a request soon (FINISH_ABORT); one that has ended is ignored. Any thread. */
void scheduler_abort(struct scheduler *scheduler, uint64_t id);

/* The connector's answers. Any thread, also from inside the connector's verbs. */
void scheduler_loaded(struct scheduler *scheduler, uint64_t request,
                      enum segue_verdict verdict, const char *detail);
void scheduler_released(struct scheduler *scheduler, uint64_t request);
void scheduler_offer_ended(struct scheduler *scheduler, uint64_t request);

/* A picture of one moment. Any thread. */
void scheduler_stats(struct scheduler *scheduler, struct scheduler_stats *out);

#endif
