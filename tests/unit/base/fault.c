/* SPDX-License-Identifier: Apache-2.0 */
/* Fault schedules: read with errors that name line and word, and asked at the right times. */
#include "base/fault.h"

#include "test.h"

#include <string.h>

static const struct segue_fault_step steps[] = {
    {"send:claim", SEGUE_FAULT_STEP | SEGUE_FAULT_FRAME | SEGUE_FAULT_STREAM},
    {"mid-copy", SEGUE_FAULT_STEP | SEGUE_FAULT_BYTES},
    {"offer", 0},
    {0},
};

static struct segue_faults *parsed(const char *text, const char *who)
{
    struct segue_faults *faults;
    assert_ok(segue_faults_parse(text, strlen(text), who, steps, &faults));
    return faults;
}

static void rules_fire_at_their_time_for_whom_they_are(void **state)
{
    struct segue_fault fault;
    struct segue_faults *f = parsed("# the second claim is lost\n"
                                    "d send:claim#2 drop   # this one\n"
                                    "p mid-copy cut\n"
                                    "\n"
                                    "*\tmid-copy#* delay 20ms\r\n",
                                    "d");
    assert_false(segue_fault_at(f, "send:claim", &fault));
    assert_true(segue_fault_at(f, "send:claim", &fault));
    assert_int_equal(fault.what, SEGUE_FAULT_DROP);
    assert_false(segue_fault_at(f, "send:claim", &fault));
    for (int i = 0; i < 3; i++) {
        assert_true(segue_fault_at(f, "mid-copy", &fault));
        assert_int_equal(fault.what, SEGUE_FAULT_DELAY);
        assert_int_equal(fault.amount, 20000000);
    }
    assert_false(segue_fault_at(f, "offer", &fault));
    assert_false(segue_fault_at(NULL, "mid-copy", &fault));
    segue_faults_release(segue_faults_retain(f));
    segue_faults_release(f);
}

static void the_first_rule_of_a_step_is_done_and_all_count(void **state)
{
    struct segue_fault fault;
    struct segue_faults *f = parsed("d send:claim twice; d send:claim#2 mute", "d");
    assert_true(segue_fault_at(f, "send:claim", &fault));
    assert_int_equal(fault.what, SEGUE_FAULT_TWICE);
    assert_true(segue_fault_at(f, "send:claim", &fault));
    assert_int_equal(fault.what, SEGUE_FAULT_MUTE);
    segue_faults_release(f);
}

static void amounts_have_defaults_and_units(void **state)
{
    struct segue_fault fault;
    struct segue_faults *f = parsed("d send:claim delay\nd send:claim#2 delay 3us\n"
                                    "d send:claim#3 delay 2s\nd send:claim#4 eagain 7\n"
                                    "d send:claim#5 short",
                                    "d");
    static const uint64_t want[] = {100000000, 3000, 2000000000, 7, 1};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(segue_fault_at(f, "send:claim", &fault));
        assert_int_equal(fault.amount, want[i]);
    }
    segue_faults_release(f);
}

static void a_schedule_knows_which_steps_it_names(void **state)
{
    static const char *const bytes[] = {"mid-copy", NULL};
    struct segue_faults *f = parsed("p mid-copy cut", "d"),
                        *g = parsed("* mid-copy cut", "d");
    assert_false(segue_faults_name(f, bytes));
    assert_true(segue_faults_name(g, bytes));
    assert_false(segue_faults_name(NULL, bytes));
    segue_faults_release(f);
    segue_faults_release(g);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"d", "line 1: step of a hand-off is missing"},
        {"\n\nd lunch kill", "line 3: 'lunch' is no step of a hand-off"},
        {"d offer", "line 1: fault is missing"},
        {"d offer explode", "line 1: 'explode' is no fault"},
        {"d offer drop", "line 1: 'drop' cannot be done at offer"},
        {"d mid-copy twice", "line 1: 'twice' cannot be done at mid-copy"},
        {"d send:claim#0 drop", "line 1: 'send:claim#0' is no step with #N or #*"},
        {"d send:claim#x drop", "line 1: 'send:claim#x' is no step with #N or #*"},
        {"d send:claim#1x drop", "line 1: 'send:claim#1x' is no step with #N or #*"},
        {"d send:claim drop 5", "line 1: '5' is no part of that fault"},
        {"d send:claim delay 5", "line 1: '5' is no time, as 300ms or 2s"},
        {"d send:claim delay 5h", "line 1: '5h' is no time, as 300ms or 2s"},
        {"d send:claim delay 999999999s", "is no time"},
        {"d send:claim eagain 5s", "line 1: '5s' is no number"},
        {"d send:claim eagain many", "line 1: 'many' is no amount"},
        {"d send:claim eagain 5 6", "line 1: '6' is no part of a rule"},
        {"other lunch kill", "line 1: 'lunch' is no step of a hand-off"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_faults *f;
        assert_int_equal(
            segue_faults_parse(rows[i].text, strlen(rows[i].text), "d", steps, &f),
            SEGUE_E_INVALID);
        if (!strstr(segue_error_detail(), rows[i].want))
            fail_msg("'%s': %s", rows[i].text, segue_error_detail());
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rules_fire_at_their_time_for_whom_they_are),
    cmocka_unit_test(the_first_rule_of_a_step_is_done_and_all_count),
    cmocka_unit_test(amounts_have_defaults_and_units),
    cmocka_unit_test(a_schedule_knows_which_steps_it_names),
    cmocka_unit_test(what_is_wrong_is_named),
};

TEST_MAIN(tests)
