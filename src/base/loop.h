/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop of one thread: file descriptors, timers and tasks posted by others.
 *
 * It sleeps in epoll with the exact time of the next timer, or without limit when there
 * is none, so an idle loop uses no CPU. It reports no errors of its own while it runs.
 *
 * Thread: one thread owns the loop: the one that created it, and from its first
 * segue_loop_run or _turn on the one that runs it. Everything is for the owner only,
 * except what says "any thread". All functions of this header may be called from inside
 * callbacks, but run, turn and destroy. The loop outlives every call on it: destroy it
 * after the last poster has returned from segue_loop_post.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/status.h"
#include "base/task.h"
#include "base/timer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct segue_loop;

/* A watched descriptor. Zeroed memory with fd and fn set is one that is not watched. The
 * caller owns it and the fd, and keeps both until unwatch. */
struct segue_watch {
    int fd; /* yours, fixed while watched */
    void (*fn)(struct segue_watch *watch, uint32_t events); /* yours; EPOLL* bits */
    void *user;                                             /* yours */
    uint32_t events;                                        /* read only */
    bool watched;                                           /* read only */
};

/* Statuses: E_SYSTEM, E_LIMIT (no descriptors), E_MEMORY. */
enum segue_status segue_loop_create(struct segue_loop **out);

/* What: frees the loop; NULL is fine. Watches, timers and tasks that are still there are
 * forgotten, not called. */
void segue_loop_destroy(struct segue_loop *loop);

/* What: calls watch->fn whenever the fd shows one of `events` (EPOLLIN, EPOLLOUT, ...,
 * EPOLLET; EPOLLERR and EPOLLHUP always). Level-triggered unless EPOLLET is given.
 * Statuses: E_SYSTEM (a file that cannot be polled, a fd watched twice), E_LIMIT,
 * E_MEMORY. */
enum segue_status segue_loop_watch(struct segue_loop *loop, struct segue_watch *watch,
                                   uint32_t events);

/* What: changes the events; an event that is no longer wanted is not delivered, even when
 * it had been seen already. Statuses: as watch. */
enum segue_status segue_loop_modify(struct segue_loop *loop, struct segue_watch *watch,
                                    uint32_t events);

/* What: ends the watch: its fn is not called any more, also when an event had been seen
 * already, and the watch may be freed. Call it before closing the fd. Harmless when it
 * is not watched. */
void segue_loop_unwatch(struct segue_loop *loop, struct segue_watch *watch);

/* What: segue_timer_set and _cancel on the loop's timers; segue_now_ns is their clock. */
void segue_loop_timer_set(struct segue_loop *loop, struct segue_timer *timer,
                          uint64_t deadline_ns);
void segue_loop_timer_cancel(struct segue_loop *loop, struct segue_timer *timer);

/* What: queues the task to run on the loop's thread; wakes it when it sleeps. Tasks run
 * in the order in which they were posted. Returns false, and does nothing, when the task
 * is queued already. Any thread; what happened before post is seen by the task. */
bool segue_loop_post(struct segue_loop *loop, struct segue_task *task);

/* What: runs until segue_loop_stop. A stop that came before run ends it at once. */
void segue_loop_run(struct segue_loop *loop);

/* What: makes segue_loop_run return after the turn it is in. Any thread. */
void segue_loop_stop(struct segue_loop *loop);

/* What: waits once, at most timeout_ns (0: not at all, negative: without limit), and
 * calls what is due: descriptors, then tasks, then timers. Returns how many callbacks it
 * called; 0 after a wait that timed out or was interrupted. */
size_t segue_loop_turn(struct segue_loop *loop, int64_t timeout_ns);

/* What: whether the calling thread owns the loop. Any thread. */
bool segue_loop_is_owner(const struct segue_loop *loop);

#endif
