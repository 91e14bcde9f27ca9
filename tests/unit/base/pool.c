/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: order, bounds, laziness, draining at the end. */
#include "test.h"
#include "base/list.h"
#include "base/pool.h"

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#define TASKS 3000

static struct segue_pool *pool;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_int ran, running, most;

struct numbered {
    struct segue_task task;
    int number;
};
static struct numbered tasks[TASKS];
static int order[TASKS];

static int threads_here(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void wait_at_gate(struct segue_task *task)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void note_order(struct segue_task *task)
{
    order[atomic_fetch_add(&ran, 1)] =
        segue_container_of(task, struct numbered, task)->number;
}

static void make_tasks(void (*fn)(struct segue_task *))
{
    ran = running = most = 0;
    for (int i = 0; i < TASKS; i++)
        tasks[i] = (struct numbered){{.fn = fn}, i};
}

static void one_worker_runs_first_in_first_out(void **state)
{
    struct segue_task blocker = {.fn = wait_at_gate};
    int before = threads_here();
    assert_ok(segue_pool_create(1, "segue-test-worker-long-name", &pool));
    assert_int_equal(threads_here(), before);
    make_tasks(note_order);
    pthread_mutex_lock(&gate);
    segue_pool_submit(pool, &blocker);
    for (int i = 0; i < TASKS; i++)
        assert_true(segue_pool_submit(pool, &tasks[i].task));
    assert_false(segue_pool_submit(pool, &tasks[TASKS - 1].task));
    pthread_mutex_unlock(&gate);
    segue_pool_destroy(pool);
    assert_int_equal(ran, TASKS);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(order[i], i);
}

static void count_running(struct segue_task *task)
{
    int now = atomic_fetch_add(&running, 1) + 1, seen = most;
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        ;
    sched_yield();
    atomic_fetch_sub(&running, 1);
    atomic_fetch_add(&ran, 1);
}

static void *submit_share(void *arg)
{
    int first = *(int *)arg;
    for (int i = first; i < TASKS; i += 4)
        segue_pool_submit(pool, &tasks[i].task);
    return NULL;
}

static void never_more_workers_than_asked_for(void **state)
{
    pthread_t threads[4];
    int first[4];
    assert_ok(segue_pool_create(3, "test", &pool));
    make_tasks(count_running);
    for (int t = 0; t < 4; t++) {
        first[t] = t;
        pthread_create(&threads[t], NULL, submit_share, &first[t]);
    }
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    segue_pool_destroy(pool);
    assert_int_equal(ran, TASKS);
    assert_in_range(most, 1, 3);
}

static pthread_barrier_t together;

static void meet(struct segue_task *task)
{
    pthread_barrier_wait(&together);
}

static void as_many_workers_as_there_is_work_for(void **state)
{
    assert_ok(segue_pool_create(3, "test", &pool));
    pthread_barrier_init(&together, NULL, 4);
    for (int round = 0; round < 50;
         round++) { /* rounds after the first meet idle workers */
        struct segue_task three[3] = {{.fn = meet}, {.fn = meet}, {.fn = meet}};
        for (int i = 0; i < 3; i++)
            segue_pool_submit(pool, &three[i]);
        pthread_barrier_wait(&together); /* hangs if one of them waits for a worker */
    }
    segue_pool_destroy(pool);
    pthread_barrier_destroy(&together);
}

static void submit_the_next(struct segue_task *task)
{
    int number = segue_container_of(task, struct numbered, task)->number;
    atomic_fetch_add(&ran, 1);
    if (number + 1 < TASKS)
        segue_pool_submit(pool, &tasks[number + 1].task);
}

static void destroy_runs_out_what_tasks_submit(void **state)
{
    assert_ok(segue_pool_create(2, "test", &pool));
    make_tasks(submit_the_next);
    segue_pool_submit(pool, &tasks[0].task);
    segue_pool_destroy(pool);
    assert_int_equal(ran, TASKS);
    segue_pool_destroy(NULL);
}

static sem_t entered, leave;
static bool waited;

static void look_at_the_queue(struct segue_task *task)
{
    sem_post(&entered);
    sem_wait(&leave);
    waited = segue_pool_waiting(pool);
}

static void nothing(struct segue_task *task)
{
}

static void tells_when_somebody_waits(void **state)
{
    struct segue_task busy = {.fn = look_at_the_queue}, other = {.fn = nothing};
    sem_init(&entered, 0, 0);
    sem_init(&leave, 0, 0);
    assert_ok(segue_pool_create(1, "test", &pool));
    segue_pool_submit(pool, &busy);
    sem_wait(&entered);
    assert_false(segue_pool_waiting(pool));
    segue_pool_submit(pool, &other);
    sem_post(&leave);
    segue_pool_destroy(pool);
    assert_true(waited);
    sem_destroy(&entered);
    sem_destroy(&leave);
}

static pthread_t ran_on;
static sigset_t ran_with;

static void look_around(struct segue_task *task)
{
    ran_on = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &ran_with);
}

static void no_workers_means_inside_submit(void **state)
{
    struct segue_task task = {.fn = look_around};
    assert_ok(segue_pool_create(0, "test", &pool));
    assert_true(segue_pool_submit(pool, &task));
    assert_true(pthread_equal(ran_on, pthread_self()));
    assert_true(segue_pool_submit(pool, &task));
    segue_pool_destroy(pool);
}

static void workers_leave_signals_alone(void **state)
{
    struct segue_task task = {.fn = look_around};
    sigset_t mine;
    assert_ok(segue_pool_create(1, "test", &pool));
    segue_pool_submit(pool, &task);
    segue_pool_destroy(pool);
    assert_true(sigismember(&ran_with, SIGTERM) && sigismember(&ran_with, SIGUSR1));
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_false(sigismember(&mine, SIGTERM));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_worker_runs_first_in_first_out),
    cmocka_unit_test(never_more_workers_than_asked_for),
    cmocka_unit_test(as_many_workers_as_there_is_work_for),
    cmocka_unit_test(destroy_runs_out_what_tasks_submit),
    cmocka_unit_test(tells_when_somebody_waits),
    cmocka_unit_test(no_workers_means_inside_submit),
    cmocka_unit_test(workers_leave_signals_alone),
};
TEST_MAIN(tests)
