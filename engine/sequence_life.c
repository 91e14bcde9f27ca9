/* SPDX-License-Identifier: Apache-2.0 */
/* How a sequence goes from state to state: arrival, the connector's answers, each new
 * token, the end. */
#include "fail.h"
#include "scheduler_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connector_prompt sequence_prompt(const struct sequence *q)
{
    const struct request *request = q->request;
    return (struct connector_prompt){
        request->prompt, request->prompt_count, request->cache_salt,
        request->params, request->name,         request->answers ? request->answers : 1};
}

static void detach(struct scheduler *s, struct sequence *q)
{
    if (!q->attached)
        return;
    q->attached = false;
    s->opts.connector->leave(s->opts.connector_user, q->id);
}

/* Offers the prompt's blocks; false when there is no offer, with the reason in *message. */
static bool offer(struct scheduler *s, struct sequence *q, char **params)
{
    struct connector_prompt prompt = sequence_prompt(q);
    uint32_t size = s->opts.block_tokens;
    sequence_drop(s, q, (prompt.count + size - 1) / size);
    *params = NULL;
    if (s->opts.connector->offer(s->opts.connector_user, q->id, &prompt, q->blocks,
                                 q->block_count, params) != 0)
        return false;
    s->stats.offers++;
    return true;
}

void sequence_finish(struct scheduler *s, struct sequence *q,
                     const struct outcome *outcome)
{
    struct outcome end = *outcome;
    char *params = NULL;
    bool offered = false;
    end.cached_tokens = q->cached;
    detach(s, q);
    if (q->role == REQUEST_PREFILL &&
        (end.finish == FINISH_STOP || end.finish == FINISH_LENGTH)) {
        offered = offer(s, q, &params);
        if (!offered)
            end = (struct outcome){.finish = FINISH_ERROR, .message = engine_error()};
        end.params = params;
    }
    if (offered || q->load_open) {
        sequence_move(s, q, offered ? OFFERED : QUARANTINED);
    } else {
        queue_remove(queue_of(s, q->state), q);
        sequence_drop(s, q, 0);
    }
    s->stats.finished[end.finish]++;
    struct request *request = q->request;
    q->request = NULL;
    request->ended(request, &end);
    free(params);
    if (!offered && !q->load_open)
        scheduler_forget(s, q);
}

void sequence_fail(struct scheduler *s, struct sequence *q, enum segue_verdict verdict,
                   const char *message)
{
    struct outcome outcome = {.stop_token = TOKEN_NONE, .message = message};
    outcome.finish = verdict == SEGUE_VERDICT_NONE ? FINISH_ERROR : FINISH_HANDOFF;
    outcome.verdict = verdict;
    sequence_finish(s, q, &outcome);
}

void sequence_preempt(struct scheduler *s, struct sequence *q)
{
    s->stats.preemptions++;
    q->role = q->role == REQUEST_DECODE ? REQUEST_WHOLE : q->role;
    if (q->load_open) { /* judged valid, but not yet released */
        sequence_move(s, q, DRAINING);
        return;
    }
    sequence_drop(s, q, 0);
    queue_remove(queue_of(s, q->state), q);
    q->state = WAITING;
    queue_prepend(&s->waiting, q);
}

static bool is_stop(const struct scheduler *s, const struct request *request,
                    uint32_t token)
{
    if (token == s->opts.eos && !request->ignore_eos)
        return true;
    for (uint32_t i = 0; i < request->stop_count; i++)
        if (request->stop_tokens[i] == token)
            return true;
    return false;
}

void sequence_continue(struct scheduler *s, struct sequence *q, float *logits)
{
    struct request *request = q->request;
    uint32_t made = q->count - request->prompt_count;
    struct token_logprob top[REQUEST_TOP_MOST];
    struct generated new = {.top = top};
    if (request->logprobs)
        new.top_count = request->top_logprobs < REQUEST_TOP_MOST ? request->top_logprobs
                                                                 : REQUEST_TOP_MOST;
    if (made < request->min_tokens) {
        sampler_ban(logits, s->opts.vocab, &s->opts.eos, 1);
        sampler_ban(logits, s->opts.vocab, request->stop_tokens, request->stop_count);
    }
    new.token = sampler_pick(&request->sampling, made, logits, s->opts.vocab,
                             s->sampler_work);
    if (request->logprobs)
        new.logprob = sampler_logprobs(logits, s->opts.vocab, new.token, top,
                                       new.top_count);
    new.ends = is_stop(s, request, new.token);
    q->tokens[q->count++] = new.token;
    s->stats.generated_tokens++;
    bool more = request->token(request, &new);
    struct outcome end = {.stop_token = TOKEN_NONE, .finish = FINISH_STOP};
    if (new.ends &&new.token != s->opts.eos)
        end.stop_token = new.token;
    if (!new.ends && more && q->count >= q->limit)
        end.finish = FINISH_LENGTH;
    if (new.ends || !more || q->count >= q->limit)
        sequence_finish(s, q, &end);
}

void sequence_arrive(struct scheduler *s, struct sequence *q)
{
    q->state = WAITING;
    queue_append(&s->waiting, q);
    if (q->role != REQUEST_WHOLE && s->opts.connector == NULL) {
        sequence_fail(s, q, SEGUE_VERDICT_REFUSED,
                      "this engine neither offers nor loads KV; start it with --role");
        return;
    }
    if (q->role != REQUEST_DECODE)
        return;
    struct connector_prompt prompt = sequence_prompt(q);
    if (s->opts.connector->arrive(s->opts.connector_user, q->id, &prompt) != 0)
        sequence_fail(s, q, SEGUE_VERDICT_REFUSED, engine_error());
    else
        q->attached = true;
}

static void hear_loaded(struct scheduler *s, struct sequence *q, const struct news *news)
{
    s->stats.verdicts[news->verdict]++;
    q->attached = false;
    if (q->state != LOADING)
        return; /* it ended meanwhile */
    if (news->verdict == SEGUE_VERDICT_VALID) {
        s->stats.loaded_tokens += q->count - q->computed;
        /* The last prompt token runs here: its logits give the first token. */
        q->computed = q->count - 1;
        sequence_seal(s, q);
        sequence_move(s, q, RUNNING);
    } else if (s->opts.recompute && news->verdict != SEGUE_VERDICT_REFUSED) {
        q->role = REQUEST_WHOLE;
        sequence_move(s, q, DRAINING);
    } else {
        sequence_fail(s, q, news->verdict, news->detail);
    }
}

static void hear_released(struct scheduler *s, struct sequence *q)
{
    q->load_open = false;
    if (q->state != QUARANTINED && q->state != DRAINING)
        return;
    queue_remove(&s->held, q);
    sequence_drop(s, q, 0);
    if (q->state == QUARANTINED) {
        scheduler_forget(s, q);
        return;
    }
    q->state = WAITING;
    queue_prepend(&s->waiting, q);
}

void sequence_hear(struct scheduler *s, struct sequence *q, const struct news *news)
{
    if (news->aborted && q->request != NULL)
        sequence_finish(
            s, q, &(struct outcome){.finish = FINISH_ABORT, .stop_token = TOKEN_NONE});
    /* After an abort the sequence lives on only while it holds blocks for one of these. */
    if (news->loaded)
        hear_loaded(s, q, news);
    if (news->released)
        hear_released(s, q);
    else if (news->offer_ended) {
        queue_remove(&s->held, q);
        sequence_drop(s, q, 0);
        scheduler_forget(s, q);
    }
}
