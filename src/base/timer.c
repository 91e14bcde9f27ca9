/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pairing heap: a tree in which no child is due before its parent. Setting is O(1),
 * removing O(log n) amortised, and unlike a heap in an array it needs no memory of its
 * own. `prev` is the left sibling, or the parent of the first child.
 *
 * expire first moves all that is due to a list and then calls one by one, so that what a
 * callback sets, however early, neither runs in the same pass nor hides the others.
 */
#include "base/timer.h"

enum state { IDLE = 0, IN_HEAP, IN_DUE };

static bool before(const struct segue_timer *a, const struct segue_timer *b)
{
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns
                                            : a->order < b->order;
}

/* Joins two trees (either may be NULL); roots have neither next nor prev. */
static struct segue_timer *join(struct segue_timer *a, struct segue_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (before(b, a)) {
        struct segue_timer *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

/* Joins a row of siblings into one tree: in pairs from the left, then those from the
 * right. This order is what makes the heap logarithmic. */
static struct segue_timer *join_row(struct segue_timer *row)
{
    struct segue_timer *pairs = NULL, *tree = NULL;
    while (row) {
        struct segue_timer *a = row, *b = a->next;
        row = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = join(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct segue_timer *next = pairs->next;
        pairs->next = NULL;
        tree = join(tree, pairs);
        pairs = next;
    }
    return tree;
}

static void leave_heap(struct segue_timers *timers, struct segue_timer *timer)
{
    struct segue_timer *orphans = join_row(timer->child);
    if (timer == timers->root) {
        timers->root = orphans;
    } else {
        if (timer->prev->child == timer)
            timer->prev->child = timer->next;
        else
            timer->prev->next = timer->next;
        if (timer->next)
            timer->next->prev = timer->prev;
        timers->root = join(timers->root, orphans);
    }
    timer->child = timer->next = timer->prev = NULL;
    timer->state = IDLE;
}

static void leave_due(struct segue_timers *timers, struct segue_timer *timer)
{
    if (timer->prev)
        timer->prev->next = timer->next;
    else
        timers->due = timer->next;
    if (timer->next)
        timer->next->prev = timer->prev;
    else
        timers->due_end = timer->prev;
    timer->next = timer->prev = NULL;
    timer->state = IDLE;
}

static void enter_due(struct segue_timers *timers, struct segue_timer *timer)
{
    timer->prev = timers->due_end;
    if (timers->due_end)
        timers->due_end->next = timer;
    else
        timers->due = timer;
    timers->due_end = timer;
    timer->state = IN_DUE;
}

void segue_timer_set(struct segue_timers *timers, struct segue_timer *timer,
                     uint64_t deadline_ns)
{
    segue_timer_cancel(timers, timer);
    timer->deadline_ns = deadline_ns;
    timer->order = timers->orders++;
    timer->state = IN_HEAP;
    timers->root = join(timers->root, timer);
}

void segue_timer_cancel(struct segue_timers *timers, struct segue_timer *timer)
{
    if (timer->state == IN_HEAP)
        leave_heap(timers, timer);
    else if (timer->state == IN_DUE)
        leave_due(timers, timer);
}

bool segue_timer_is_set(const struct segue_timer *timer)
{
    return timer->state != IDLE;
}

uint64_t segue_timers_next(const struct segue_timers *timers)
{
    uint64_t next = timers->root ? timers->root->deadline_ns : SEGUE_NEVER;
    if (timers->due && timers->due->deadline_ns < next)
        next = timers->due->deadline_ns;
    return next;
}

size_t segue_timers_expire(struct segue_timers *timers, uint64_t now_ns)
{
    size_t called = 0;
    while (timers->root && timers->root->deadline_ns <= now_ns) {
        struct segue_timer *timer = timers->root;
        leave_heap(timers, timer);
        enter_due(timers, timer);
    }
    for (; timers->due; called++) {
        struct segue_timer *timer = timers->due;
        leave_due(timers, timer);
        timer->fn(timer);
    }
    return called;
}
