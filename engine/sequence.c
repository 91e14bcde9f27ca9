/* SPDX-License-Identifier: Apache-2.0 */
/* A sequence and its blocks: what it takes, shares, fills and gives back. */
#include "scheduler_inside.h"

#include <stdlib.h>
#include <string.h>

void queue_append(struct queue *queue, struct sequence *sequence)
{
    sequence->next = NULL;
    sequence->previous = queue->last;
    *(queue->last != NULL ? &queue->last->next : &queue->first) = sequence;
    queue->last = sequence;
    queue->count++;
}

void queue_prepend(struct queue *queue, struct sequence *sequence)
{
    sequence->previous = NULL;
    sequence->next = queue->first;
    *(queue->first != NULL ? &queue->first->previous : &queue->last) = sequence;
    queue->first = sequence;
    queue->count++;
}

void queue_remove(struct queue *queue, struct sequence *sequence)
{
    *(sequence->previous != NULL ? &sequence->previous->next
                                 : &queue->first) = sequence->next;
    *(sequence->next != NULL ? &sequence->next->previous
                             : &queue->last) = sequence->previous;
    queue->count--;
}

struct queue *queue_of(struct scheduler *s, enum sequence_state state)
{
    switch (state) {
    case WAITING:
        return &s->waiting;
    case RUNNING:
        return &s->running;
    case LOADING:
        return &s->loading;
    default:
        return &s->held;
    }
}

void sequence_move(struct scheduler *s, struct sequence *q, enum sequence_state state)
{
    queue_remove(queue_of(s, q->state), q);
    q->state = state;
    queue_append(queue_of(s, state), q);
}

static uint32_t blocks_for(const struct scheduler_opts *opts, uint32_t tokens)
{
    return tokens / opts->block_tokens + (tokens % opts->block_tokens != 0);
}

struct sequence *sequence_create(const struct scheduler_opts *opts,
                                 struct request *request)
{
    struct sequence *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->request = request;
    q->role = request->role;
    q->count = request->prompt_count;
    q->limit = opts->context;
    if (request->max_tokens < opts->context - q->count)
        q->limit = q->count + request->max_tokens;
    q->tokens = malloc(q->limit * sizeof *q->tokens);
    q->blocks = malloc(blocks_for(opts, q->limit) * sizeof *q->blocks);
    if (q->tokens == NULL || q->blocks == NULL) {
        sequence_free(q);
        return NULL;
    }
    memcpy(q->tokens, request->prompt, q->count * sizeof *q->tokens);
    return q;
}

void sequence_free(struct sequence *q)
{
    free(q->tokens);
    free(q->blocks);
    free(q);
}

/* The longest run of sealed blocks; the last token is always computed, as its logits are
 * what the next one comes from. */
static void take_cached(struct scheduler *s, struct sequence *q)
{
    uint32_t size = s->opts.block_tokens, most = (q->count - 1) / size;
    q->hash = blocks_root(s->blocks, q->request->cache_salt);
    q->block_count = 0;
    while (s->opts.prefix_caching && q->block_count < most) {
        struct block_hash next = blocks_chain(
            s->blocks, q->hash, q->tokens + (size_t)q->block_count * size, size);
        if (!blocks_find(s->blocks, next, &q->blocks[q->block_count]))
            break;
        q->hash = next;
        q->block_count++;
    }
    q->sealed = q->block_count;
    q->computed = q->block_count * size;
}

bool sequence_reserve(struct scheduler *s, struct sequence *q, uint32_t spare)
{
    uint32_t all = blocks_for(&s->opts, q->count);
    take_cached(s, q);
    uint32_t found = q->block_count, need = all - found;
    if (blocks_free(s->blocks) < need || blocks_free(s->blocks) - need < spare ||
        !blocks_take(s->blocks, need, q->blocks + found)) {
        sequence_drop(s, q, 0);
        return false;
    }
    q->block_count = all;
    if (s->opts.prefix_caching) {
        s->stats.prefix_queries += q->count;
        s->stats.prefix_hits += q->computed;
    }
    if (q->count == q->request->prompt_count)
        q->cached = q->computed;
    return true;
}

bool sequence_grow(struct scheduler *s, struct sequence *q)
{
    if (q->block_count >= blocks_for(&s->opts, q->count))
        return true;
    if (!blocks_take(s->blocks, 1, &q->blocks[q->block_count]))
        return false;
    q->block_count++;
    return true;
}

void sequence_seal(struct scheduler *s, struct sequence *q)
{
    uint32_t size = s->opts.block_tokens;
    for (; s->opts.prefix_caching && (q->sealed + 1) * size <= q->computed; q->sealed++) {
        q->hash = blocks_chain(s->blocks, q->hash, q->tokens + (size_t)q->sealed * size,
                               size);
        blocks_seal(s->blocks, q->blocks[q->sealed], q->hash);
    }
}

void sequence_drop(struct scheduler *s, struct sequence *q, uint32_t keep)
{
    /* The last first: an end is of no use without its beginning, so it is re-used before. */
    while (q->block_count > keep)
        blocks_drop(s->blocks, q->blocks[--q->block_count]);
    if (keep == 0)
        q->computed = q->sealed = 0;
}
