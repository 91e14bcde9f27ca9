/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a runner, checks a step and lays it out as rows; forward.c computes it. */
#include "runner_inside.h"
#include "attend.h"
#include "fail.h"
#include "linear.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_MAX_TOKENS = 512,
    MOST_WORKERS = 256,
    MOST_STEP_TOKENS = 1 << 16,
    /* From so many new tokens of one sequence on, weights turned to floats
     * once for all beat reading the stored weights row by row. A rule of the sequence alone, so that
     * its numbers do not depend on the batch. */
    MANY_TOKENS = 8,
};

int runner_check_tp(const struct model_config *config, uint32_t tp)
{
    uint32_t kv = config->kv_heads;
    if (!tp || (kv % tp && tp % kv) || config->heads % tp)
        return engine_fail("the model has %u query and %u KV heads: TP %u is refused",
                           config->heads, kv, tp);
    if (tp > kv && config->ffn % tp)
        return engine_fail(
            "the model's feed-forward width of %u does not split in %u: TP "
            "%u is refused",
            config->ffn, tp, tp);
    if (tp > kv ? config->shards != kv : config->shards % tp)
        return engine_fail(
            "the model's quantized blocks do not split along its KV heads: "
            "TP %u is refused",
            tp);
    return 0;
}

uint32_t runner_kv_heads(const struct model_config *config, uint32_t tp)
{
    return tp > config->kv_heads ? 1 : config->kv_heads / tp;
}

static int check_caches(const struct model_config *c, uint32_t tp,
                        const struct cache *caches)
{
    uint32_t kv_heads = runner_kv_heads(c, tp);
    for (uint32_t i = 0; i < tp; i++) {
        const struct cache_shape *shape = &caches[i].shape;
        if (!caches[i].base)
            return engine_fail("the KV cache of rank %u has no memory", i);
        if (shape->layers != c->layers || shape->kv_heads != kv_heads ||
            shape->head_dim != c->head_dim)
            return engine_fail("the KV cache of rank %u holds %u layers, %u heads of %u, "
                               "not %u, %u of %u",
                               i, shape->layers, shape->kv_heads, shape->head_dim,
                               c->layers, kv_heads, c->head_dim);
        if (memcmp(shape, &caches[0].shape, sizeof *shape))
            return engine_fail("the KV caches of ranks 0 and %u differ in geometry", i);
    }
    return 0;
}

/* Lays out everything of fixed size in one block: first counted, then given addresses. */
struct layout {
    uint8_t *at;
    size_t used;
};

static void *place(struct layout *layout, size_t count, size_t each)
{
    size_t begin = layout->used;
    layout->used += (count * each + 63) / 64 * 64;
    return layout->at ? layout->at + begin : NULL;
}

static size_t worker_floats(const struct model_config *c)
{
    uint32_t group = c->heads / c->kv_heads, widest = c->d_model;
    if (c->ffn > widest)
        widest = c->ffn;
    if (c->heads * c->head_dim > widest)
        widest = c->heads * c->head_dim;
    /* A tile's size is no monotonic function of the width: take what any part may need. */
    size_t most = attend_scratch(group, c->head_dim);
    const uint32_t widths[] = {widest, c->d_model, c->ffn / c->shards,
                               c->heads * c->head_dim / c->shards};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (linear_scratch(widths[i]) > most)
            most = linear_scratch(widths[i]);
    return most;
}

static void lay_out(struct runner *r, struct layout *layout)
{
    const struct model_config *c = &r->model->config;
    size_t n = r->max_tokens, half = c->head_dim / 2, f = sizeof(float);
    uint32_t workers = r->tp * r->threads;
    r->caches = place(layout, r->tp, sizeof *r->caches);
    r->inverse = place(layout, half, f);
    r->rows = place(layout, n, sizeof *r->rows);
    r->wants = place(layout, n, sizeof *r->wants);
    r->chunks = place(layout, n, sizeof *r->chunks);
    r->a.x = place(layout, n * c->d_model, f);
    r->a.normed = place(layout, n * c->d_model, f);
    r->a.qkv = place(layout, n * (c->heads + 2 * c->kv_heads) * c->head_dim, f);
    r->a.attended = place(layout, n * c->heads * c->head_dim, f);
    r->a.gate = place(layout, n * c->ffn, f);
    r->a.up = place(layout, n * c->ffn, f);
    r->a.part = place(layout, n * c->shards * c->d_model, f);
    r->a.cosine = place(layout, n * half, f);
    r->a.sine = place(layout, n * half, f);
    r->scratch = place(layout, workers, sizeof *r->scratch);
    for (uint32_t i = 0; i < workers; i++) {
        float *own = place(layout, worker_floats(c), f);
        if (r->scratch)
            r->scratch[i] = own;
    }
}

static int allocate(struct runner *r)
{
    struct layout layout = {0};
    lay_out(r, &layout);
    r->memory = layout.at = aligned_alloc(64, layout.used);
    if (!layout.at)
        return engine_fail("out of memory: steps of %u tokens need %zu bytes",
                           r->max_tokens, layout.used);
    layout.used = 0;
    lay_out(r, &layout);
    return 0;
}

int runner_open(struct runner **out, const struct model *model,
                const struct runner_opts *opts, const struct cache *caches)
{
    const struct model_config *c = &model->config;
    uint32_t tp = opts->tp ? opts->tp : 1, threads = opts->threads ? opts->threads : 1;
    uint32_t max_tokens = opts->max_tokens ? opts->max_tokens : DEFAULT_MAX_TOKENS;
    if (runner_check_tp(c, tp) || check_caches(c, tp, caches))
        return -1;
    if (tp > MOST_WORKERS || threads > MOST_WORKERS / tp)
        return engine_fail("%u ranks of %u threads are more than %d", tp, threads,
                           MOST_WORKERS);
    if (max_tokens > MOST_STEP_TOKENS)
        return engine_fail("steps of %u tokens are larger than %d", max_tokens,
                           MOST_STEP_TOKENS);
    struct runner *r = calloc(1, sizeof *r);
    if (!r)
        return engine_fail("out of memory for a runner");
    r->model = model;
    r->kernels = opts->portable ? kernels_portable() : kernels_best();
    r->tp = tp;
    r->threads = threads;
    r->max_tokens = max_tokens;
    r->rounds = opts->rounds;
    r->round = opts->round;
    if (allocate(r) || team_open(&r->team, tp * threads)) {
        runner_close(r);
        return -1;
    }
    memcpy(r->caches, caches, tp * sizeof *caches);
    for (uint32_t i = 0; i < c->head_dim / 2; i++) {
        float inverse = 1 / powf(c->rope_base, (float)(2 * i) / (float)c->head_dim);
        r->inverse[i] = inverse * (model->rope_factors ? model->rope_factors[i] : 1);
    }
    *out = r;
    return 0;
}

void runner_close(struct runner *runner)
{
    if (!runner)
        return;
    team_close(runner->team);
    free(runner->memory);
    free(runner);
}

static int check_seq(const struct runner *r, const struct step_seq *seq, uint32_t number)
{
    const struct model_config *c = &r->model->config;
    const struct cache_shape *shape = &r->caches[0].shape;
    uint64_t end = (uint64_t)seq->past + seq->n_tokens;
    if (!seq->n_tokens)
        return engine_fail("sequence %u of the step has no token", number);
    if (end > c->context)
        return engine_fail(
            "sequence %u of the step ends at token %llu; the model's context "
            "is %u",
            number, (unsigned long long)end, c->context);
    if (end > (uint64_t)seq->n_blocks * shape->block_tokens)
        return engine_fail("sequence %u of the step has %u blocks of %u tokens for %llu",
                           number, seq->n_blocks, shape->block_tokens,
                           (unsigned long long)end);
    for (uint64_t i = 0; i * shape->block_tokens < end; i++)
        if (seq->blocks[i] >= shape->blocks)
            return engine_fail("sequence %u of the step names block %u of %u", number,
                               seq->blocks[i], shape->blocks);
    for (uint32_t i = 0; i < seq->n_tokens; i++)
        if (seq->tokens[i] >= c->vocab)
            return engine_fail(
                "sequence %u of the step holds token %u; the vocabulary has "
                "%u",
                number, seq->tokens[i], c->vocab);
    if (seq->want != STEP_NO_LOGITS && !seq->logits)
        return engine_fail("sequence %u of the step wants logits and has no room",
                           number);
    return 0;
}

static void add_rows(struct runner *r, const struct step_seq *seq, bool many)
{
    uint32_t first = r->n_rows, n = seq->n_tokens, vocab = r->model->config.vocab;
    for (uint32_t i = 0; i < n; i++)
        r->rows[r->n_rows++] = (struct step_row){seq->tokens[i], seq->past + i, seq};
    if (many)
        r->chunks[r->n_chunks++] = (struct step_chunk){seq, first};
    if (seq->want == STEP_LAST_LOGITS)
        r->wants[r->n_wants++] = (struct step_want){first + n - 1, seq->logits};
    if (seq->want == STEP_ALL_LOGITS && !many)
        for (uint32_t i = 0; i < n; i++)
            r->wants[r->n_wants++] = (struct step_want){first + i,
                                                        seq->logits + (size_t)i * vocab};
}

static void turn_angles(struct runner *r)
{
    uint32_t half = r->model->config.head_dim / 2;
    for (uint32_t t = 0; t < r->n_rows; t++)
        for (uint32_t i = 0; i < half; i++) {
            float angle = (float)r->rows[t].position * r->inverse[i];
            r->a.cosine[(size_t)t * half + i] = cosf(angle);
            r->a.sine[(size_t)t * half + i] = sinf(angle);
        }
}

int runner_step(struct runner *r, const struct step_seq *seqs, uint32_t n_seqs)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n_seqs; i++) {
        if (check_seq(r, &seqs[i], i))
            return -1;
        total += seqs[i].n_tokens;
    }
    if (total > r->max_tokens)
        return engine_fail("a step of %llu tokens is larger than %u",
                           (unsigned long long)total, r->max_tokens);
    if (!n_seqs)
        return 0;
    r->n_rows = r->n_wants = r->n_chunks = 0;
    for (uint32_t i = 0; i < n_seqs; i++)
        if (seqs[i].n_tokens >= MANY_TOKENS)
            add_rows(r, &seqs[i], true);
    r->n_many = r->n_rows;
    for (uint32_t i = 0; i < n_seqs; i++)
        if (seqs[i].n_tokens < MANY_TOKENS)
            add_rows(r, &seqs[i], false);
    turn_angles(r);
    team_run(r->team, forward, r);
    return 0;
}
