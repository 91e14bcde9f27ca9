/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the next token from logits. Pure: the same logits, settings and step give the
 * same token, whatever else is in the batch. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

struct sampling {
    float temperature; /* 0: greedy, and nothing below matters */
    float top_p;       /* the smallest set of tokens with at least this mass; 1: all */
    float min_p;    /* tokens at least this fraction as likely as the likeliest; 0: all */
    uint32_t top_k; /* the k likeliest; 0: all */
    uint64_t seed;
};

struct token_logprob {
    uint32_t id;
    float logprob;
};

/* The next token. `step` counts the request's tokens so far and is all the state there
 * is. `work` has room for `vocab` ids. Equal logits: the lower id. */
uint32_t sampler_pick(const struct sampling *sampling, uint64_t step, const float *logits,
                      uint32_t vocab, uint32_t *work);

/* Makes these ids impossible in place; an id beyond the vocabulary is ignored. */
void sampler_ban(float *logits, uint32_t vocab, const uint32_t *ids, uint32_t count);

/* Natural logarithms of the probabilities before temperature and cuts: of the `count`
 * likeliest, in falling order, into `top`; returns that of `id`. */
float sampler_logprobs(const float *logits, uint32_t vocab, uint32_t id,
                       struct token_logprob *top, uint32_t count);

#endif
