/* SPDX-License-Identifier: Apache-2.0 */
/* Attention with a running maximum and sum per row (online softmax) over tiles of keys. */
#include "attend.h"
#include <math.h>
#include <string.h>

/* Walks the rows of one KV head through the block table, position by position. */
struct walk {
    const struct attend_job *job;
    uint32_t block, within; /* index into the block table, token in that block */
};

static struct walk walk_from(const struct attend_job *job, uint32_t position)
{
    uint32_t tokens = job->cache->shape.block_tokens;
    return (struct walk){job, position / tokens, position % tokens};
}

static const uint8_t *walk_next(struct walk *walk)
{
    const struct attend_job *job = walk->job;
    const uint8_t *row = cache_row(job->cache, job->layer, job->blocks[walk->block],
                                   job->kv_head, walk->within);
    if (++walk->within == job->cache->shape.block_tokens) {
        walk->within = 0;
        walk->block++;
    }
    return row;
}

uint32_t attend_tokens(uint32_t heads)
{
    return heads < ATTEND_ROWS ? ATTEND_ROWS / heads : 1;
}

size_t attend_scratch(uint32_t heads, uint32_t dim)
{
    size_t rows = (size_t)attend_tokens(heads) * heads;
    return rows * ((size_t)2 * dim + ATTEND_KEYS + 2) + (size_t)ATTEND_KEYS * dim * 3 +
           KERNEL_PANEL;
}

/* The running state of some rows; all arrays in scratch. */
struct rows {
    uint32_t n;
    float *q, *out;    /* [n][dim] */
    float *scores;     /* [n][ATTEND_KEYS] */
    float *most, *sum; /* [n] */
    float *k, *v;      /* [ATTEND_KEYS][dim]; v's last row can be read as a panel's */
    float *panels;     /* k again, [ATTEND_KEYS / KERNEL_PANEL][dim][KERNEL_PANEL] */
};

static struct rows rows_in(float *scratch, uint32_t n, uint32_t dim)
{
    struct rows rows = {.n = n, .q = scratch};
    rows.out = rows.q + (size_t)n * dim;
    rows.scores = rows.out + (size_t)n * dim;
    rows.most = rows.scores + (size_t)n * ATTEND_KEYS;
    rows.sum = rows.most + n;
    rows.k = rows.sum + n;
    rows.panels = rows.k + (size_t)ATTEND_KEYS * dim;
    rows.v = rows.panels + (size_t)ATTEND_KEYS * dim;
    for (uint32_t r = 0; r < n; r++) {
        rows.most[r] = -INFINITY;
        rows.sum[r] = 0;
    }
    memset(rows.out, 0, (size_t)n * dim * sizeof *rows.out);
    return rows;
}

/* Turns a row's scores of one tile into weights against the new maximum, and rescales
 * what the row has summed so far. */
static void weigh(const struct kernels *kernels, struct rows *rows, uint32_t r,
                  uint32_t n, uint32_t dim)
{
    float *scores = rows->scores + (size_t)r * ATTEND_KEYS;
    float *out = rows->out + (size_t)r * dim, most = rows->most[r];
    for (uint32_t i = 0; i < n; i++)
        most = scores[i] > most ? scores[i] : most;
    if (most > rows->most[r] && rows->sum[r] > 0) {
        float shrink = expf(rows->most[r] - most);
        rows->sum[r] *= shrink;
        for (uint32_t i = 0; i < dim; i++)
            out[i] *= shrink;
    }
    rows->most[r] = most;
    rows->sum[r] += kernels->exp_sum(scores, most, n);
}

static void take_queries(const struct attend_job *job, struct rows *rows)
{
    float scale = 1 / sqrtf((float)job->dim);
    size_t width = (size_t)job->heads * job->dim;
    for (uint32_t t = 0; t < job->n; t++)
        for (size_t i = 0; i < width; i++)
            rows->q[t * width + i] = job->q[t * job->q_stride + i] * scale;
}

static void give_results(const struct attend_job *job, const struct rows *rows)
{
    for (uint32_t t = 0; t < job->n; t++)
        for (uint32_t h = 0; h < job->heads; h++) {
            uint32_t r = t * job->heads + h;
            float share = 1 / rows->sum[r];
            const float *from = rows->out + (size_t)r * job->dim;
            float *to = job->out + t * job->out_stride + (size_t)h * job->dim;
            for (uint32_t i = 0; i < job->dim; i++)
                to[i] = from[i] * share;
        }
}

/* K and V of positions tile .. tile + n - 1, as floats side by side. */
static void gather(const struct kernels *kernels, const struct attend_job *job,
                   struct rows *rows, uint32_t tile, uint32_t n)
{
    enum cache_dtype dtype = job->cache->shape.dtype;
    struct walk walk = walk_from(job, tile);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *row = walk_next(&walk);
        kernels->decode(dtype, rows->k + (size_t)i * job->dim, row, job->dim);
        kernels->decode(dtype, rows->v + (size_t)i * job->dim,
                        row + job->cache->row_bytes / 2, job->dim);
    }
}

/* scores = q k^T for n keys; those that fill up the last panel are computed as well. */
static void score_tile(const struct kernels *kernels, const struct attend_job *job,
                       struct rows *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += KERNEL_PANEL) {
        float *panel = rows->panels + (size_t)i * job->dim;
        kernels->transpose(panel, rows->k + (size_t)i * job->dim, job->dim, job->dim);
        kernels->multiply_panel(rows->n, job->dim, KERNEL_PANEL, rows->q, job->dim, panel,
                                KERNEL_PANEL, rows->scores + i, ATTEND_KEYS, false);
    }
}

static void mix_tile(const struct kernels *kernels, const struct attend_job *job,
                     struct rows *rows, uint32_t n)
{
    for (uint32_t c = 0; c < job->dim; c += KERNEL_PANEL)
        kernels->multiply_panel(rows->n, n,
                                job->dim - c < KERNEL_PANEL ? job->dim - c : KERNEL_PANEL,
                                rows->scores, ATTEND_KEYS, rows->v + c, job->dim,
                                rows->out + c, job->dim, true);
}

void attend_many(const struct kernels *kernels, const struct attend_job *job,
                 float *scratch)
{
    uint32_t end = job->first + job->n;
    struct rows rows = rows_in(scratch, job->n * job->heads, job->dim);
    take_queries(job, &rows);
    memset(rows.k, 0, (size_t)ATTEND_KEYS * job->dim * sizeof *rows.k);
    for (uint32_t tile = 0; tile < end; tile += ATTEND_KEYS) {
        uint32_t n = end - tile < ATTEND_KEYS ? end - tile : ATTEND_KEYS;
        gather(kernels, job, &rows, tile, n);
        score_tile(kernels, job, &rows, n);
        for (uint32_t r = 0; r < rows.n; r++) {
            /* A token sees itself and what came before it; the rest weighs nothing. */
            uint32_t seen = job->first + r / job->heads + 1;
            seen = seen <= tile ? 0 : seen - tile < n ? seen - tile : n;
            if (seen)
                weigh(kernels, &rows, r, seen, job->dim);
            memset(rows.scores + (size_t)r * ATTEND_KEYS + seen, 0,
                   (n - seen) * sizeof *rows.scores);
        }
        mix_tile(kernels, job, &rows, n);
    }
    give_results(job, &rows);
}

void attend_one(const struct kernels *kernels, const struct attend_job *job,
                float *scratch)
{
    const float *k[ATTEND_KEYS], *v[ATTEND_KEYS];
    bool in_place = job->cache->shape.dtype == CACHE_FP32;
    uint32_t end = job->first + 1;
    struct rows rows = rows_in(scratch, job->heads, job->dim);
    take_queries(job, &rows);
    for (uint32_t tile = 0; tile < end; tile += ATTEND_KEYS) {
        uint32_t n = end - tile < ATTEND_KEYS ? end - tile : ATTEND_KEYS;
        struct walk walk = walk_from(job, tile);
        if (!in_place)
            gather(kernels, job, &rows, tile, n);
        for (uint32_t i = 0; i < n; i++) {
            k[i] = rows.k + (size_t)i * job->dim;
            if (in_place)
                k[i] = (const float *)(const void *)walk_next(&walk);
            v[i] = in_place ? k[i] + job->dim : rows.v + (size_t)i * job->dim;
        }
        for (uint32_t h = 0; h < job->heads; h++) {
            float *scores = rows.scores + (size_t)h * ATTEND_KEYS;
            kernels->score(scores, rows.q + (size_t)h * job->dim, k, n, job->dim);
            weigh(kernels, &rows, h, n, job->dim);
            kernels->mix(rows.out + (size_t)h * job->dim, scores, v, n, job->dim);
        }
    }
    give_results(job, &rows);
}
