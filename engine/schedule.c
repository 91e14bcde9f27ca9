/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans one step: first every sequence that decodes (one token each), then the prompts
 * under way, in chunks, then new requests in order of arrival, as far as tokens and blocks
 * go. Who decodes and finds no free block pushes out the youngest.
 */
#include "fail.h"
#include "scheduler_inside.h"

/* How many of its tokens are not computed yet. */
static uint32_t pending(const struct sequence *q)
{
    return q->count - q->computed;
}

static void add_to_batch(struct scheduler *s, struct sequence *q)
{
    uint32_t room = s->opts.max_tokens - s->batch_tokens;
    uint32_t count = pending(q) < room ? pending(q) : room;
    if (count == 0)
        return;
    struct step_seq *step = &s->batch[s->batch_count];
    *step = (struct step_seq){
        .tokens = q->tokens + q->computed,
        .n_tokens = count,
        .past = q->computed,
        .blocks = q->blocks,
        .n_blocks = q->block_count,
        /* Whoever loads a prompt computes its last token itself. */
        .rounded = q->request->prompt_count - 1,
    };
    if (count == pending(q)) {
        step->want = STEP_LAST_LOGITS;
        step->logits = s->logits + (size_t)s->batch_count * s->opts.vocab;
    }
    s->batch_sequences[s->batch_count++] = q;
    s->batch_tokens += count;
}

/* Makes room for q's next token. False: q itself had to go. */
static bool make_room(struct scheduler *s, struct sequence *q, bool *preempted)
{
    while (!sequence_grow(s, q)) {
        struct sequence *youngest = s->running.last;
        *preempted = true;
        sequence_preempt(s, youngest);
        if (youngest == q)
            return false;
    }
    return true;
}

static void add_decodes(struct scheduler *s, bool *preempted)
{
    /* Victims come from the end, so that `next` is looked at only after making room. */
    for (struct sequence *q = s->running.first, *next; q != NULL; q = next) {
        bool stays = pending(q) != 1 || make_room(s, q, preempted);
        if (!stays)
            return; /* it was the last one */
        next = q->next;
        if (pending(q) == 1)
            add_to_batch(s, q);
    }
}

static void start_load(struct scheduler *s, struct sequence *q)
{
    struct connector_prompt prompt = sequence_prompt(q);
    if (s->opts.connector->load(s->opts.connector_user, q->id, &prompt, q->blocks,
                                q->block_count, q->computed) != 0) {
        sequence_fail(s, q, SEGUE_VERDICT_REFUSED, engine_error());
        return;
    }
    q->load_open = true;
    sequence_move(s, q, LOADING);
}

/* Whether the first in the queue got what it needs; it is then there no more. */
static bool admit(struct scheduler *s)
{
    struct sequence *q = s->waiting.first;
    /* A block for everyone who runs, or the new one is pushed out again at once. */
    if (s->running.count + s->loading.count >= s->opts.max_seqs ||
        !sequence_reserve(s, q, s->running.count))
        return false;
    if (q->role == REQUEST_DECODE && pending(q) > 1) {
        start_load(s, q);
        return true;
    }
    if (q->attached) {
        q->attached = false;
        s->opts.connector->leave(s->opts.connector_user, q->id);
    }
    sequence_move(s, q, RUNNING);
    add_to_batch(s, q);
    return true;
}

bool schedule_plan(struct scheduler *s)
{
    bool preempted = false;
    s->batch_count = s->batch_tokens = 0;
    add_decodes(s, &preempted);
    for (struct sequence *q = s->running.first; q != NULL; q = q->next)
        if (pending(q) > 1)
            add_to_batch(s, q);
    while (!preempted && s->waiting.first != NULL && s->batch_tokens < s->opts.max_tokens)
        if (!admit(s))
            break;
    return preempted;
}
