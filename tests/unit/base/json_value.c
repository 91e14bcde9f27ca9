/* SPDX-License-Identifier: Apache-2.0 */
/* What JSON values say: strings with escapes, numbers at their limits, equal keys. */
#include "test.h"
#include "base/json.h"

#include <string.h>

static struct segue_json_value parse(const char *text)
{
    struct segue_json_value v;
    assert_ok(segue_json_parse(text, strlen(text), &v, NULL));
    return v;
}

static void escapes_are_resolved(void **state)
{
    static const char *const rows[][2] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"<\\ud83d\\ude00>\"", "<\xf0\x9f\x98\x80>"},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf"},
        {"\"\xc3\xa9\\\\u0041\"", "\xc3\xa9\\u0041"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_json_value v = parse(rows[i][0]);
        char *out = test_malloc(v.len);
        size_t len;
        assert_ok(segue_json_text(v, out, v.len, &len));
        assert_string_equal(out, rows[i][1]);
        assert_int_equal(len, strlen(out));
        assert_true(segue_json_equals(v, out));
        assert_false(segue_json_equals(v, "something else"));
        test_free(out);
    }
}

static void half_pairs_are_refused(void **state)
{
    static const char *const rows[] = {"\"\\ud800\"",        "\"\\udc00\"",
                                       "\"\\ud800x\"",       "\"\\ud800\\n\"",
                                       "\"\\ud800\\ud800\"", "\"\\ud800\\u0041\""};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[32] = "kept";
        size_t len = 77;
        assert_status(segue_json_text(parse(rows[i]), out, sizeof out, &len),
                      SEGUE_E_INVALID);
        assert_int_equal(len, 77);
        assert_false(segue_json_equals(parse(rows[i]), ""));
    }
}

static void buffers_that_are_too_small_are_refused(void **state)
{
    char out[5];
    size_t len;
    assert_ok(segue_json_text(parse("\"abcd\""), out, 5, &len));
    assert_status(segue_json_text(parse("\"abcd\""), out, 4, NULL), SEGUE_E_LIMIT);
    assert_status(segue_json_text(parse("\"abc\\u20ac\""), out, 5, NULL), SEGUE_E_LIMIT);
    assert_ok(segue_json_text(parse("\"\""), out, 1, NULL));
    assert_status(segue_json_text(parse("12"), out, 5, NULL), SEGUE_E_INVALID);
    assert_ok(segue_json_text(parse("\"a\\u0000b\""), out, 5, &len));
    assert_int_equal(len, 3);
    assert_memory_equal(out, "a\0b", 4);
    assert_false(segue_json_equals(parse("\"a\\u0000b\""), "a"));
}

static void integers_stop_at_their_limits(void **state)
{
    int64_t i = 7;
    uint64_t u = 7;
    assert_ok(segue_json_to_i64(parse("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_ok(segue_json_to_i64(parse("9223372036854775807"), &i));
    assert_true(i == INT64_MAX);
    assert_status(segue_json_to_i64(parse("9223372036854775808"), &i), SEGUE_E_RANGE);
    assert_status(segue_json_to_i64(parse("-9223372036854775809"), &i), SEGUE_E_RANGE);
    assert_true(i == INT64_MAX);
    assert_ok(segue_json_to_u64(parse("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_status(segue_json_to_u64(parse("18446744073709551616"), &u), SEGUE_E_RANGE);
    assert_status(segue_json_to_u64(parse("99999999999999999999999"), &u), SEGUE_E_RANGE);
    assert_status(segue_json_to_u64(parse("-1"), &u), SEGUE_E_RANGE);
    assert_ok(segue_json_to_u64(parse("-0"), &u));
    assert_ok(segue_json_to_i64(parse("-0"), &i));
    assert_true(u == 0 && i == 0);
    assert_status(segue_json_to_i64(parse("1.0"), &i), SEGUE_E_INVALID);
    assert_status(segue_json_to_i64(parse("1e3"), &i), SEGUE_E_INVALID);
    assert_status(segue_json_to_u64(parse("\"1\""), &u), SEGUE_E_INVALID);
    assert_status(segue_json_to_u64(parse("null"), &u), SEGUE_E_INVALID);
}

static void doubles_are_read_exactly(void **state)
{
    double d;
    assert_ok(segue_json_to_double(parse("0.1"), &d));
    assert_true(d == 0.1);
    assert_ok(segue_json_to_double(parse("-12e-2"), &d));
    assert_true(d == -0.12);
    assert_ok(segue_json_to_double(parse("1.7976931348623157e308"), &d));
    assert_ok(segue_json_to_double(parse("1e-400"), &d));
    assert_true(d == 0);
    assert_status(segue_json_to_double(parse("1e400"), &d), SEGUE_E_RANGE);
    assert_status(segue_json_to_double(parse("true"), &d), SEGUE_E_INVALID);
    char many[3000];
    memset(many, '1', sizeof many - 1);
    many[sizeof many - 1] = 0;
    assert_status(segue_json_to_double(parse(many), &d), SEGUE_E_RANGE);
    bool b;
    assert_ok(segue_json_to_bool(parse("true"), &b));
    assert_true(b);
    assert_ok(segue_json_to_bool(parse("false"), &b));
    assert_false(b);
    assert_status(segue_json_to_bool(parse("1"), &b), SEGUE_E_INVALID);
}

static void equal_keys_are_counted_and_the_last_counts(void **state)
{
    struct segue_json_value v = {0},
                            root = parse(
                                "{\"a\":1,\"b\":{\"a\":9},\"\\u0061\":2,\"ab\":3}");
    assert_int_equal(segue_json_find(root, "a", &v), 2);
    assert_memory_equal(v.data, "2", 1);
    assert_int_equal(segue_json_find(root, "ab", &v), 1);
    assert_memory_equal(v.data, "3", 1);
    assert_int_equal(segue_json_find(root, "c", &v), 0);
    assert_memory_equal(v.data, "3", 1);
    assert_int_equal(segue_json_find(parse("[\"a\",1]"), "a", &v), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(escapes_are_resolved),
    cmocka_unit_test(half_pairs_are_refused),
    cmocka_unit_test(buffers_that_are_too_small_are_refused),
    cmocka_unit_test(integers_stop_at_their_limits),
    cmocka_unit_test(doubles_are_read_exactly),
    cmocka_unit_test(equal_keys_are_counted_and_the_last_counts),
};
TEST_MAIN(tests)
