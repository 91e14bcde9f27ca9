/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of events: a ring that grows when room is reserved, never when an event is
 * told. */
#include "agent/event.h"
#include "base/status.h"
#include "base/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum segue_status segue_events_open(struct segue_events *q)
{
    *q = (struct segue_events){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (q->fd < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "event queue: eventfd");
    pthread_mutex_init(&q->lock, NULL);
    return SEGUE_OK;
}

void segue_events_close(struct segue_events *q)
{
    if (q->fd < 0)
        return;
    segue_fd_close(&q->fd);
    pthread_mutex_destroy(&q->lock);
    free(q->ring);
    q->ring = NULL;
}

/* Makes the ring at least `need` long, its events in order from the start. */
static bool grow(struct segue_events *q, size_t need)
{
    size_t cap = q->cap ? q->cap : 16;
    while (cap < need)
        cap *= 2;
    struct segue_event *ring = malloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (size_t i = 0; i < q->len; i++)
        ring[i] = q->ring[(q->head + i) % q->cap];
    free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
    return true;
}

enum segue_status segue_events_reserve(struct segue_events *q, size_t n)
{
    pthread_mutex_lock(&q->lock);
    size_t need = q->len + q->reserved + n;
    bool ok = need <= q->cap || grow(q, need);
    if (ok)
        q->reserved += n;
    pthread_mutex_unlock(&q->lock);
    if (!ok)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a queue of %zu events", need);
    return SEGUE_OK;
}

void segue_events_unreserve(struct segue_events *q, size_t n)
{
    pthread_mutex_lock(&q->lock);
    assert(n <= q->reserved);
    q->reserved -= n;
    pthread_mutex_unlock(&q->lock);
}

void segue_events_push(struct segue_events *q, const struct segue_event *event)
{
    pthread_mutex_lock(&q->lock);
    assert(q->reserved > 0);
    q->reserved--;
    q->ring[(q->head + q->len) % q->cap] = *event;
    uint64_t one = 1;
    if (q->len++ == 0)
        while (write(q->fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    pthread_mutex_unlock(&q->lock);
}

enum segue_status segue_events_pop(struct segue_events *q, struct segue_event *event)
{
    pthread_mutex_lock(&q->lock);
    bool any = q->len > 0;
    if (any) {
        *event = q->ring[q->head];
        q->head = (q->head + 1) % q->cap;
        uint64_t count;
        if (--q->len == 0)
            while (read(q->fd, &count, sizeof count) < 0 && errno == EINTR)
                ;
    }
    pthread_mutex_unlock(&q->lock);
    return any ? SEGUE_OK : segue_fail(SEGUE_E_NOT_FOUND, "no event waits");
}
