/* SPDX-License-Identifier: Apache-2.0 */
/* Digests over strided KV, row by row, where it lies or in a bounce buffer. */
#include "handoff/digest.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/status.h"
#include "device/device.h"

#include <stdlib.h>

/* Distinct for every (layer, token, head) of a model with fewer than 2^16 layers and heads. */
static uint64_t seed_of(uint32_t layer, uint32_t token, uint32_t head)
{
    return (uint64_t)layer << 48 | (uint64_t)head << 32 | token;
}

/* All heads of one token, `head_bytes` from one to the next. */
static uint64_t token_digest(const struct segue_digest_range *r, const char *row,
                             uint64_t head_bytes, uint32_t bytes, uint32_t layer,
                             uint32_t token, uint64_t flip)
{
    uint64_t sum = 0;
    for (uint32_t h = 0; h < r->heads; h++)
        sum += segue_hash64(row + h * head_bytes, bytes,
                            seed_of(layer, token, r->head_first + h) ^ flip);
    return sum;
}

/* One part (K or V) of one layer; V's seed is the complement of K's. */
static uint64_t layer_digest(const struct segue_digest_range *r, uint32_t layer,
                             const struct segue_layout_part *part, uint64_t flip)
{
    const struct segue_geometry *g = r->geometry;
    struct segue_layer place = segue_geometry_layer(g, layer - g->layer_first,
                                                    part == &g->layout.v);
    const char *base = r->memory[place.region].base + place.offset + part->offset +
                       (r->head_first - g->head_first) * part->head;
    uint32_t block_tokens = g->layout.block_tokens;
    uint64_t sum = 0;
    for (uint32_t t = r->token_first; t < r->token_end; t++) {
        const char *row = base + r->blocks[t / block_tokens] * part->block +
                          t % block_tokens * part->token;
        sum += token_digest(r, row, part->head, part->bytes, layer, t, flip);
    }
    return sum;
}

/* A sample is the first layer and the last. */
static bool counts(const struct segue_digest_range *r, uint32_t i)
{
    return !r->sample || i == 0 || i == r->layers - 1;
}

uint64_t segue_digest(const struct segue_digest_range *r, uint64_t *bytes)
{
    const struct segue_layout *l = &r->geometry->layout;
    uint64_t sum = 0, layers = 0;
    for (uint32_t i = 0; i < r->layers; i++) {
        if (!counts(r, i))
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

/* ---- memory the CPU cannot address ---- */

#define BOUNCE_BYTES  (UINT64_C(1) << 20)
#define BOUNCE_TOKENS 1024u

/* Rows (token, head, K then V) of one layer and up to BOUNCE_TOKENS tokens. */
struct segue_digest_bounce {
    struct segue_copy_job copy;
    struct segue_move move[2];
    struct segue_span span
        [BOUNCE_TOKENS]; /* one token each: what a device that knows no strides takes */
    struct segue_extent buffer;
    uint32_t layer, token, tokens; /* what the buffer holds, or is being filled with */
    char bytes[];
};

static uint32_t content_bytes(const struct segue_layout *l)
{
    return l->k.bytes + l->v.bytes;
}

static struct segue_move bounce_move(const struct segue_digest_range *r, uint32_t layer,
                                     const struct segue_layout_part *part, uint64_t to)
{
    const struct segue_geometry *g = r->geometry;
    uint32_t content = content_bytes(&g->layout);
    struct segue_layer place = segue_geometry_layer(g, layer - g->layer_first,
                                                    part == &g->layout.v);
    return (struct segue_move){.src_region = place.region,
                               .src_offset = place.offset + part->offset +
                                             (r->head_first - g->head_first) * part->head,
                               .src_block = part->block,
                               .src_token = part->token,
                               .dst_offset = to,
                               .dst_token = (uint64_t)content * r->heads,
                               .run = part->bytes,
                               .dims = 1,
                               .dim = {{r->heads, part->head, content}}};
}

static void bounce_copied(struct segue_copy_job *copy, enum segue_status status);

static enum segue_status bounce_copy(struct segue_digest_job *job)
{
    const struct segue_digest_range *r = &job->range;
    const struct segue_layout *l = &r->geometry->layout;
    struct segue_digest_bounce *b = job->bounce;
    uint64_t fit = b->buffer.len / ((uint64_t)content_bytes(l) * r->heads);
    uint32_t left = r->token_end - b->token,
             most = fit < BOUNCE_TOKENS ? (uint32_t)fit : BOUNCE_TOKENS;
    b->tokens = left < most ? left : most;
    for (uint32_t i = 0; i < b->tokens; i++) {
        uint32_t t = b->token + i;
        b->span[i] = (struct segue_span){r->blocks[t / l->block_tokens],
                                         t % l->block_tokens, 0, i, 1};
    }
    b->move[0] = bounce_move(r, r->layer_first + b->layer, &l->k, 0);
    b->move[1] = bounce_move(r, r->layer_first + b->layer, &l->v, l->k.bytes);
    b->copy = (struct segue_copy_job){
        .transfer = {b->move, l->v.bytes ? 2 : 1, b->span, b->tokens},
        .src = r->memory,
        .n_src = job->n_memory,
        .dst = &b->buffer,
        .n_dst = 1,
        .done = bounce_copied,
        .user = job};
    return segue_device_copy(job->device, &b->copy);
}

static void bounce_hash(struct segue_digest_job *job)
{
    const struct segue_digest_range *r = &job->range;
    const struct segue_layout *l = &r->geometry->layout;
    const struct segue_digest_bounce *b = job->bounce;
    uint32_t content = content_bytes(l), layer = r->layer_first + b->layer;
    for (uint32_t i = 0; i < b->tokens; i++) {
        const char *row = b->bytes + (uint64_t)i * content * r->heads;
        uint32_t t = b->token + i;
        job->value += token_digest(r, row, content, l->k.bytes, layer, t, 0);
        if (l->v.bytes)
            job->value += token_digest(r, row + l->k.bytes, content, l->v.bytes, layer, t,
                                       UINT64_MAX);
    }
    job->bytes += (uint64_t)b->tokens * content * r->heads;
}

/* To the next stretch of tokens; false when that was the last. */
static bool bounce_next(struct segue_digest_job *job)
{
    const struct segue_digest_range *r = &job->range;
    struct segue_digest_bounce *b = job->bounce;
    b->token += b->tokens;
    if (b->token < r->token_end)
        return true;
    b->token = r->token_first;
    do
        b->layer++;
    while (b->layer < r->layers && !counts(r, b->layer));
    return b->layer < r->layers;
}

static void bounce_copied(struct segue_copy_job *copy, enum segue_status status)
{
    struct segue_digest_job *job = copy->user;
    if (status >= 0) {
        bounce_hash(job);
        if (bounce_next(job)) {
            status = bounce_copy(job);
            if (status >= 0)
                return;
        }
    }
    job->status = status;
    job->done(job);
}

static enum segue_status bounce_start(struct segue_digest_job *job)
{
    const struct segue_digest_range *r = &job->range;
    uint64_t token = (uint64_t)content_bytes(&r->geometry->layout) * r->heads;
    uint64_t len = token > BOUNCE_BYTES ? token : BOUNCE_BYTES;
    if (job->bounce && job->bounce->buffer.len < len) {
        free(job->bounce);
        job->bounce = NULL;
    }
    if (!job->bounce) {
        job->bounce = malloc(sizeof *job->bounce + len);
        if (!job->bounce)
            return segue_fail(SEGUE_E_MEMORY, "no memory to read %s for a digest",
                              job->device->name);
        job->bounce->buffer = (struct segue_extent){job->bounce->bytes, len};
    }
    job->bounce->layer = 0;
    job->bounce->token = r->token_first;
    return bounce_copy(job);
}

enum segue_status segue_digest_start(struct segue_digest_job *job,
                                     struct segue_pool *pool)
{
    if (job->device)
        return bounce_start(job);
    job->task.fn = run;
    segue_pool_submit(pool, &job->task);
    return SEGUE_OK;
}
