/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of events to the application: written by the agent's thread, read by any. Room is reserved when an
 * offer or a claim is made, so that telling how it ended never allocates and never fails.
 */
#ifndef AGENT_EVENT_H
#define AGENT_EVENT_H

#include <pthread.h>
#include <segue/agent.h>

struct segue_events {
    pthread_mutex_t lock;
    int fd; /* eventfd, readable while the queue is not empty */
    struct segue_event *ring;
    size_t cap, head, len, reserved; /* cap >= len + reserved */
};

enum segue_status segue_events_open(struct segue_events *q);
void segue_events_close(struct segue_events *q);

/* What: makes room for n more events. E_MEMORY. */
enum segue_status segue_events_reserve(struct segue_events *q, size_t n);
/* What: gives back reservations that will not be used. */
void segue_events_unreserve(struct segue_events *q, size_t n);
/* What: appends one event, using up one reservation. Never fails. */
void segue_events_push(struct segue_events *q, const struct segue_event *event);
enum segue_status segue_events_pop(struct segue_events *q, struct segue_event *event);

#endif
