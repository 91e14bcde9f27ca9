/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of events: order, its descriptor, and room that is reserved before it is
 * needed. */
#include "test.h"
#include "agent/event.h"

#include <poll.h>
#include <pthread.h>

static bool is_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void events_come_in_order_and_the_fd_says_so(void **state)
{
    struct segue_events q;
    struct segue_event event = {0};
    assert_ok(segue_events_open(&q));
    assert_false(is_readable(q.fd));
    assert_status(segue_events_pop(&q, &event), SEGUE_E_NOT_FOUND);
    assert_ok(segue_events_reserve(&q, 40));
    uint64_t next = 0;
    for (uint64_t i = 0; i < 40; i++) {
        event.id = i;
        segue_events_push(&q, &event);
        assert_true(is_readable(q.fd));
        /* Reading in between moves the ring's start, so that it wraps. */
        if (i % 3 == 2) {
            assert_ok(segue_events_pop(&q, &event));
            assert_int_equal(event.id, next++);
        }
    }
    assert_ok(segue_events_reserve(&q, 100));
    while (next < 40) {
        assert_ok(segue_events_pop(&q, &event));
        assert_int_equal(event.id, next++);
    }
    assert_false(is_readable(q.fd));
    segue_events_unreserve(&q, 100);
    assert_int_equal(q.reserved, 0);
    segue_events_close(&q);
}

enum { MANY = 20000 };

static void *pushes(void *arg)
{
    struct segue_events *q = arg;
    for (uint64_t i = 0; i < MANY; i++) {
        struct segue_event event = {.id = i};
        if (segue_events_reserve(q, 1) < 0)
            return q;
        segue_events_push(q, &event);
    }
    return NULL;
}

static void one_thread_writes_another_reads(void **state)
{
    struct segue_events q;
    struct segue_event event;
    pthread_t writer;
    void *failed;
    assert_ok(segue_events_open(&q));
    assert_int_equal(pthread_create(&writer, NULL, pushes, &q), 0);
    for (uint64_t next = 0; next < MANY;) {
        struct pollfd p = {q.fd, POLLIN, 0};
        assert_int_equal(poll(&p, 1, 10000), 1);
        while (segue_events_pop(&q, &event) == SEGUE_OK)
            assert_int_equal(event.id, next++);
    }
    pthread_join(writer, &failed);
    assert_null(failed);
    assert_false(is_readable(q.fd));
    segue_events_close(&q);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(events_come_in_order_and_the_fd_says_so),
    cmocka_unit_test(one_thread_writes_another_reads),
};
TEST_MAIN(tests)
