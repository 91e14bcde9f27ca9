/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of new tokens over a paged cache, one KV head at a time.
 *
 * Keys are taken in tiles that begin at fixed positions of the sequence, so that a row's
 * sums are formed alike whatever block size, order or chunk it came with.
 */
#ifndef ENGINE_ATTEND_H
#define ENGINE_ATTEND_H

#include "kernels.h"

enum {
    ATTEND_KEYS = 128, /* positions of one tile of keys */
    ATTEND_ROWS = 192, /* about how many rows (token x query head) share a tile */
};

struct attend_job {
    const struct cache *cache;
    uint32_t layer, kv_head; /* kv_head: in this cache */
    const uint32_t *blocks;
    uint32_t first, n;   /* positions of the query tokens: first .. first + n - 1 */
    uint32_t heads, dim; /* query heads that share the KV head */
    const float *q;      /* [n][heads][dim], tokens q_stride floats apart, not scaled */
    size_t q_stride;
    float *out; /* the same shape, tokens out_stride floats apart */
    size_t out_stride;
};

/* Tokens of one attend_many call that make about ATTEND_ROWS rows. */
uint32_t attend_tokens(uint32_t heads);

/* Floats of scratch for jobs of at most attend_tokens tokens. */
size_t attend_scratch(uint32_t heads, uint32_t dim);

/* Many tokens (at most attend_tokens), as matrix products; one token. */
void attend_many(const struct kernels *kernels, const struct attend_job *job,
                 float *scratch);
void attend_one(const struct kernels *kernels, const struct attend_job *job,
                float *scratch);

#endif
