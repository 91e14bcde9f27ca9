/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop. Tasks of other threads come through a lock-free stack that the owner takes
 * whole and turns round, and an eventfd that is written only when the owner sleeps:
 *
 *     poster:  push task;  if asleep was true, make it false and write the eventfd
 *     owner:   asleep = true;  if the stack is empty, wait;  asleep = false
 *
 * Both sides write first and read then, in one total order (seq_cst), so either the
 * poster sees a sleeper or the owner sees the task.
 */
#include "base/loop.h"
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH 64

struct segue_loop {
    int epoll, wake;
    bool no_pwait2;
    struct segue_timers timers;
    struct epoll_event batch[BATCH];
    int batch_at, batch_end; /* events of the batch that are still to be delivered */
    _Atomic(struct segue_task *) posted;
    atomic_bool asleep, stop;
    atomic_uintptr_t owner;
};

/* The address of a thread's own copy tells threads apart without a system call. */
static _Thread_local char here;

static enum segue_status system_failure(int err, const char *what)
{
    enum segue_status status = err == EMFILE || err == ENFILE || err == ENOSPC
                                   ? SEGUE_E_LIMIT
                               : err == ENOMEM ? SEGUE_E_MEMORY
                                               : SEGUE_E_SYSTEM;
    return segue_fail_errno(status, err, "event loop: %s", what);
}

enum segue_status segue_loop_create(struct segue_loop **out)
{
    struct segue_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return segue_fail(SEGUE_E_MEMORY, "no memory for an event loop");
    enum segue_status status;
    loop->wake = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        status = system_failure(errno, "epoll_create1");
        goto fail;
    }
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->wake < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) < 0) {
        status = system_failure(errno, "eventfd");
        goto fail;
    }
    atomic_store(&loop->owner, (uintptr_t)&here);
    *out = loop;
    return SEGUE_OK;
fail:
    segue_loop_destroy(loop);
    return status;
}

void segue_loop_destroy(struct segue_loop *loop)
{
    if (!loop)
        return;
    if (loop->wake >= 0)
        close(loop->wake);
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop);
}

enum segue_status segue_loop_watch(struct segue_loop *loop, struct segue_watch *watch,
                                   uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0)
        return system_failure(errno, "cannot watch a descriptor");
    watch->events = events;
    watch->watched = true;
    return SEGUE_OK;
}

enum segue_status segue_loop_modify(struct segue_loop *loop, struct segue_watch *watch,
                                    uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0)
        return system_failure(errno, "cannot change a watch");
    watch->events = events;
    return SEGUE_OK;
}

void segue_loop_unwatch(struct segue_loop *loop, struct segue_watch *watch)
{
    if (!watch->watched)
        return;
    watch->watched = false;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = loop->batch_at; i < loop->batch_end; i++)
        if (loop->batch[i].data.ptr == watch)
            loop->batch[i].events = 0;
}

void segue_loop_timer_set(struct segue_loop *loop, struct segue_timer *timer,
                          uint64_t deadline_ns)
{
    segue_timer_set(&loop->timers, timer, deadline_ns);
}

void segue_loop_timer_cancel(struct segue_loop *loop, struct segue_timer *timer)
{
    segue_timer_cancel(&loop->timers, timer);
}

static void wake(struct segue_loop *loop)
{
    uint64_t one = 1;
    if (atomic_exchange(&loop->asleep, false))
        while (write(loop->wake, &one, sizeof one) < 0 && errno == EINTR)
            ;
}

bool segue_loop_post(struct segue_loop *loop, struct segue_task *task)
{
    if (!segue_task_claim(task))
        return false;
    struct segue_task *head = atomic_load(&loop->posted);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak(&loop->posted, &head, task));
    wake(loop);
    return true;
}

void segue_loop_stop(struct segue_loop *loop)
{
    atomic_store(&loop->stop, true);
    wake(loop);
}

static size_t run_posted(struct segue_loop *loop)
{
    struct segue_task *stack = atomic_exchange(&loop->posted, NULL), *queue = NULL;
    while (stack) {
        struct segue_task *next = stack->next;
        stack->next = queue;
        queue = stack;
        stack = next;
    }
    size_t ran = 0;
    for (; queue; ran++) {
        struct segue_task *task = queue;
        queue = task->next;
        segue_task_run(task);
    }
    return ran;
}

static int64_t time_to_wait(struct segue_loop *loop, int64_t timeout_ns)
{
    uint64_t next = segue_timers_next(&loop->timers);
    if (next == SEGUE_NEVER || timeout_ns == 0)
        return timeout_ns;
    uint64_t now = segue_now_ns();
    uint64_t until = next > now ? next - now : 0;
    if (until > INT64_MAX)
        until = INT64_MAX;
    return timeout_ns < 0 || (int64_t)until < timeout_ns ? (int64_t)until : timeout_ns;
}

static int wait_exactly(struct segue_loop *loop, int64_t ns)
{
    if (ns > 0 && !loop->no_pwait2) {
        struct timespec time = {ns / (int64_t)SEGUE_NS_PER_S,
                                ns % (int64_t)SEGUE_NS_PER_S};
        int n = epoll_pwait2(loop->epoll, loop->batch, BATCH, &time, NULL);
        /* Older kernels lack it and some sandboxes forbid it. */
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        loop->no_pwait2 = true;
    }
    int64_t ms = ns / (int64_t)SEGUE_NS_PER_MS + (ns % (int64_t)SEGUE_NS_PER_MS != 0);
    return epoll_wait(loop->epoll, loop->batch, BATCH,
                      ns < 0           ? -1
                      : ms > INT32_MAX ? INT32_MAX
                                       : (int)ms);
}

static size_t deliver(struct segue_loop *loop)
{
    size_t called = 0;
    while (loop->batch_at < loop->batch_end) {
        struct epoll_event event = loop->batch[loop->batch_at++];
        struct segue_watch *watch = event.data.ptr;
        if (!event.events)
            continue;
        if (!watch) {
            uint64_t count;
            while (read(loop->wake, &count, sizeof count) < 0 && errno == EINTR)
                ;
            continue;
        }
        uint32_t wanted = event.events & (watch->events | EPOLLERR | EPOLLHUP);
        if (wanted) {
            watch->fn(watch, wanted);
            called++;
        }
    }
    return called;
}

size_t segue_loop_turn(struct segue_loop *loop, int64_t timeout_ns)
{
    atomic_store(&loop->owner, (uintptr_t)&here);
    int64_t ns = time_to_wait(loop, timeout_ns);
    atomic_store(&loop->asleep, ns != 0);
    if (ns != 0 && (atomic_load(&loop->posted) || atomic_load(&loop->stop)))
        ns = 0;
    int n = wait_exactly(loop, ns);
    atomic_store(&loop->asleep, false);
    assert(n >= 0 || errno == EINTR);

    loop->batch_at = 0;
    loop->batch_end = n > 0 ? n : 0;
    size_t called = deliver(loop);
    called += run_posted(loop);
    if (segue_timers_next(&loop->timers) != SEGUE_NEVER)
        called += segue_timers_expire(&loop->timers, segue_now_ns());
    return called;
}

void segue_loop_run(struct segue_loop *loop)
{
    while (!atomic_exchange(&loop->stop, false))
        segue_loop_turn(loop, -1);
}

bool segue_loop_is_owner(const struct segue_loop *loop)
{
    return atomic_load(&loop->owner) == (uintptr_t)&here;
}
