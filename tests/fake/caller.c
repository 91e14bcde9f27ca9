/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps what the scheduler tells. */
#include "fake/caller.h"
#include "fake/model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static bool on_token(struct request *request, const struct generated *generated)
{
    struct fake_caller *c = request->user;
    pthread_mutex_lock(&c->lock);
    assert(c->count < FAKE_MOST && !c->ended); /* not cmocka's thread */
    c->tokens[c->count++] = generated->token;
    bool more = c->count != c->stop_after;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return more;
}

static void on_end(struct request *request, const struct outcome *outcome)
{
    struct fake_caller *c = request->user;
    pthread_mutex_lock(&c->lock);
    assert(!c->ended);
    c->outcome = *outcome;
    snprintf(c->message, sizeof c->message, "%s",
             outcome->message ? outcome->message : "");
    snprintf(c->params, sizeof c->params, "%s", outcome->params ? outcome->params : "");
    c->ended = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void fake_caller_open(struct fake_caller *c, uint32_t salt, uint32_t count,
                      uint32_t max_tokens)
{
    *c = (struct fake_caller){0};
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    for (uint32_t i = 0; i < count; i++)
        c->prompt[i] = (salt * 31 + i * 7 + i * i) % FAKE_VOCAB;
    c->request = (struct request){
        .prompt = c->prompt,
        .prompt_count = count,
        .max_tokens = max_tokens,
        .token = on_token,
        .ended = on_end,
        .user = c,
    };
}

void fake_caller_submit(struct fake_caller *c, struct scheduler *scheduler)
{
    int submitted = scheduler_submit(scheduler, &c->request, &c->id);
    assert(submitted == 0);
}

void fake_caller_wait(struct fake_caller *c, uint32_t count)
{
    pthread_mutex_lock(&c->lock);
    while (c->count < count && !c->ended)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void fake_caller_finish(struct fake_caller *c)
{
    fake_caller_wait(c, UINT32_MAX);
    uint32_t all[2 * FAKE_MOST];
    memcpy(all, c->prompt, c->request.prompt_count * sizeof *all);
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t before = c->request.prompt_count + i;
        assert(c->tokens[i] == fake_model_next(all, before));
        all[before] = c->tokens[i];
    }
}
