/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler's thread, and the doors through which others talk to it. */
#include "fail.h"
#include "scheduler_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void publish(struct scheduler *s)
{
    struct scheduler_stats *stats = &s->stats;
    stats->waiting = s->waiting.count;
    stats->running = s->running.count;
    stats->loading = s->loading.count;
    stats->blocks = blocks_total(s->blocks);
    stats->blocks_free = blocks_free(s->blocks);
    stats->blocks_offered = stats->blocks_quarantined = 0;
    for (struct sequence *q = s->held.first; q != NULL; q = q->next)
        *(q->state == OFFERED ? &stats->blocks_offered
                              : &stats->blocks_quarantined) += q->block_count;
    s->published = *stats;
    s->published.waiting += s->incoming.count;
}

/* Runs what schedule_plan planned. */
static void step(struct scheduler *s)
{
    s->stats.steps++;
    bool done = s->opts.step(s->opts.step_user, s->batch, s->batch_count) == 0;
    for (uint32_t i = 0; i < s->batch_count; i++) {
        struct sequence *q = s->batch_sequences[i];
        if (!done) {
            sequence_fail(s, q, SEGUE_VERDICT_NONE, engine_error());
            continue;
        }
        uint32_t in_prompt = q->request->prompt_count;
        if (q->computed < in_prompt)
            s->stats.prompt_tokens += s->batch[i].n_tokens;
        q->computed += s->batch[i].n_tokens;
        sequence_seal(s, q);
        if (s->batch[i].want == STEP_LAST_LOGITS)
            sequence_continue(s, q, s->batch[i].logits);
    }
}

/* What is new is handled one at a time, and arrivals first: there may be news already of
 * a request that has only just come. False: nothing is new. */
static bool handle_next(struct scheduler *s)
{
    struct news news;
    pthread_mutex_lock(&s->lock);
    struct sequence *arrival = s->incoming.first, *touched = s->touched;
    if (arrival != NULL) {
        queue_remove(&s->incoming, arrival);
    } else if (touched != NULL) {
        s->touched = touched->next_touched;
        touched->touched = false;
        news = touched->news;
        memset(&touched->news, 0, sizeof touched->news);
    }
    pthread_mutex_unlock(&s->lock);
    if (arrival != NULL)
        sequence_arrive(s, arrival);
    else if (touched != NULL)
        sequence_hear(s, touched, &news);
    return arrival != NULL || touched != NULL;
}

/* One round with the lock held at both ends, and not between. */
static void turn(struct scheduler *s)
{
    s->idle = true; /* until the step, or news, says otherwise */
    pthread_mutex_unlock(&s->lock);

    while (handle_next(s))
        ;
    bool again = schedule_plan(s);
    if (s->batch_count > 0) {
        step(s);
        again = true;
    }

    pthread_mutex_lock(&s->lock);
    if (again)
        s->idle = false;
    publish(s);
}

static void end_all(struct scheduler *s, struct queue *queue)
{
    while (queue->first != NULL)
        sequence_finish(
            s, queue->first,
            &(struct outcome){.finish = FINISH_ABORT, .stop_token = TOKEN_NONE});
}

static void *run(void *user)
{
    struct scheduler *s = user;
    pthread_mutex_lock(&s->lock);
    publish(s);
    while (!s->stopping) {
        if (s->idle)
            pthread_cond_wait(&s->wake, &s->lock);
        else
            turn(s);
    }
    struct queue incoming = s->incoming;
    s->incoming = (struct queue){0};
    pthread_mutex_unlock(&s->lock);
    for (struct sequence *q = incoming.first, *next; q != NULL; q = next) {
        next = q->next;
        queue_append(&s->waiting, q);
    }
    end_all(s, &s->waiting);
    end_all(s, &s->running);
    end_all(s, &s->loading);
    for (struct sequence *q = s->held.first, *next; q != NULL; q = next) {
        next = q->next;
        if (q->request != NULL)
            sequence_finish(
                s, q,
                &(struct outcome){.finish = FINISH_ABORT, .stop_token = TOKEN_NONE});
    }
    return NULL;
}

static int check(const struct scheduler_opts *opts)
{
    if (opts->block_tokens == 0 || opts->max_seqs == 0 || opts->vocab == 0)
        return engine_fail("a scheduler needs blocks, sequences and a vocabulary");
    if (opts->max_tokens < opts->max_seqs)
        return engine_fail("%u tokens a step are fewer than %u sequences",
                           opts->max_tokens, opts->max_seqs);
    if (opts->context < 2 || (uint64_t)opts->blocks * opts->block_tokens < opts->context)
        return engine_fail(
            "a KV cache of %u blocks of %u tokens does not hold one request "
            "of %u tokens",
            opts->blocks, opts->block_tokens, opts->context);
    return 0;
}

int scheduler_open(struct scheduler **out, const struct scheduler_opts *opts)
{
    if (check(opts) != 0)
        return -1;
    struct scheduler *s = calloc(1, sizeof *s);
    if (s == NULL)
        return engine_fail("no memory for a scheduler");
    s->opts = *opts;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->blocks = blocks_create(opts->blocks, opts->secret);
    s->batch = calloc(opts->max_seqs, sizeof *s->batch);
    s->batch_sequences = calloc(opts->max_seqs, sizeof *s->batch_sequences);
    s->logits = malloc((size_t)opts->max_seqs * opts->vocab * sizeof *s->logits);
    s->sampler_work = malloc(opts->vocab * sizeof *s->sampler_work);
    s->stopping = true; /* no thread yet */
    if (s->blocks == NULL || s->batch == NULL || s->batch_sequences == NULL ||
        s->logits == NULL || s->sampler_work == NULL) {
        scheduler_close(s);
        return engine_fail("no memory for a scheduler of %u sequences", opts->max_seqs);
    }
    s->stopping = false;
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        s->stopping = true;
        scheduler_close(s);
        return engine_fail("the scheduler's thread cannot be started");
    }
    *out = s;
    return 0;
}

void scheduler_stop(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    bool running = !s->stopping;
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (running)
        pthread_join(s->thread, NULL);
}

void scheduler_close(struct scheduler *s)
{
    if (s == NULL)
        return;
    scheduler_stop(s);
    while (s->known != NULL)
        scheduler_forget(s, s->known);
    blocks_destroy(s->blocks);
    free(s->batch);
    free(s->batch_sequences);
    free(s->logits);
    free(s->sampler_work);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void scheduler_forget(struct scheduler *s, struct sequence *q)
{
    pthread_mutex_lock(&s->lock);
    if (q->touched) { /* late news of something that is over */
        struct sequence **link = &s->touched;
        while (*link != q)
            link = &(*link)->next_touched;
        *link = q->next_touched;
    }
    *(q->previous_known != NULL ? &q->previous_known->next_known
                                : &s->known) = q->next_known;
    if (q->next_known != NULL)
        q->next_known->previous_known = q->previous_known;
    pthread_mutex_unlock(&s->lock);
    sequence_free(q);
}

static void wake(struct scheduler *s)
{
    s->idle = false;
    pthread_cond_signal(&s->wake);
}

int scheduler_submit(struct scheduler *s, struct request *request, uint64_t *id)
{
    if (request->prompt_count == 0 || request->prompt_count >= s->opts.context)
        return engine_fail(
            "a prompt of %u tokens does not leave room for an answer in %u",
            request->prompt_count, s->opts.context);
    struct sequence *q = sequence_create(&s->opts, request);
    if (q == NULL)
        return engine_fail("no memory for a request of %u tokens", request->prompt_count);
    pthread_mutex_lock(&s->lock);
    if (s->stopping) {
        pthread_mutex_unlock(&s->lock);
        sequence_free(q);
        return engine_fail("the engine is shutting down");
    }
    q->id = *id = ++s->next_id;
    q->next_known = s->known;
    if (s->known != NULL)
        s->known->previous_known = q;
    s->known = q;
    queue_append(&s->incoming, q);
    s->published.waiting++;
    wake(s);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* Marks news for the thread. The lock is held; NULL when the request is over. */
static struct sequence *touch(struct scheduler *s, uint64_t id)
{
    struct sequence *q = s->known;
    while (q != NULL && q->id != id)
        q = q->next_known;
    if (q != NULL && !q->touched) {
        q->touched = true;
        q->next_touched = s->touched;
        s->touched = q;
    }
    wake(s);
    return q;
}

void scheduler_abort(struct scheduler *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    struct sequence *q = touch(s, id);
    if (q != NULL)
        q->news.aborted = true;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_loaded(struct scheduler *s, uint64_t id, enum segue_verdict verdict,
                      const char *detail)
{
    pthread_mutex_lock(&s->lock);
    struct sequence *q = touch(s, id);
    if (q != NULL) {
        q->news.loaded = true;
        q->news.verdict = verdict;
        snprintf(q->news.detail, sizeof q->news.detail, "%s", detail);
    }
    pthread_mutex_unlock(&s->lock);
}

void scheduler_released(struct scheduler *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    struct sequence *q = touch(s, id);
    if (q != NULL)
        q->news.released = true;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_offer_ended(struct scheduler *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    struct sequence *q = touch(s, id);
    if (q != NULL)
        q->news.offer_ended = true;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_stats(struct scheduler *s, struct scheduler_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->published;
    pthread_mutex_unlock(&s->lock);
}
