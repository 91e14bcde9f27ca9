/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue, one lock, one condition. The lock is held to link and unlink a task and
 * never while one runs. Threads are started under the lock, one whenever a task comes
 * and no worker is idle, so a pool that is never used costs no thread.
 */
#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct segue_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct segue_task *first, *last;
    size_t queued;
    unsigned max, started, idle;
    bool ending;
    char name[16];
    pthread_t threads[];
};

enum segue_status segue_pool_create(unsigned threads, const char *name,
                                    struct segue_pool **out)
{
    struct segue_pool *pool = calloc(1, sizeof *pool + threads * sizeof(pthread_t));
    if (!pool)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a pool of %u threads", threads);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->max = threads;
    snprintf(pool->name, sizeof pool->name, "%s", name);
    *out = pool;
    return SEGUE_OK;
}

/* Returns NULL when the pool is ending and nothing is left. Called with the lock. */
static struct segue_task *next_task(struct segue_pool *pool)
{
    while (!pool->first && !pool->ending) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->idle--;
    }
    struct segue_task *task = pool->first;
    if (task) {
        pool->first = task->next;
        pool->queued--;
    }
    return task;
}

static void *work(void *arg)
{
    struct segue_pool *pool = arg;
    pthread_setname_np(pthread_self(), pool->name);
    pthread_mutex_lock(&pool->lock);
    for (struct segue_task *task; (task = next_task(pool));) {
        pthread_mutex_unlock(&pool->lock);
        segue_task_run(task);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Called with the lock. */
static void start_worker(struct segue_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&pool->threads[pool->started], NULL, work, pool) == 0)
        pool->started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

unsigned segue_pool_threads(const struct segue_pool *pool)
{
    return pool->max;
}

bool segue_pool_submit(struct segue_pool *pool, struct segue_task *task)
{
    if (!segue_task_claim(task))
        return false;
    pthread_mutex_lock(&pool->lock);
    /* A worker that was signalled counts as idle until it runs, hence the comparison. */
    if (pool->idle <= pool->queued && pool->started < pool->max)
        start_worker(pool);
    if (!pool->started) {
        pthread_mutex_unlock(&pool->lock);
        segue_task_run(task);
        return true;
    }
    task->next = NULL;
    if (pool->first)
        pool->last->next = task;
    else
        pool->first = task;
    pool->last = task;
    pool->queued++;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    return true;
}

bool segue_pool_waiting(struct segue_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool waiting = pool->queued > 0;
    pthread_mutex_unlock(&pool->lock);
    return waiting;
}

void segue_pool_destroy(struct segue_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    /* A running task may submit more and so start workers: those come before it ends. */
    for (unsigned i = 0; i < pool->started; i++) {
        pthread_mutex_unlock(&pool->lock);
        pthread_join(pool->threads[i], NULL);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
