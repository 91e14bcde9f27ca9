/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs late on a sim device's thread: the work of its streams, each in order, the
 * waits for its events, and the end of copies that were done before their time.
 */
#include "device/sim.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/status.h"

/* How soon a cancelled copy is noticed that waits for its time. */
#define LOOK_NS (50 * SEGUE_NS_PER_MS)

struct segue_sim_event {
    struct segue_sim *sim;
    struct segue_list waits;
    unsigned refs; /* the handle's, and the work's that will retire it */
    bool retired;
};

/* One piece of work in a stream: a function to run, or an event to retire. */
struct work {
    struct segue_list link;
    void (*fn)(void *user);
    void *user;
    struct segue_sim_event *event;
    uint64_t delay_ns;
};

struct segue_sim_stream {
    struct segue_sim *sim;
    struct segue_list link, work;
    uint64_t due_ns; /* of the first piece of work */
};

/* What a copy keeps in its room between its last byte and its end. */
struct paced {
    struct segue_list link;
    struct segue_copy_job *job;
    uint64_t due_ns;
};
_Static_assert(sizeof(struct paced) <= SEGUE_COPY_ROOM, "fits a copy job");

static void event_unref(struct segue_sim_event *event)
{
    if (--event->refs == 0)
        free(event);
}

static void move_waits(struct segue_list *to, struct segue_list *from)
{
    for (struct segue_list *link; (link = segue_list_pop_front(from));)
        segue_list_push_back(to, link);
}

/* The following are called with the lock. */

static struct segue_sim_stream *next_stream(struct segue_sim *sim)
{
    struct segue_sim_stream *next = NULL;
    segue_list_each (link, &sim->streams) {
        struct segue_sim_stream *stream = segue_container_of(
            link, struct segue_sim_stream, link);
        if (!segue_list_empty(&stream->work) && (!next || stream->due_ns < next->due_ns))
            next = stream;
    }
    return next;
}

static struct work *first_work(const struct segue_sim_stream *stream)
{
    return segue_container_of(stream->work.next, struct work, link);
}

/* The work stays in its stream while it runs, so that the stream is not empty. */
static void run_work(struct segue_sim *sim, struct segue_sim_stream *stream)
{
    struct work *work = first_work(stream);
    if (work->fn) {
        pthread_mutex_unlock(&sim->lock);
        work->fn(work->user);
        pthread_mutex_lock(&sim->lock);
    } else {
        work->event->retired = true;
        move_waits(&sim->ready, &work->event->waits);
        event_unref(work->event);
    }
    segue_list_remove(&work->link);
    free(work);
    if (!segue_list_empty(&stream->work))
        stream->due_ns = segue_now_ns() + first_work(stream)->delay_ns;
    pthread_cond_broadcast(&sim->moved);
}

static void call_wait(struct segue_sim *sim)
{
    struct segue_list *link = segue_list_pop_front(&sim->ready);
    struct segue_wait *wait = segue_container_of(link, struct segue_wait, impl.link);
    sim->calling = wait;
    pthread_mutex_unlock(&sim->lock);
    wait->done(wait, SEGUE_OK);
    pthread_mutex_lock(&sim->lock);
    sim->calling = NULL;
    pthread_cond_broadcast(&sim->moved);
}

/* Ends one copy whose time has come; else *next is brought forward to when to look. */
static bool end_paced(struct segue_sim *sim, uint64_t now, uint64_t *next)
{
    segue_list_each (link, &sim->paced) {
        struct paced *paced = segue_container_of(link, struct paced, link);
        struct segue_copy_job *job = paced->job;
        bool cancelled = atomic_load(&job->cancelled);
        if (paced->due_ns <= now || cancelled) {
            segue_list_remove(link);
            pthread_mutex_unlock(&sim->lock);
            job->done(job, cancelled
                               ? segue_fail(SEGUE_E_CANCELLED, "the copy was cancelled")
                               : SEGUE_OK);
            pthread_mutex_lock(&sim->lock);
            return true;
        }
        uint64_t look = paced->due_ns - now < LOOK_NS ? paced->due_ns : now + LOOK_NS;
        *next = look < *next ? look : *next;
    }
    return false;
}

static void sleep_until(struct segue_sim *sim, uint64_t when)
{
    if (when == UINT64_MAX) {
        pthread_cond_wait(&sim->wake, &sim->lock);
        return;
    }
    struct timespec t = {(time_t)(when / SEGUE_NS_PER_S), (long)(when % SEGUE_NS_PER_S)};
    pthread_cond_timedwait(&sim->wake, &sim->lock, &t);
}

static void *run(void *user)
{
    struct segue_sim *sim = user;
    pthread_mutex_lock(&sim->lock);
    while (!sim->ending) {
        uint64_t now = segue_now_ns(), next = UINT64_MAX;
        struct segue_sim_stream *stream = next_stream(sim);
        if (!segue_list_empty(&sim->ready)) {
            call_wait(sim);
        } else if (stream && stream->due_ns <= now) {
            run_work(sim, stream);
        } else if (!end_paced(sim, now, &next)) {
            if (stream && stream->due_ns < next)
                next = stream->due_ns;
            sleep_until(sim, next);
        }
    }
    pthread_mutex_unlock(&sim->lock);
    return NULL;
}

enum segue_status segue_sim_start(struct segue_sim *sim)
{
    pthread_mutex_init(&sim->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sim->wake, &attr);
    pthread_cond_init(&sim->moved, &attr);
    pthread_condattr_destroy(&attr);
    segue_list_init(&sim->streams);
    segue_list_init(&sim->ready);
    segue_list_init(&sim->paced);
    sigset_t all, before;
    sigfillset(&all); /* signals stay the application's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&sim->thread, NULL, run, sim);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return segue_fail_errno(SEGUE_E_SYSTEM, err, "starting the thread of %s",
                                sim->base.name);
    pthread_setname_np(sim->thread, "segue-sim");
    return SEGUE_OK;
}

void segue_sim_stop(struct segue_sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    sim->ending = true;
    pthread_cond_signal(&sim->wake);
    pthread_mutex_unlock(&sim->lock);
    pthread_join(sim->thread, NULL);
    pthread_cond_destroy(&sim->wake);
    pthread_cond_destroy(&sim->moved);
    pthread_mutex_destroy(&sim->lock);
}

void segue_sim_end_paced(struct segue_sim *sim, struct segue_copy_job *job,
                         uint64_t due_ns)
{
    struct paced *paced = (struct paced *)(void *)&job->impl;
    paced->job = job;
    paced->due_ns = due_ns;
    pthread_mutex_lock(&sim->lock);
    segue_list_push_back(&sim->paced, &paced->link);
    pthread_cond_signal(&sim->wake);
    pthread_mutex_unlock(&sim->lock);
}

static enum segue_status check_device(const segue_device *device)
{
    if (device->ops != &segue_device_sim)
        return segue_fail(SEGUE_E_INVALID, "%s is no sim device", device->name);
    return SEGUE_OK;
}

enum segue_status segue_sim_stream_create(segue_device *device, segue_sim_stream **out)
{
    SEGUE_TRY(check_device(device));
    struct segue_sim *sim = (struct segue_sim *)(void *)device;
    struct segue_sim_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a stream");
    stream->sim = sim;
    segue_list_init(&stream->work);
    pthread_mutex_lock(&sim->lock);
    segue_list_push_back(&sim->streams, &stream->link);
    pthread_mutex_unlock(&sim->lock);
    *out = stream;
    return SEGUE_OK;
}

void segue_sim_stream_destroy(segue_sim_stream *stream)
{
    if (!stream)
        return;
    struct segue_sim *sim = stream->sim;
    pthread_mutex_lock(&sim->lock);
    while (!segue_list_empty(&stream->work))
        pthread_cond_wait(&sim->moved, &sim->lock);
    segue_list_remove(&stream->link);
    pthread_mutex_unlock(&sim->lock);
    free(stream);
}

enum segue_status segue_sim_stream_wait(segue_sim_stream *stream, uint64_t timeout_ns)
{
    struct segue_sim *sim = stream->sim;
    uint64_t until = segue_now_ns();
    if (__builtin_add_overflow(until, timeout_ns, &until) || until > INT64_MAX)
        until = INT64_MAX;
    struct timespec t = {(time_t)(until / SEGUE_NS_PER_S),
                         (long)(until % SEGUE_NS_PER_S)};
    int err = 0;
    pthread_mutex_lock(&sim->lock);
    while (!segue_list_empty(&stream->work) && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&sim->moved, &sim->lock, &t);
    bool empty = segue_list_empty(&stream->work);
    pthread_mutex_unlock(&sim->lock);
    if (!empty)
        return segue_fail(SEGUE_E_TIMEOUT, "the stream of %s still has work",
                          sim->base.name);
    return SEGUE_OK;
}

static enum segue_status submit(struct segue_sim_stream *stream, struct work what)
{
    struct work *work = malloc(sizeof *work);
    if (!work)
        return segue_fail(SEGUE_E_MEMORY, "no memory for work of a stream");
    *work = what;
    struct segue_sim *sim = stream->sim;
    pthread_mutex_lock(&sim->lock);
    if (segue_list_empty(&stream->work))
        stream->due_ns = segue_now_ns() + work->delay_ns;
    segue_list_push_back(&stream->work, &work->link);
    pthread_cond_signal(&sim->wake);
    pthread_mutex_unlock(&sim->lock);
    return SEGUE_OK;
}

enum segue_status segue_sim_launch(segue_sim_stream *stream, void (*fn)(void *user),
                                   void *user, uint64_t delay_ns)
{
    if (delay_ns > INT64_MAX / 2)
        delay_ns = INT64_MAX / 2;
    return submit(stream, (struct work){.fn = fn, .user = user, .delay_ns = delay_ns});
}

enum segue_status segue_sim_event_record(segue_sim_stream *stream, segue_sim_event **out)
{
    struct segue_sim_event *event = calloc(1, sizeof *event);
    if (!event)
        return segue_fail(SEGUE_E_MEMORY, "no memory for an event");
    event->sim = stream->sim;
    event->refs = 2;
    segue_list_init(&event->waits);
    enum segue_status status = submit(stream, (struct work){.event = event});
    if (status < 0) {
        free(event);
        return status;
    }
    *out = event;
    return SEGUE_OK;
}

void segue_sim_event_destroy(segue_sim_event *event)
{
    if (!event)
        return;
    struct segue_sim *sim = event->sim;
    pthread_mutex_lock(&sim->lock);
    event_unref(event);
    pthread_mutex_unlock(&sim->lock);
}

enum segue_status segue_sim_sync(struct segue_device *dev, const struct segue_sync *sync,
                                 struct segue_wait *wait)
{
    struct segue_sim *sim = (struct segue_sim *)(void *)dev;
    struct segue_sim_event *event = sync->handle;
    if (sync->kind == SEGUE_SYNC_STREAM) {
        struct segue_sim_stream *stream = sync->handle;
        if (stream->sim != sim)
            return segue_fail(SEGUE_E_INVALID, "the stream is another device's");
        SEGUE_TRY(segue_sim_event_record(stream, &event));
    } else if (event->sim != sim) {
        return segue_fail(SEGUE_E_INVALID, "the event is another device's");
    }
    pthread_mutex_lock(&sim->lock);
    segue_list_push_back(event->retired ? &sim->ready : &event->waits, &wait->impl.link);
    pthread_cond_signal(&sim->wake);
    if (sync->kind == SEGUE_SYNC_STREAM)
        event_unref(event);
    pthread_mutex_unlock(&sim->lock);
    return SEGUE_OK;
}

void segue_sim_unwait(struct segue_device *dev, struct segue_wait *wait)
{
    struct segue_sim *sim = (struct segue_sim *)(void *)dev;
    bool inside = pthread_equal(pthread_self(), sim->thread);
    pthread_mutex_lock(&sim->lock);
    segue_list_remove(&wait->impl.link);
    while (sim->calling == wait && !inside)
        pthread_cond_wait(&sim->moved, &sim->lock);
    pthread_mutex_unlock(&sim->lock);
}
