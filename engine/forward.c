/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step through the model, by all workers together. A worker is a thread of a rank;
 * its rank's heads and feed-forward columns are the rank's shards. Between phases lies a
 * barrier:
 *
 *   embed+norm | q k v, rotate, store | attend | o parts | add+norm | gate up | down parts
 *   | add+norm | ... next layer ... | logits
 */
#include "runner_inside.h"
#include "attend.h"
#include "linear.h"
#include <math.h>

struct worker {
    struct runner *r;
    const struct model_config *c;
    uint32_t number, n_workers; /* among all */
    uint32_t rank, index;       /* index: among the rank's threads */
    float *scratch;
};

struct range {
    uint32_t begin, end;
};

/* Part i of n items cut into parts, at multiples of `unit`. */
static struct range cut(uint32_t n, uint32_t parts, uint32_t i, uint32_t unit)
{
    uint64_t units = (n + unit - 1) / unit;
    uint32_t begin = (uint32_t)(units * i / parts) * unit;
    uint32_t end = (uint32_t)(units * (i + 1) / parts) * unit;
    return (struct range){begin < n ? begin : n, end < n ? end : n};
}

/* y = x W^T for all rows of the step: many rows through tiles, few as W is stored. */
static void apply(const struct worker *me, const struct weights *w, const float *x,
                  size_t x_stride, float *y, size_t y_stride)
{
    const struct runner *r = me->r;
    if (!w->n_rows)
        return;
    if (r->n_many)
        linear_many(r->kernels, w, r->n_many, x, x_stride, y, y_stride, me->scratch);
    for (uint32_t t = r->n_many; t < r->n_rows; t += KERNEL_ROWS) {
        const float *from[KERNEL_ROWS];
        float *to[KERNEL_ROWS];
        uint32_t n = r->n_rows - t < KERNEL_ROWS ? r->n_rows - t : KERNEL_ROWS;
        for (uint32_t i = 0; i < n; i++) {
            from[i] = x + (t + i) * x_stride;
            to[i] = y + (t + i) * y_stride;
        }
        linear_few(r->kernels, w, n, from, to, me->scratch);
    }
}

static void norm(const struct worker *me, uint32_t row, const float *weight)
{
    uint32_t n = me->c->d_model;
    const float *x = me->r->a.x + (size_t)row * n;
    float *out = me->r->a.normed + (size_t)row * n, squares;
    me->r->kernels->score(&squares, x, &x, 1, n);
    float scale = 1 / sqrtf(squares / (float)n + me->c->rms_eps);
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

static void embed(const struct worker *me)
{
    const struct runner *r = me->r;
    const struct matrix *table = &r->model->embedding;
    struct range rows = cut(r->n_rows, me->n_workers, me->number, 1);
    for (uint32_t t = rows.begin; t < rows.end; t++) {
        r->kernels->dequantize(table->type, r->a.x + (size_t)t * me->c->d_model,
                               table->data + r->rows[t].token * table->row_bytes,
                               me->c->d_model);
        norm(me, t, r->model->layer[0].attn_norm);
    }
}

/* Half-split rotary positions: element i turns with element i + dim/2. */
static void rotate(float *head, const float *cosine, const float *sine, uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* What a cache of another type would have made of n elements. */
static void through(enum cache_dtype dtype, float *at, uint32_t n)
{
    uint8_t piece[64 * sizeof(float)];
    for (uint32_t i = 0; i < n; i += 64) {
        uint32_t some = n - i < 64 ? n - i : 64;
        cache_encode(dtype, piece, at + i, some);
        cache_decode(dtype, at + i, piece, some);
    }
}

/* Ranks that share each KV head, and each shard of an output projection (GQA with more
 * ranks than KV heads). The first of them computes its K and V for all. */
static uint32_t sharers(const struct worker *me)
{
    return me->r->tp > me->c->kv_heads ? me->r->tp / me->c->kv_heads : 1;
}

/* Writes K (half 0) or V (half 1) of one token and head into the rank's cache and those of
 * its replicas, first rounded in place where the step wants it. */
static void store(const struct worker *me, uint32_t layer, const struct step_row *row,
                  uint32_t head, int half, float *from)
{
    const struct runner *r = me->r;
    const struct cache *cache = &r->caches[me->rank];
    uint32_t block = row->seq->blocks[row->position / cache->shape.block_tokens];
    uint32_t within = row->position % cache->shape.block_tokens, dim = me->c->head_dim;
    if (r->rounds && row->position < row->seq->rounded)
        through(r->round, from, dim);
    for (uint32_t i = 0; i < sharers(me); i++) {
        uint8_t *to = cache_row(&cache[i], layer, block, head, within);
        r->kernels->encode(cache->shape.dtype, to + (size_t)half * (cache->row_bytes / 2),
                           from, dim);
    }
}

/* One kind of head: what it is projected by, where its columns begin in a row of qkv,
 * whether it turns, and which half of the cache's rows it goes to (-1: none). */
struct head_kind {
    const struct matrix *matrix;
    uint32_t column;
    bool turns;
    int half;
};

/* The rank's heads begin .. end - 1 of one kind: projected, turned, stored. */
static void project_heads(const struct worker *me, uint32_t layer, struct head_kind kind,
                          uint32_t begin, uint32_t end)
{
    const struct runner *r = me->r;
    const struct model_config *c = me->c;
    uint32_t dim = c->head_dim, half = dim / 2;
    uint32_t first = me->rank * (kind.matrix->rows / dim) / r->tp; /* of the model */
    uint32_t row = (first + begin) * dim;
    size_t stride = (size_t)(c->heads + 2 * c->kv_heads) * dim;
    struct weights w = linear_part(kind.matrix, row, (end - begin) * dim, 0, c->d_model);
    apply(me, &w, r->a.normed, c->d_model, r->a.qkv + kind.column + row, stride);
    for (uint32_t t = 0; t < r->n_rows; t++) {
        float *head = r->a.qkv + t * stride + kind.column + row;
        for (uint32_t h = begin; h < end; h++, head += dim) {
            if (kind.turns)
                rotate(head, r->a.cosine + (size_t)t * half, r->a.sine + (size_t)t * half,
                       half);
            if (kind.half >= 0)
                store(me, layer, &r->rows[t], h, kind.half, head);
        }
    }
}

/* The rank's heads of q, k and v, taken as one list and cut among its threads. */
static void project_qkv(const struct worker *me, uint32_t layer)
{
    const struct model_layer *weights = &me->r->model->layer[layer];
    uint32_t tp = me->r->tp, begin = 0;
    const struct head_kind kinds[] = {
        {&weights->q, 0, true, -1},
        {&weights->k, weights->q.rows, true, 0},
        {&weights->v, weights->q.rows + weights->k.rows, false, 1},
    };
    uint32_t kv = me->rank % sharers(me) == 0 ? runner_kv_heads(me->c, tp) : 0;
    const uint32_t counts[] = {me->c->heads / tp, kv, kv};
    struct range mine = cut(counts[0] + 2 * kv, me->r->threads, me->index, 1);
    for (int i = 0; i < 3; i++) {
        uint32_t end = begin + counts[i];
        uint32_t from = mine.begin > begin ? mine.begin : begin;
        uint32_t to = mine.end < end ? mine.end : end;
        if (from < to)
            project_heads(me, layer, kinds[i], from - begin, to - begin);
        begin = end;
    }
}

/* Query heads of the rank that share one of its KV heads. */
static uint32_t group_of(const struct worker *me)
{
    return me->c->heads / me->r->tp / runner_kv_heads(me->c, me->r->tp);
}

/* The job of rows t .. t + n - 1, one sequence's, for one KV head of the rank; of its
 * query heads those from `first_head` on. */
static struct attend_job job_of(const struct worker *me, uint32_t layer, uint32_t t,
                                uint32_t n, uint32_t kv_head, uint32_t first_head,
                                uint32_t heads)
{
    const struct runner *r = me->r;
    const struct model_config *c = me->c;
    size_t head = (size_t)me->rank * (c->heads / r->tp) + kv_head * group_of(me) +
                  first_head;
    size_t q_stride = (size_t)(c->heads + 2 * c->kv_heads) * c->head_dim;
    size_t out_stride = (size_t)c->heads * c->head_dim;
    return (struct attend_job){
        .cache = &r->caches[me->rank],
        .layer = layer,
        .kv_head = kv_head,
        .blocks = r->rows[t].seq->blocks,
        .first = r->rows[t].position,
        .n = n,
        .heads = heads,
        .dim = c->head_dim,
        .q = r->a.qkv + t * q_stride + head * c->head_dim,
        .q_stride = q_stride,
        .out = r->a.attended + t * out_stride + head * c->head_dim,
        .out_stride = out_stride,
    };
}

/* The rank's jobs, dealt out in turn to its threads. */
static void attend(const struct worker *me, uint32_t layer)
{
    const struct runner *r = me->r;
    uint32_t kv_heads = runner_kv_heads(me->c, r->tp), group = group_of(me);
    uint32_t turn = 0, step = attend_tokens(group);
    for (uint32_t i = 0; i < r->n_chunks; i++) {
        uint32_t n = r->chunks[i].seq->n_tokens;
        for (uint32_t t = 0; t < n; t += step)
            for (uint32_t h = 0; h < kv_heads; h++) {
                if (turn++ % r->threads != me->index)
                    continue;
                struct attend_job job = job_of(me, layer, r->chunks[i].first_row + t,
                                               n - t < step ? n - t : step, h, 0, group);
                attend_many(r->kernels, &job, me->scratch);
            }
    }
    uint32_t few = r->n_rows - r->n_many;
    /* Query heads go singly where whole groups would leave threads idle. */
    uint32_t heads = few * kv_heads % r->threads ? 1 : group;
    for (uint32_t t = r->n_many; t < r->n_rows; t++)
        for (uint32_t h = 0; h < kv_heads; h++)
            for (uint32_t first = 0; first < group; first += heads) {
                if (turn++ % r->threads != me->index)
                    continue;
                struct attend_job job = job_of(me, layer, t, 1, h, first, heads);
                attend_one(r->kernels, &job, me->scratch);
            }
}

/* The rank's shards of an output projection, each into its own partial sum; ranks that
 * share one take a part of its rows each. */
static void project_out(const struct worker *me, const struct matrix *matrix,
                        const float *x)
{
    const struct runner *r = me->r;
    uint32_t width = me->c->d_model, cols = matrix->cols / me->c->shards;
    uint32_t share = sharers(me), own = me->c->shards * share / r->tp;
    uint32_t first = me->rank / share * own;
    struct range mine = cut(width, r->threads * share,
                            me->rank % share * r->threads + me->index, 8);
    for (uint32_t s = first; s < first + own; s++) {
        struct weights w = linear_part(matrix, mine.begin, mine.end - mine.begin,
                                       s * cols, cols);
        float *part = r->a.part + (size_t)s * r->max_tokens * width;
        apply(me, &w, x + (size_t)s * cols, matrix->cols, part + mine.begin, width);
    }
}

/* Adds the partial sums, always in shard order, and makes the next phase's input. */
static void add_parts(const struct worker *me, const float *next_norm)
{
    const struct runner *r = me->r;
    uint32_t width = me->c->d_model;
    size_t shard = (size_t)r->max_tokens * width;
    struct range rows = cut(r->n_rows, me->n_workers, me->number, 1);
    for (uint32_t t = rows.begin; t < rows.end; t++) {
        float *x = r->a.x + (size_t)t * width;
        float *sum = r->a.part + (size_t)t * width;
        for (uint32_t s = 1; s < me->c->shards; s++)
            for (uint32_t i = 0; i < width; i++)
                sum[i] += sum[s * shard + i];
        for (uint32_t i = 0; i < width; i++)
            x[i] += sum[i];
        norm(me, t, next_norm);
    }
}

static void feed_forward(const struct worker *me, const struct model_layer *layer)
{
    const struct runner *r = me->r;
    const struct model_config *c = me->c;
    uint32_t own = c->ffn / r->tp;
    struct range mine = cut(own, r->threads, me->index, 8);
    uint32_t begin = me->rank * own + mine.begin, n = mine.end - mine.begin;
    struct weights gate = linear_part(&layer->gate, begin, n, 0, c->d_model);
    struct weights up = linear_part(&layer->up, begin, n, 0, c->d_model);
    apply(me, &gate, r->a.normed, c->d_model, r->a.gate + begin, c->ffn);
    apply(me, &up, r->a.normed, c->d_model, r->a.up + begin, c->ffn);
    for (uint32_t t = 0; t < r->n_rows; t++)
        r->kernels->silu(r->a.gate + (size_t)t * c->ffn + begin,
                         r->a.up + (size_t)t * c->ffn + begin, n);
}

/* Each worker fills its slice of the vocabulary for every row of logits. */
static void project_logits(const struct worker *me)
{
    const struct runner *r = me->r;
    const struct model_config *c = me->c;
    struct range mine = cut(c->vocab, me->n_workers, me->number, 16);
    struct weights w = linear_part(&r->model->output, mine.begin, mine.end - mine.begin,
                                   0, c->d_model);
    if (!w.n_rows)
        return;
    for (uint32_t i = 0; i < r->n_chunks; i++) {
        const struct step_chunk *chunk = &r->chunks[i];
        if (chunk->seq->want == STEP_ALL_LOGITS)
            linear_many(r->kernels, &w, chunk->seq->n_tokens,
                        r->a.normed + (size_t)chunk->first_row * c->d_model, c->d_model,
                        chunk->seq->logits + mine.begin, c->vocab, me->scratch);
    }
    for (uint32_t i = 0; i < r->n_wants; i += KERNEL_ROWS) {
        const float *from[KERNEL_ROWS];
        float *to[KERNEL_ROWS];
        uint32_t n = r->n_wants - i < KERNEL_ROWS ? r->n_wants - i : KERNEL_ROWS;
        for (uint32_t j = 0; j < n; j++) {
            from[j] = r->a.normed + (size_t)r->wants[i + j].row * c->d_model;
            to[j] = r->wants[i + j].to + mine.begin;
        }
        linear_few(r->kernels, &w, n, from, to, me->scratch);
    }
}

static void layer_step(const struct worker *me, uint32_t i)
{
    struct runner *r = me->r;
    const struct model_layer *layer = &r->model->layer[i];
    bool last = i + 1 == me->c->layers;
    project_qkv(me, i);
    team_barrier(r->team, me->number);
    attend(me, i);
    team_barrier(r->team, me->number);
    project_out(me, &layer->o, r->a.attended);
    team_barrier(r->team, me->number);
    add_parts(me, layer->ffn_norm);
    team_barrier(r->team, me->number);
    feed_forward(me, layer);
    team_barrier(r->team, me->number);
    project_out(me, &layer->down, r->a.gate);
    team_barrier(r->team, me->number);
    add_parts(me, last ? r->model->output_norm : r->model->layer[i + 1].attn_norm);
    team_barrier(r->team, me->number);
}

void forward(void *runner, uint32_t member)
{
    struct runner *r = runner;
    struct worker me = {
        .r = r,
        .c = &r->model->config,
        .number = member,
        .n_workers = r->tp * r->threads,
        .rank = member / r->threads,
        .index = member % r->threads,
        .scratch = r->scratch[member],
    };
    embed(&me);
    team_barrier(r->team, member);
    for (uint32_t i = 0; i < me.c->layers; i++)
        layer_step(&me, i);
    project_logits(&me);
}
