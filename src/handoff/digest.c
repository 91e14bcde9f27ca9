/* SPDX-License-Identifier: Apache-2.0 */
/* Digests over strided KV, row by row. */
#include "handoff/digest.h"

#include "base/hash.h"
#include "base/list.h"

/* Distinct for every (layer, token, head) of a model with fewer than 2^16 layers and heads. */
static uint64_t seed_of(uint32_t layer, uint32_t token, uint32_t head)
{
    return (uint64_t)layer << 48 | (uint64_t)head << 32 | token;
}

static const char *layer_base(const struct segue_digest_range *r, uint32_t local,
                              uint64_t layer_stride)
{
    const struct segue_geometry *g = r->geometry;
    if (!g->layer)
        return r->memory[0].base + local * layer_stride;
    return r->memory[g->layer[local].region].base + g->layer[local].offset;
}

/* One part (K or V) of one layer; V's seed is the complement of K's. */
static uint64_t layer_digest(const struct segue_digest_range *r, uint32_t layer,
                             const struct segue_layout_part *part, uint64_t flip)
{
    const struct segue_geometry *g = r->geometry;
    const char *base = layer_base(r, layer - g->layer_first, part->layer) + part->offset;
    uint32_t block_tokens = g->layout.block_tokens;
    uint64_t sum = 0;
    for (uint32_t t = r->token_first; t < r->token_end; t++) {
        const char *row = base + r->blocks[t / block_tokens] * part->block +
                          t % block_tokens * part->token;
        for (uint32_t h = 0; h < r->heads; h++) {
            uint32_t head = r->head_first + h;
            sum += segue_hash64(row + (head - g->head_first) * part->head, part->bytes,
                                seed_of(layer, t, head) ^ flip);
        }
    }
    return sum;
}

uint64_t segue_digest(const struct segue_digest_range *r, uint64_t *bytes)
{
    const struct segue_layout *l = &r->geometry->layout;
    uint64_t sum = 0, layers = 0;
    for (uint32_t i = 0; i < r->layers; i++) {
        if (r->sample && i != 0 && i != r->layers - 1)
            continue;
        sum += layer_digest(r, r->layer_first + i, &l->k, 0);
        if (l->v.bytes)
            sum += layer_digest(r, r->layer_first + i, &l->v, UINT64_MAX);
        layers++;
    }
    if (bytes)
        *bytes = layers * (r->token_end - r->token_first) * r->heads *
                 (l->k.bytes + l->v.bytes);
    return sum;
}

static void run(struct segue_task *task)
{
    struct segue_digest_job *job = segue_container_of(task, struct segue_digest_job,
                                                      task);
    job->value = segue_digest(&job->range, &job->bytes);
    job->done(job);
}

void segue_digest_start(struct segue_digest_job *job, struct segue_pool *pool)
{
    job->task.fn = run;
    segue_pool_submit(pool, &job->task);
}
