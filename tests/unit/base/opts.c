/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables: defaults, every kind's limits and sentences, environment, help. */
#include "test.h"
#include "base/opts.h"

#include <stdlib.h>
#include <string.h>

enum color { RED, GREEN };

struct target {
    bool on;
    uint32_t count;
    uint64_t big, size, wait;
    const char *name, *none;
    enum color color;
};

static const char *const colors[] = {"red", "green", NULL};
static const struct segue_opt table[] = {
    {"on", offsetof(struct target, on), SEGUE_OPT_BOOL, "yes", .doc = "whether"},
    {"count", offsetof(struct target, count), SEGUE_OPT_U32, "3", 1, 0,
     .doc = "how many"},
    {"big", offsetof(struct target, big), SEGUE_OPT_U64, "0", .doc = "large"},
    {"ring-size", offsetof(struct target, size), SEGUE_OPT_BYTES, "64MiB", 4096,
     UINT64_C(1) << 40, .doc = "bytes of the ring"},
    {"wait", offsetof(struct target, wait), SEGUE_OPT_DURATION, "20s", .doc = "how long"},
    {"name", offsetof(struct target, name), SEGUE_OPT_STRING, "p0", .doc = "who"},
    {"none", offsetof(struct target, none), SEGUE_OPT_STRING, NULL, .doc = "nobody"},
    {"color", offsetof(struct target, color), SEGUE_OPT_ENUM, "green", .words = colors,
     .doc = "which"},
    {0},
};

static struct target fresh(void)
{
    struct target t;
    memset(&t, 0xee, sizeof t);
    segue_opts_defaults(table, &t);
    return t;
}

static void defaults_are_read_like_any_text(void **state)
{
    struct target t = fresh();
    assert_true(t.on);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.big, 0);
    assert_int_equal(t.size, 64 << 20);
    assert_true(t.wait == UINT64_C(20000000000));
    assert_string_equal(t.name, "p0");
    assert_null(t.none);
    assert_int_equal(t.color, GREEN);
}

static void values_of_every_kind_are_taken(void **state)
{
    struct target t = fresh();
    assert_ok(segue_opts_set(table, &t, "on", "off"));
    assert_false(t.on);
    assert_ok(segue_opts_set(table, &t, "count", "4294967295"));
    assert_true(t.count == UINT32_MAX);
    assert_ok(segue_opts_set(table, &t, "big", "18446744073709551615"));
    assert_true(t.big == UINT64_MAX);
    assert_ok(segue_opts_set(table, &t, "ring_size", "5000"));
    assert_int_equal(t.size, 5000);
    assert_ok(segue_opts_set(table, &t, "ring-size", "4KiB"));
    assert_ok(segue_opts_set(table, &t, "ring-size", "1TiB"));
    assert_ok(segue_opts_set(table, &t, "ring-size", "3MB"));
    assert_int_equal(t.size, 3000000);
    assert_ok(segue_opts_set(table, &t, "wait", "250ms"));
    assert_int_equal(t.wait, 250000000);
    assert_ok(segue_opts_set(table, &t, "wait", "0"));
    assert_int_equal(t.wait, 0);
    assert_ok(segue_opts_set(table, &t, "wait", "2min"));
    assert_true(t.wait == UINT64_C(120000000000));
    assert_ok(segue_opts_set(table, &t, "name", ""));
    assert_string_equal(t.name, "");
    assert_ok(segue_opts_set(table, &t, "color", "red"));
    assert_int_equal(t.color, RED);
}

static void bad_values_leave_the_field_and_name_the_remedy(void **state)
{
    static const struct {
        const char *name, *text;
        enum segue_status status;
        const char *said;
    } rows[] = {
        {"on", "maybe", SEGUE_E_INVALID, "option on: 'maybe' is not true or false"},
        {"on", "", SEGUE_E_INVALID, "true or false"},
        {"count", "0", SEGUE_E_RANGE, "at least 1"},
        {"count", "4294967296", SEGUE_E_RANGE, "at most 4294967295"},
        {"count", "-1", SEGUE_E_INVALID, "a whole number"},
        {"count", " 1", SEGUE_E_INVALID, "a whole number"},
        {"count", "1x", SEGUE_E_INVALID, "a whole number"},
        {"count", "", SEGUE_E_INVALID, "a whole number"},
        {"big", "18446744073709551616", SEGUE_E_RANGE, "too large"},
        {"big", "99999999999999999999999999", SEGUE_E_RANGE, "too large"},
        {"ring-size", "2TiB", SEGUE_E_RANGE, "at most 1099511627776"},
        {"ring-size", "99999999TiB", SEGUE_E_RANGE, "too large"},
        {"ring-size", "4kib", SEGUE_E_INVALID, "64MiB"},
        {"ring-size", "1.5MiB", SEGUE_E_INVALID, "64MiB"},
        {"wait", "20", SEGUE_E_INVALID, "20s or 250ms"},
        {"wait", "99999999999h", SEGUE_E_RANGE, "too large"},
        {"color", "blue", SEGUE_E_INVALID, "'blue' is not one of red|green"},
        {"colour", "red", SEGUE_E_NOT_FOUND, "no option colour"},
        {"ring", "1", SEGUE_E_NOT_FOUND, "no option ring"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct target t = fresh(), before = t;
        assert_status(segue_opts_set(table, &t, rows[i].name, rows[i].text),
                      rows[i].status);
        if (!strstr(segue_error_detail(), rows[i].said))
            fail_msg("'%s' does not say '%s'", segue_error_detail(), rows[i].said);
        assert_memory_equal(&t, &before, sizeof t);
    }
}

static void the_environment_sets_and_is_named_when_wrong(void **state)
{
    struct target t = fresh();
    setenv("SEGUE_RING_SIZE", "1MiB", 1);
    setenv("SEGUE_NAME", "from outside", 1);
    assert_ok(segue_opts_environment(table, &t));
    assert_int_equal(t.size, 1 << 20);
    assert_string_equal(t.name, "from outside");
    assert_int_equal(t.count, 3);
    setenv("SEGUE_COLOR", "blue", 1);
    assert_status(segue_opts_environment(table, &t), SEGUE_E_INVALID);
    assert_string_equal(segue_error_detail(),
                        "SEGUE_COLOR: option color: 'blue' is not one of red|green");
    unsetenv("SEGUE_RING_SIZE");
    unsetenv("SEGUE_NAME");
    unsetenv("SEGUE_COLOR");
}

static void help_says_name_kind_meaning_default(void **state)
{
    struct segue_text out = {0};
    segue_opts_help(table, &out);
    assert_non_null(strstr(out.data, "  --ring-size SIZE             bytes of the ring "
                                     "(default 64MiB)\n"));
    assert_non_null(strstr(out.data, "--color red|green"));
    assert_non_null(strstr(out.data, "--none TEXT                  nobody\n"));
    segue_text_free(&out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_are_read_like_any_text),
    cmocka_unit_test(values_of_every_kind_are_taken),
    cmocka_unit_test(bad_values_leave_the_field_and_name_the_remedy),
    cmocka_unit_test(the_environment_sets_and_is_named_when_wrong),
    cmocka_unit_test(help_says_name_kind_meaning_default),
};
TEST_MAIN(tests)
