/* SPDX-License-Identifier: Apache-2.0 */
/* Devices in tests: opened by name over a pool of two, with copies that can be waited
 * for. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include <pthread.h>
#include "test.h"
#include "device/device.h"

struct opened {
    struct segue_pool *pool;
    struct segue_device *dev;
};

static inline struct opened device_open(const char *name)
{
    struct opened d;
    assert_ok(segue_pool_create(2, "movers", &d.pool));
    struct segue_device_args args = {.name = name, .pool = d.pool};
    assert_ok(segue_device_open(&args, &d.dev));
    return d;
}

static inline void device_close(struct opened *d)
{
    segue_device_close(d->dev);
    segue_pool_destroy(d->pool);
}

/* Counts how often something ended, and lets a test wait for it. */
struct ending {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int times;
    enum segue_status status;
};
#define ENDING_INIT                                                                      \
    {                                                                                    \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, SEGUE_OK                 \
    }

static inline void ending_note(struct ending *e, enum segue_status status)
{
    pthread_mutex_lock(&e->lock);
    e->times++;
    e->status = status;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static inline enum segue_status ending_wait(struct ending *e)
{
    pthread_mutex_lock(&e->lock);
    while (e->times == 0)
        pthread_cond_wait(&e->changed, &e->lock);
    enum segue_status status = e->status;
    assert_int_equal(e->times, 1);
    pthread_mutex_unlock(&e->lock);
    return status;
}

static inline int ending_times(struct ending *e)
{
    pthread_mutex_lock(&e->lock);
    int times = e->times;
    pthread_mutex_unlock(&e->lock);
    return times;
}

static inline void copy_ended(struct segue_copy_job *job, enum segue_status status)
{
    ending_note(job->user, status);
}

static inline void wait_ended(struct segue_wait *wait, enum segue_status status)
{
    ending_note(wait->user, status);
}

/* Copies and waits; what the post refused comes back as well. */
static inline enum segue_status device_copy(struct segue_device *dev,
                                            const struct segue_transfer *t,
                                            struct segue_extent src,
                                            struct segue_extent dst)
{
    struct ending ending = ENDING_INIT;
    struct segue_copy_job job = {.transfer = *t,
                                 .src = &src,
                                 .dst = &dst,
                                 .n_src = 1,
                                 .n_dst = 1,
                                 .done = copy_ended,
                                 .user = &ending};
    enum segue_status status = segue_device_copy(dev, &job);
    if (status < 0)
        return status;
    return ending_wait(&ending);
}

#endif
