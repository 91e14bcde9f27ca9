/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a model: one call is one batch of any mix of prefill chunks and decode steps.
 *
 * A runner has TP ranks, each with `threads` threads and its own cache. The thread that
 * calls runner_step is one of them; the others sleep between steps and cost nothing.
 * Logits do not depend on what else is in the batch, on block size, order or TP, beyond
 * rounding of about 1e-5 where the same tokens are cut into other chunks.
 */
#ifndef ENGINE_RUNNER_H
#define ENGINE_RUNNER_H

#include <stdbool.h>
#include "cache.h"
#include "model.h"

struct runner;

struct runner_opts {
    uint32_t tp;         /* ranks; must divide the model's KV heads. 0: 1 */
    uint32_t threads;    /* per rank. 0: 1 */
    uint32_t max_tokens; /* most tokens of one step, all sequences together. 0: 512 */
    bool portable;       /* use the plain C kernels even where AVX2 is at hand */
    bool rounds;         /* see step_seq.rounded: through `round` */
    enum cache_dtype round;
};

enum step_logits {
    STEP_NO_LOGITS,   /* a prefill chunk that is not the last */
    STEP_LAST_LOGITS, /* [vocab]: what follows the last token */
    STEP_ALL_LOGITS,  /* [n_tokens][vocab]: row i is what follows token i */
};

struct step_seq {
    const uint32_t *tokens; /* the new ones: positions past .. past + n_tokens - 1 */
    uint32_t n_tokens;      /* >= 1 */
    uint32_t past;          /* tokens whose K and V are in the cache already */
    const uint32_t *blocks; /* block ids in token order, the same in every rank's cache */
    uint32_t n_blocks;      /* must cover past + n_tokens */
    enum step_logits want;
    float *logits; /* the caller's room for them; NULL with STEP_NO_LOGITS */
    /* K and V of positions below this go through runner_opts.round on their way into the
     * cache: what they would be had an engine with such a cache handed them over. */
    uint32_t rounded;
};

/* caches: one a rank, bases set, geometry equal but for the base; the structs are copied,
 * the memory is borrowed until runner_close. The model is borrowed too. The caller owns
 * *out. -1: TP does not fit the model ("the model has 9 query and 3 KV heads: TP 2 is
 * refused"), a cache does not fit, no memory, no threads. */
int runner_open(struct runner **out, const struct model *model,
                const struct runner_opts *opts, const struct cache *caches);

/* Computes the batch: writes K and V of the new tokens into the caches, fills the logits
 * asked for, and returns when all is done and visible. Sequences of one call must not
 * write the same block; they may share blocks of their pasts. One caller at a time. No
 * allocation. -1, with nothing computed: a token id, block id, position or size out of
 * range; the sentence names it. */
int runner_step(struct runner *runner, const struct step_seq *seqs, uint32_t n_seqs);

/* Ends the threads; NULL is allowed. */
void runner_close(struct runner *runner);

/* Can a model of this configuration run with TP `tp`? 0, or -1 with the sentence. More
 * ranks than KV heads share them: each has the one its query heads need. */
int runner_check_tp(const struct model_config *config, uint32_t tp);

/* KV heads in each rank's cache. */
uint32_t runner_kv_heads(const struct model_config *config, uint32_t tp);

#endif
