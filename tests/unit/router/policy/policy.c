/* SPDX-License-Identifier: Apache-2.0 */
/* Picking engines: least loaded, turns, credits; and the breaker's life. */
#include "test.h"

#include "policy/policy.h"

static void the_cheapest_engine_wins(void **state)
{
    const struct segue_policy *tokens = segue_policy_find("prefill_tokens");
    const struct segue_policy *sequences = segue_policy_find("sequences");
    struct segue_load loads[3] = {
        {.requests = 1, .tokens = 90000, .usable = true},
        {.requests = 3, .tokens = 300, .usable = true},
        {.requests = 2, .tokens = 80000, .usable = true},
    };
    struct segue_ask ask = {.tokens = 10};
    (void)state;
    /* one long prompt keeps a prefill engine busier than three short ones */
    assert_int_equal(segue_policy_pick(tokens, loads, 3, &ask, 0, NULL), 1);
    /* a decode engine minds sequences first */
    loads[0].tokens = 2000;
    assert_int_equal(segue_policy_pick(sequences, loads, 3, &ask, 0, NULL), 0);
    assert_null(segue_policy_find("nonsense"));
}

static void equals_take_turns(void **state)
{
    const struct segue_policy *policy = segue_policy_find("sequences");
    struct segue_load loads[4] = {
        {.usable = true}, {.usable = true}, {.usable = true}, {.usable = true}};
    struct segue_ask ask = {0};
    unsigned seen[4] = {0};
    (void)state;
    for (uint64_t turn = 0; turn < 400; turn++)
        seen[segue_policy_pick(policy, loads, 4, &ask, turn, NULL)]++;
    for (int i = 0; i < 4; i++)
        assert_int_equal(seen[i], 100);
    /* round robin takes turns whatever the load */
    loads[0].requests = 50;
    assert_int_equal(
        segue_policy_pick(segue_policy_find("round_robin"), loads, 4, &ask, 4, NULL), 0);
}

static void nobody_is_picked_for_a_reason(void **state)
{
    const struct segue_policy *policy = segue_policy_find("sequences");
    struct segue_load loads[2] = {{.requests = 2, .limit = 2, .usable = true},
                                  {.usable = false}};
    struct segue_ask ask = {0};
    enum segue_pick_why why;
    (void)state;
    for (uint64_t turn = 0; turn < 2; turn++) {
        assert_int_equal(segue_policy_pick(policy, loads, 2, &ask, turn, &why),
                         SEGUE_PICK_NONE);
        assert_int_equal(why, SEGUE_PICK_FULL);
    }
    loads[0].tried = true;
    segue_policy_pick(policy, loads, 2, &ask, 0, &why);
    assert_int_equal(why, SEGUE_PICK_DOWN);
    loads[1].usable = true;
    assert_int_equal(segue_policy_pick(policy, loads, 2, &ask, 0, &why), 1);
    assert_int_equal(why, SEGUE_PICKED);
}

static void a_breaker_shuts_and_tries_again(void **state)
{
    struct segue_breaker breaker = {0};
    uint64_t now = 1000;
    (void)state;
    for (int i = 0; i < SEGUE_BREAKER_FAILURES - 1; i++)
        assert_false(segue_breaker_report(&breaker, false, now));
    assert_true(segue_breaker_lets(&breaker, now));
    segue_breaker_report(&breaker, true, now); /* one success forgives all */
    for (int i = 0; i < SEGUE_BREAKER_FAILURES - 1; i++)
        segue_breaker_report(&breaker, false, now);
    assert_true(segue_breaker_report(&breaker, false, now));
    assert_false(segue_breaker_lets(&breaker, now + SEGUE_BREAKER_PAUSE_MS - 1));
    /* failures that were under way do not lengthen the pause */
    for (int i = 0; i < 100; i++)
        assert_false(segue_breaker_report(&breaker, false, now));
    now += SEGUE_BREAKER_PAUSE_MS;
    assert_true(segue_breaker_lets(&breaker, now));
    segue_breaker_begin(&breaker, now);
    assert_false(segue_breaker_lets(&breaker, now)); /* one trial at a time */
    assert_true(segue_breaker_report(&breaker, false, now + 1));
    assert_false(segue_breaker_lets(&breaker, now + 2 * SEGUE_BREAKER_PAUSE_MS));
    assert_true(segue_breaker_lets(&breaker, now + 1 + 2 * SEGUE_BREAKER_PAUSE_MS));
    now += 1 + 2 * SEGUE_BREAKER_PAUSE_MS;
    segue_breaker_begin(&breaker, now);
    assert_true(segue_breaker_report(&breaker, true, now + 5));
    assert_true(segue_breaker_lets(&breaker, now + 5));
}

static void a_pause_has_a_longest(void **state)
{
    struct segue_breaker breaker = {0};
    uint64_t now = 1;
    (void)state;
    for (int i = 0; i < SEGUE_BREAKER_FAILURES; i++)
        segue_breaker_report(&breaker, false, now);
    for (int i = 0; i < 40; i++) {
        now += SEGUE_BREAKER_LONGEST_MS;
        assert_true(segue_breaker_lets(&breaker, now));
        segue_breaker_begin(&breaker, now);
        segue_breaker_report(&breaker, false, now);
    }
    /* a trial that never reports gives way to another */
    now += SEGUE_BREAKER_LONGEST_MS;
    segue_breaker_begin(&breaker, now);
    assert_true(segue_breaker_lets(&breaker, now + SEGUE_BREAKER_LONGEST_MS));
}

static void only_some_statuses_count(void **state)
{
    (void)state;
    for (unsigned status = 200; status < 600; status++)
        assert_int_equal(segue_breaker_counts(status), status >= 502 && status <= 504);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_cheapest_engine_wins),
    cmocka_unit_test(equals_take_turns),
    cmocka_unit_test(nobody_is_picked_for_a_reason),
    cmocka_unit_test(a_breaker_shuts_and_tries_again),
    cmocka_unit_test(a_pause_has_a_longest),
    cmocka_unit_test(only_some_statuses_count),
};

TEST_MAIN(tests)
