/* SPDX-License-Identifier: Apache-2.0 */
/* Copies words from one fake model's blocks to the other's. */
#include "fake/connector.h"
#include "fail.h"

#include <assert.h>
#include <string.h>

void fake_connector_open(struct fake_connector *c, struct fake_model *from,
                         struct fake_model *to)
{
    *c = (struct fake_connector){.from = from, .to = to};
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->gate, NULL);
    pthread_cond_init(&c->changed, NULL);
}

static void set(struct fake_connector *c, uint64_t *what, uint64_t to)
{
    pthread_mutex_lock(&c->lock);
    *what = to;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void wait_for(struct fake_connector *c, const uint64_t *what)
{
    pthread_mutex_lock(&c->lock);
    while (*what == 0)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static int arrive(void *user, uint64_t request, const struct connector_prompt *prompt)
{
    struct fake_connector *c = user;
    if (c->refuse_arrive)
        return engine_fail("the fake connector does not know %s", prompt->params);
    set(c, &c->arrived, request);
    pthread_mutex_lock(&c->gate);
    pthread_mutex_unlock(&c->gate);
    return 0;
}

static int load(void *user, uint64_t request, const struct connector_prompt *prompt,
                const uint32_t *blocks, uint32_t block_count, uint32_t first)
{
    struct fake_connector *c = user;
    if (c->refuse_load)
        return engine_fail("the fake connector does not load");
    assert(block_count <= 64 && c->arrived == request);
    assert(prompt->count == c->tokens && first % c->to->block_tokens == 0);
    memcpy(c->to_blocks, blocks, block_count * sizeof *blocks);
    c->first = first;
    set(c, &c->loading, request);
    return 0;
}

static void leave(void *user, uint64_t request)
{
    struct fake_connector *c = user;
    assert(c->arrived == request && c->left == 0);
    set(c, &c->left, request);
}

static int offer(void *user, uint64_t request, const struct connector_prompt *prompt,
                 const uint32_t *blocks, uint32_t block_count, char **params)
{
    struct fake_connector *c = user;
    if (c->refuse_offer)
        return engine_fail("the fake connector does not offer");
    assert(block_count <= 64);
    memcpy(c->from_blocks, blocks, block_count * sizeof *blocks);
    c->tokens = prompt->count;
    *params = strdup("{\"fake\": true}");
    set(c, &c->offered, request);
    return 0;
}

const struct connector_ops fake_connector_ops = {
    .arrive = arrive, .load = load, .leave = leave, .offer = offer};

void fake_connector_wait_arrived(struct fake_connector *c)
{
    wait_for(c, &c->arrived);
}

void fake_connector_wait_load(struct fake_connector *c)
{
    wait_for(c, &c->loading);
}

void fake_connector_wait_left(struct fake_connector *c)
{
    wait_for(c, &c->left);
}

void fake_connector_copy(struct fake_connector *c)
{
    for (uint32_t i = c->first; i < c->tokens; i++)
        c->to->kv[c->to_blocks[i / c->to->block_tokens] * c->to->block_tokens +
                  i % c->to->block_tokens] =
            c->from
                ->kv[c->from_blocks[i / c->from->block_tokens] * c->from->block_tokens +
                     i % c->from->block_tokens];
}
