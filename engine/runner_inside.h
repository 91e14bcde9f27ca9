/* SPDX-License-Identifier: Apache-2.0 */
/* The runner's state: what runner.c prepares and forward.c works on. */
#ifndef ENGINE_RUNNER_INSIDE_H
#define ENGINE_RUNNER_INSIDE_H

#include "kernels.h"
#include "runner.h"
#include "team.h"

/* One new token of a step. The rows of sequences with many new tokens come first. */
struct step_row {
    uint32_t token, position;
    const struct step_seq *seq;
};

/* Logits that are computed straight from the stored weights: of row `row`, into `to`. */
struct step_want {
    uint32_t row;
    float *to;
};

/* A sequence whose tokens go through the weights together: rows first_row .. + n_tokens - 1. */
struct step_chunk {
    const struct step_seq *seq;
    uint32_t first_row;
};

/* Activations of all rows; each is [rows][width], shared by all ranks. */
struct activations {
    float *x;        /* [d_model] the residual stream */
    float *normed;   /* [d_model] */
    float *qkv;      /* [heads + 2 kv_heads][head_dim] */
    float *attended; /* [heads][head_dim] */
    float *gate;     /* [ffn] */
    float *up;       /* [ffn] */
    float *part;     /* [shards][rows][d_model]: partial sums of o and down */
    float *cosine;   /* [head_dim/2] */
    float *sine;
};

struct runner {
    const struct model *model;
    const struct kernels *kernels;
    struct team *team;
    struct cache *caches; /* [tp] */
    uint32_t tp, threads, max_tokens;
    bool rounds;
    enum cache_dtype round;
    float *inverse; /* [head_dim/2]: radians a position */
    struct activations a;
    void *memory;
    float **scratch; /* one a worker */

    /* the step going on */
    struct step_row *rows;
    struct step_want *wants;
    struct step_chunk *chunks;
    uint32_t n_rows, n_many, n_wants, n_chunks;
};

/* Computes the step that `runner` describes; each member of its team calls this. */
void forward(void *runner, uint32_t member);

#endif
