/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: descriptors, timers, tasks from many threads, and changes from inside
 * callbacks. */
#include "test.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POSTERS 4
#define TASKS   2000

static struct segue_loop *loop;
static int calls;
static uint32_t seen_events;

static int start(void **state)
{
    calls = 0;
    return segue_loop_create(&loop);
}

static int stop(void **state)
{
    segue_loop_destroy(loop);
    return 0;
}

/* ---- tasks ---- */

struct numbered {
    struct segue_task task;
    int poster, number;
};

static struct numbered tasks[POSTERS][TASKS];
static int next_of[POSTERS], done;

static void run_numbered(struct segue_task *task)
{
    struct numbered *n = segue_container_of(task, struct numbered, task);
    assert_true(segue_loop_is_owner(loop));
    assert_int_equal(n->number, next_of[n->poster]);
    next_of[n->poster]++;
    if (++done == POSTERS * TASKS)
        segue_loop_stop(loop);
}

static void *post_all(void *arg)
{
    struct numbered *mine = arg;
    for (int i = 0; i < TASKS; i++) {
        if (i % 500 == 0)
            usleep(1000); /* let the loop fall asleep now and then */
        segue_loop_post(loop, &mine[i].task);
    }
    return NULL;
}

static void every_task_of_four_threads_runs_once_in_order(void **state)
{
    pthread_t threads[POSTERS];
    done = 0;
    for (int p = 0; p < POSTERS; p++) {
        next_of[p] = 0;
        for (int i = 0; i < TASKS; i++)
            tasks[p][i] = (struct numbered){{.fn = run_numbered}, p, i};
        assert_int_equal(pthread_create(&threads[p], NULL, post_all, tasks[p]), 0);
    }
    segue_loop_run(loop);
    for (int p = 0; p < POSTERS; p++)
        pthread_join(threads[p], NULL);
    assert_int_equal(done, POSTERS * TASKS);
}

static void *post_one_until_taken(void *arg)
{
    for (int i = 0; i < 5000; i++)
        segue_loop_post(loop, arg);
    return NULL;
}

static void count_task(struct segue_task *task)
{
    calls++;
}

static void one_task_from_many_threads_is_queued_once(void **state)
{
    struct segue_task task = {.fn = count_task};
    pthread_t threads[POSTERS];
    for (int p = 0; p < POSTERS; p++)
        pthread_create(&threads[p], NULL, post_one_until_taken, &task);
    while (calls == 0)
        segue_loop_turn(loop, -1);
    for (int p = 0; p < POSTERS; p++)
        pthread_join(threads[p], NULL);
    segue_loop_turn(loop, 0);
    assert_int_equal(segue_loop_turn(loop, 0), 0);
    assert_true(segue_loop_post(loop, &task));
    calls = 0;
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(calls, 1);
    assert_true(segue_loop_post(loop, &task));
    assert_false(segue_loop_post(loop, &task));
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_true(segue_loop_post(loop, &task));
    assert_int_equal(segue_loop_turn(loop, -1), 1);
}

static void post_again(struct segue_task *task)
{
    if (++calls < 3)
        assert_true(segue_loop_post(loop, task));
}

static void a_task_may_post_itself_and_takes_a_turn_each(void **state)
{
    struct segue_task task = {.fn = post_again};
    segue_loop_post(loop, &task);
    for (int turn = 1; turn <= 3; turn++) {
        assert_int_equal(segue_loop_turn(loop, -1), 1);
        assert_int_equal(calls, turn);
    }
    assert_int_equal(segue_loop_turn(loop, 0), 0);
}

static void *ask_for_owner(void *arg)
{
    *(bool *)arg = segue_loop_is_owner(loop);
    return NULL;
}

static void the_creator_owns_and_others_do_not(void **state)
{
    bool theirs = true;
    pthread_t thread;
    pthread_create(&thread, NULL, ask_for_owner, &theirs);
    pthread_join(thread, NULL);
    assert_true(segue_loop_is_owner(loop));
    assert_false(theirs);
}

static void a_stop_before_run_counts(void **state)
{
    segue_loop_stop(loop);
    segue_loop_run(loop);
    struct segue_task task = {.fn = count_task};
    segue_loop_post(loop, &task);
    segue_loop_stop(loop);
    segue_loop_run(loop); /* used up by the run before? then this would hang */
    segue_loop_turn(loop, 0);
    assert_int_equal(calls, 1);
}

/* ---- descriptors ---- */

static struct segue_watch watches[3];

static void open_watches(void (*fn)(struct segue_watch *, uint32_t), int count)
{
    for (int i = 0; i < count; i++) {
        watches[i] = (struct segue_watch){.fd = eventfd(1, EFD_NONBLOCK), .fn = fn};
        assert_true(watches[i].fd >= 0);
        assert_ok(segue_loop_watch(loop, &watches[i], EPOLLIN));
    }
}

static void close_watches(int count)
{
    for (int i = 0; i < count; i++) {
        segue_loop_unwatch(loop, &watches[i]);
        close(watches[i].fd);
    }
}

static void unwatch_all(struct segue_watch *watch, uint32_t events)
{
    calls++;
    for (int i = 0; i < 3; i++)
        segue_loop_unwatch(loop, &watches[i]);
}

static void unwatch_takes_back_events_already_seen(void **state)
{
    open_watches(unwatch_all, 3);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(segue_loop_turn(loop, 0), 0);
    assert_int_equal(calls, 1);
    close_watches(3);
}

static void silence_others(struct segue_watch *watch, uint32_t events)
{
    calls++;
    for (int i = 0; i < 3; i++)
        if (&watches[i] != watch)
            assert_ok(segue_loop_modify(loop, &watches[i], 0));
}

static void modify_takes_back_events_already_seen(void **state)
{
    open_watches(silence_others, 3);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(calls, 1);
    close_watches(3);
}

static void keep_events(struct segue_watch *watch, uint32_t events)
{
    calls++;
    seen_events = events;
}

static void level_triggered_until_read_and_hang_up_is_told(void **state)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct segue_watch watch = {.fd = ends[0], .fn = keep_events};
    assert_ok(segue_loop_watch(loop, &watch, EPOLLIN));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(seen_events, EPOLLIN);
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    assert_int_equal(seen_events, EPOLLHUP);
    segue_loop_unwatch(loop, &watch);
    close(ends[0]);
}

static void what_cannot_be_watched_is_refused(void **state)
{
    struct segue_watch bad = {.fd = -1, .fn = keep_events};
    assert_status(segue_loop_watch(loop, &bad, EPOLLIN), SEGUE_E_SYSTEM);
    segue_loop_unwatch(loop, &bad);
    open_watches(keep_events, 1);
    struct segue_watch twice = {.fd = watches[0].fd, .fn = keep_events};
    assert_status(segue_loop_watch(loop, &twice, EPOLLIN), SEGUE_E_SYSTEM);
    close_watches(1);
}

/* ---- timers ---- */

static void count_timer(struct segue_timer *timer)
{
    calls++;
    assert_true(segue_now_ns() >= timer->deadline_ns);
}

static void one_wait_ends_with_the_timer(void **state)
{
    struct segue_timer timer = {.fn = count_timer}, never = {.fn = count_timer};
    segue_loop_timer_set(loop, &never, segue_now_ns() + 3600 * SEGUE_NS_PER_S);
    segue_loop_timer_set(loop, &timer, segue_now_ns() + 1500000);
    /* Exact waiting: the first wait reaches the deadline, neither early nor in slices. */
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    segue_loop_timer_set(loop, &timer, 0);
    assert_int_equal(segue_loop_turn(loop, -1), 1);
    segue_loop_timer_set(loop, &timer, 0);
    segue_loop_timer_cancel(loop, &timer);
    assert_int_equal(segue_loop_turn(loop, 1000000), 0);
    segue_loop_timer_set(loop, &never, SEGUE_NEVER);
    assert_int_equal(segue_loop_turn(loop, 0), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(every_task_of_four_threads_runs_once_in_order, start,
                                    stop),
    cmocka_unit_test_setup_teardown(one_task_from_many_threads_is_queued_once, start,
                                    stop),
    cmocka_unit_test_setup_teardown(a_task_may_post_itself_and_takes_a_turn_each, start,
                                    stop),
    cmocka_unit_test_setup_teardown(the_creator_owns_and_others_do_not, start, stop),
    cmocka_unit_test_setup_teardown(a_stop_before_run_counts, start, stop),
    cmocka_unit_test_setup_teardown(unwatch_takes_back_events_already_seen, start, stop),
    cmocka_unit_test_setup_teardown(modify_takes_back_events_already_seen, start, stop),
    cmocka_unit_test_setup_teardown(level_triggered_until_read_and_hang_up_is_told, start,
                                    stop),
    cmocka_unit_test_setup_teardown(what_cannot_be_watched_is_refused, start, stop),
    cmocka_unit_test_setup_teardown(one_wait_ends_with_the_timer, start, stop),
};
TEST_MAIN(tests)
