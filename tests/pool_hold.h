/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps every thread of a pool busy until it is let go: what still goes on needs no pool. */
#ifndef TESTS_POOL_HOLD_H
#define TESTS_POOL_HOLD_H

#include <semaphore.h>
#include <stdatomic.h>
#include "base/pool.h"
#include "test.h"

struct pool_hold {
    struct segue_task task[8];
    sem_t gate;
    atomic_uint running;
};

static inline void pool_held_(struct segue_task *task)
{
    struct pool_hold *hold = task->user;
    atomic_fetch_add(&hold->running, 1);
    while (sem_wait(&hold->gate) < 0)
        ; /* EINTR */
    atomic_fetch_sub(&hold->running, 1);
}

static inline void pool_hold(struct pool_hold *hold, struct segue_pool *pool)
{
    unsigned n = segue_pool_threads(pool);
    assert_true(n <= sizeof hold->task / sizeof *hold->task);
    sem_init(&hold->gate, 0, 0);
    for (unsigned i = 0; i < n; i++) {
        hold->task[i].fn = pool_held_;
        hold->task[i].user = hold;
        segue_pool_submit(pool, &hold->task[i]);
    }
    assert_soon(atomic_load(&hold->running) == n);
}

/* Any thread. */
static inline void pool_let_go(struct pool_hold *hold)
{
    for (unsigned i = atomic_load(&hold->running); i > 0; i--)
        sem_post(&hold->gate);
    assert_soon(atomic_load(&hold->running) == 0);
}

#endif
