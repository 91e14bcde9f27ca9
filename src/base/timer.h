/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers: a heap of intrusive timers, ordered by deadline and, at equal deadlines, by the
 * order in which they were set.
 *
 * Pure: time is a number that the caller passes in (nanoseconds of any one clock), so
 * that every user of timers can be tested without waiting. The links are in the timers:
 * nothing is allocated and setting one cannot fail. Thread: the caller's business.
 */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGUE_NEVER UINT64_MAX

/* Zeroed memory with `fn` set is a timer that is not set. The caller owns it and keeps
 * it in place while it is set. */
struct segue_timer {
    void (*fn)(struct segue_timer *timer); /* yours; called once per set */
    void *user;                            /* yours */
    uint64_t deadline_ns;                  /* read only; meaningful while set */
    /* private */
    uint64_t order;
    struct segue_timer *child, *next, *prev;
    int state;
};

/* Zeroed memory is an empty heap. */
struct segue_timers {
    struct segue_timer *root;          /* private */
    struct segue_timer *due, *due_end; /* private */
    uint64_t orders;                   /* private */
};

/* What: sets the timer, or moves it when it is set. A deadline in the past is legal. */
void segue_timer_set(struct segue_timers *timers, struct segue_timer *timer,
                     uint64_t deadline_ns);

/* What: takes the timer out; its fn will not be called. Harmless when it is not set. */
void segue_timer_cancel(struct segue_timers *timers, struct segue_timer *timer);

/* What: true from set until its fn is entered, or cancel. */
bool segue_timer_is_set(const struct segue_timer *timer);

/* What: the earliest deadline; SEGUE_NEVER when no timer is set. */
uint64_t segue_timers_next(const struct segue_timers *timers);

/* What: calls fn of every timer whose deadline is at or before `now_ns`, earliest first,
 * and returns how many. fn may set, cancel and free any timer, itself included; what it
 * sets waits for the next call, even when it is due, so that this one always ends. Not
 * to be called from inside fn. */
size_t segue_timers_expire(struct segue_timers *timers, uint64_t now_ns);

#endif
