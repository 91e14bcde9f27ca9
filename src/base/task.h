/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of work that waits in a queue of a loop or a pool. Intrusive: the links are in
 * the caller's object, so that handing over work allocates nothing and cannot fail.
 *
 * The caller owns the task and keeps it in place until fn has been entered; from then on
 * it may be queued again, on the same or another queue, or freed, also inside fn.
 */
#ifndef BASE_TASK_H
#define BASE_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

/* Zeroed memory with `fn` set is a task that is not queued. */
struct segue_task {
    void (*fn)(struct segue_task *task); /* yours */
    void *user;                          /* yours */
    /* private */
    struct segue_task *next;
    atomic_bool queued;
};

/* For queues. Claims the task: false when it is queued somewhere already. */
static inline bool segue_task_claim(struct segue_task *task)
{
    return !atomic_exchange_explicit(&task->queued, true, memory_order_acquire);
}

/* For queues. Runs a task that has left its queue. */
static inline void segue_task_run(struct segue_task *task)
{
    void (*fn)(struct segue_task *) = task->fn;
    atomic_store_explicit(&task->queued, false, memory_order_release);
    fn(task);
}

#endif
