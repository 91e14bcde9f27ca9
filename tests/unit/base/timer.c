/* SPDX-License-Identifier: Apache-2.0 */
/* Timers without a clock: order, cancelling, re-arming, and a random run against a model.
 */
#include "test.h"
#include "base/list.h"
#include "base/timer.h"

#include <stdlib.h>

#define MANY 300

static struct segue_timers timers;
static struct segue_timer pool[MANY];
static int order[4 * MANY], fired;
static uint32_t seed = 4711;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static void note(struct segue_timer *timer)
{
    assert_false(segue_timer_is_set(timer));
    order[fired++] = (int)(timer - pool);
}

static int start(void **state)
{
    timers = (struct segue_timers){0};
    fired = 0;
    for (int i = 0; i < MANY; i++)
        pool[i] = (struct segue_timer){.fn = note};
    return 0;
}

static void earliest_first_then_as_set(void **state)
{
    assert_true(segue_timers_next(&timers) == SEGUE_NEVER);
    segue_timer_set(&timers, &pool[0], 30);
    segue_timer_set(&timers, &pool[1], 10);
    segue_timer_set(&timers, &pool[2], 30);
    segue_timer_set(&timers, &pool[3], 20);
    assert_int_equal(segue_timers_next(&timers), 10);
    assert_int_equal(segue_timers_expire(&timers, 9), 0);
    assert_int_equal(segue_timers_expire(&timers, 10), 1);
    assert_int_equal(segue_timers_next(&timers), 20);
    assert_int_equal(segue_timers_expire(&timers, 100), 3);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 3);
    assert_int_equal(order[2], 0);
    assert_int_equal(order[3], 2);
    assert_true(segue_timers_next(&timers) == SEGUE_NEVER);
}

static void setting_again_moves_and_cancel_forgets(void **state)
{
    segue_timer_set(&timers, &pool[0], 10);
    segue_timer_set(&timers, &pool[1], 20);
    segue_timer_set(&timers, &pool[0], 30);
    segue_timer_cancel(&timers, &pool[1]);
    segue_timer_cancel(&timers, &pool[1]);
    segue_timer_cancel(&timers, &pool[2]);
    assert_int_equal(segue_timers_next(&timers), 30);
    assert_int_equal(segue_timers_expire(&timers, 29), 0);
    assert_int_equal(segue_timers_expire(&timers, 30), 1);
}

static void rearm_in_the_past(struct segue_timer *timer)
{
    note(timer);
    segue_timer_set(&timers, timer, 0);
    segue_timer_set(&timers, &pool[7], 0);
}

static void what_a_callback_sets_waits_for_the_next_call(void **state)
{
    pool[0].fn = rearm_in_the_past;
    segue_timer_set(&timers, &pool[0], 5);
    segue_timer_set(&timers, &pool[1], 6);
    assert_int_equal(segue_timers_expire(&timers, 10), 2);
    assert_int_equal(order[1], 1);
    assert_int_equal(segue_timers_next(&timers), 0);
    /* Timer 7 was due too, but timer 0 has set it anew. */
    assert_int_equal(segue_timers_expire(&timers, 10), 1);
    assert_int_equal(fired, 3);
}

static void cancel_next(struct segue_timer *timer)
{
    note(timer);
    segue_timer_cancel(&timers, timer + 1);
    segue_timer_set(&timers, timer + 2, 50);
}

static void callbacks_may_cancel_and_move_what_is_due(void **state)
{
    pool[0].fn = cancel_next;
    for (int i = 0; i < 4; i++)
        segue_timer_set(&timers, &pool[i], (uint64_t)i);
    assert_int_equal(segue_timers_expire(&timers, 10), 2);
    assert_int_equal(order[1], 3);
    assert_int_equal(segue_timers_next(&timers), 50);
}

struct lone {
    struct segue_timer timer;
};

static void free_it(struct segue_timer *timer)
{
    free(segue_container_of(timer, struct lone, timer));
}

static void a_callback_may_free_its_timer(void **state)
{
    for (int i = 0; i < 10; i++) {
        struct lone *lone = calloc(1, sizeof *lone);
        lone->timer.fn = free_it;
        segue_timer_set(&timers, &lone->timer, (uint64_t)(i % 3));
    }
    assert_int_equal(segue_timers_expire(&timers, 10), 10);
}

/* Sets, moves and cancels at random; at each step all that is due and nothing else fires,
 * in order. */
static void agrees_with_its_model(void **state)
{
    uint64_t want[MANY], now = 0;
    for (int i = 0; i < MANY; i++)
        want[i] = SEGUE_NEVER;
    for (int step = 0; step < 20000; step++) {
        uint32_t i = draw(MANY), what = draw(8);
        if (what < 5) {
            want[i] = now + draw(1000);
            segue_timer_set(&timers, &pool[i], want[i]);
        } else if (what < 7) {
            want[i] = SEGUE_NEVER;
            segue_timer_cancel(&timers, &pool[i]);
        } else {
            uint64_t last = 0;
            now += draw(300);
            fired = 0;
            segue_timers_expire(&timers, now);
            for (int f = 0; f < fired; f++) {
                assert_true(want[order[f]] >= last && want[order[f]] <= now);
                last = want[order[f]];
                want[order[f]] = SEGUE_NEVER;
            }
        }
        uint64_t next = SEGUE_NEVER;
        for (int k = 0; k < MANY; k++)
            next = want[k] < next ? want[k] : next;
        assert_true(segue_timers_next(&timers) == next);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(earliest_first_then_as_set, start),
    cmocka_unit_test_setup(setting_again_moves_and_cancel_forgets, start),
    cmocka_unit_test_setup(what_a_callback_sets_waits_for_the_next_call, start),
    cmocka_unit_test_setup(callbacks_may_cancel_and_move_what_is_due, start),
    cmocka_unit_test_setup(a_callback_may_free_its_timer, start),
    cmocka_unit_test_setup(agrees_with_its_model, start),
};
TEST_MAIN(tests)
