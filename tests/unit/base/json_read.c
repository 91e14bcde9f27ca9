/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader: what it must take, what it must refuse and where, and exact spans. */
#include "test.h"
#include "base/json.h"

#include <string.h>

static struct segue_json_value parse_n(const char *text, size_t len)
{
    struct segue_json_value v;
    assert_ok(segue_json_parse(text, len, &v, NULL));
    return v;
}

static struct segue_json_value parse(const char *text)
{
    return parse_n(text, strlen(text));
}

static void assert_span(struct segue_json_value v, const char *want)
{
    if (v.len != strlen(want) || memcmp(v.data, want, v.len) != 0)
        fail_msg("got '%.*s', want '%s'", (int)v.len, v.data, want);
}

static const char *const must_pass[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "1.5",
    "1e5",
    "1E+5",
    "1e-5",
    "0.0",
    "-0.1e1",
    "1e400",
    "\"\"",
    "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\\uFFFF\\uabcd\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\x7f\"",
    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\"",
    "[]",
    "{}",
    "[ ]",
    "{ }",
    " \t\r\n1\t",
    "[1,2]",
    "[[],{},[[]]]",
    "{\"a\":1}",
    "{ \"a\" : 1 , \"a\" : 2 }",
    "{\"\":{\"\":[]}}",
    "[\"]\",\"}\",\"\\\"\",{\"{\":\"[\"}]",
    "[1 ,2\n]",
    "[123456789012345678901234567890]",
};

/* What is refused, and the offset of the first byte that cannot be. */
static const struct {
    const char *text;
    size_t at;
} must_fail[] = {
    {"", 0},
    {"  ", 2},
    {"nul", 3},
    {"nulL", 3},
    {"True", 0},
    {"NaN", 0},
    {"Infinity", 0},
    {"-Infinity", 1},
    {"-", 1},
    {"+1", 0},
    {".5", 0},
    {"1.", 2},
    {"1.e5", 2},
    {"01", 1},
    {"-01", 2},
    {"1e", 2},
    {"1e+", 3},
    {"0x1", 1},
    {"1 2", 2},
    {"1,", 1},
    {"'a'", 0},
    {"\"", 1},
    {"\"a", 2},
    {"\"a\\", 3},
    {"\"\\x\"", 2},
    {"\"\\u12\"", 5},
    {"\"\\u12", 5},
    {"\"\\u12G4\"", 5},
    {"\"a\nb\"", 2},
    {"\"\x1f\"", 1},
    {"\"\xff\"", 1},
    {"\"\x80\"", 1},
    {"\"\xc0\xaf\"", 1},
    {"\"\xe0\x80\x80\"", 1},
    {"\"\xed\xa0\x80\"", 1},
    {"\"\xf4\x90\x80\x80\"", 1},
    {"\"\xf5\x80\x80\x80\"", 1},
    {"\"\xc3\"", 1},
    {"\"\xe2\x82", 1},
    {"\xef\xbb\xbf{}", 0},
    {"[", 1},
    {"[1", 2},
    {"[1,", 3},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1}", 2},
    {"]", 0},
    {"[]]", 2},
    {"{", 1},
    {"{\"a\"", 4},
    {"{\"a\":", 5},
    {"{\"a\":}", 5},
    {"{\"a\":1", 6},
    {"{\"a\":1,", 7},
    {"{\"a\":1,}", 7},
    {"{\"a\" 1}", 5},
    {"{a:1}", 1},
    {"{1:1}", 1},
    {"{,}", 1},
    {"{\"a\":1]", 6},
    {"{}{}", 2},
    {"[1] // no", 4},
    {"/* no */1", 0},
};

static void takes_what_is_json(void **state)
{
    for (size_t i = 0; i < sizeof must_pass / sizeof *must_pass; i++)
        parse(must_pass[i]);
}

static void refuses_the_rest_and_says_where(void **state)
{
    for (size_t i = 0; i < sizeof must_fail / sizeof *must_fail; i++) {
        const char *text = must_fail[i].text;
        struct segue_json_value v;
        size_t at = 12345, len = strlen(text);
        /* In a block of exactly its size, for a sanitizer to see one byte too far. */
        char *exact = test_malloc(len ? len : 1), where[32];
        memcpy(exact, text, len);
        if (segue_json_parse(exact, len, &v, &at) != SEGUE_E_INVALID)
            fail_msg("'%s' was taken", text);
        if (at != must_fail[i].at)
            fail_msg("'%s': fails at %zu, not %zu: %s", text, at, must_fail[i].at,
                     segue_error_detail());
        snprintf(where, sizeof where, "at byte %zu", at);
        assert_non_null(strstr(segue_error_detail(), where));
        test_free(exact);
    }
    struct segue_json_value v;
    assert_status(segue_json_parse("\"a\0b\"", 5, &v, NULL), SEGUE_E_INVALID);
    assert_status(segue_json_parse("1\0", 2, &v, NULL), SEGUE_E_INVALID);
}

static void depth_is_bounded(void **state)
{
    char text[4 * SEGUE_JSON_DEPTH];
    struct segue_json_value v;
    size_t at;
    for (size_t depth = SEGUE_JSON_DEPTH; depth <= SEGUE_JSON_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        enum segue_status status = segue_json_parse(text, 2 * depth, &v, &at);
        if (depth == SEGUE_JSON_DEPTH) {
            assert_ok(status);
            assert_int_equal(v.len, 2 * depth);
        } else {
            assert_status(status, SEGUE_E_INVALID);
            assert_int_equal(at, SEGUE_JSON_DEPTH);
        }
    }
}

static void objects_and_arrays_alternate_at_any_depth(void **state)
{
    char text[8 * SEGUE_JSON_DEPTH] = "";
    for (int i = 0; i < SEGUE_JSON_DEPTH / 2; i++)
        strcat(text, "[{\"k\":");
    strcat(text, "7");
    for (int i = 0; i < SEGUE_JSON_DEPTH / 2; i++)
        strcat(text, "}]");
    struct segue_json_value v = parse(text), key;
    for (int i = 0; i < SEGUE_JSON_DEPTH / 2; i++) {
        struct segue_json_cursor c = segue_json_walk(v);
        assert_true(segue_json_next_element(&c, &v));
        c = segue_json_walk(v);
        assert_true(segue_json_next_member(&c, &key, &v));
        assert_span(key, "\"k\"");
    }
    assert_span(v, "7");
    text[strlen(text) - 1] = '}';
    assert_status(segue_json_parse(text, strlen(text), &v, NULL), SEGUE_E_INVALID);
}

static void member_spans_are_exact(void **state)
{
    const char *text =
        " { \"a\" : [1, {\"x\":\"]}\"}] ,\"b\\n\":-1.5e3,\n\"c\":\"\\\\\\\"\","
        "\"d\":true,\"e\":{ },\"f\":null } ";
    static const char *const want[][2] = {
        {"\"a\"", "[1, {\"x\":\"]}\"}]"},
        {"\"b\\n\"", "-1.5e3"},
        {"\"c\"", "\"\\\\\\\"\""},
        {"\"d\"", "true"},
        {"\"e\"", "{ }"},
        {"\"f\"", "null"},
    };
    static const enum segue_json_type types[] = {SEGUE_JSON_ARRAY,  SEGUE_JSON_NUMBER,
                                                 SEGUE_JSON_STRING, SEGUE_JSON_BOOL,
                                                 SEGUE_JSON_OBJECT, SEGUE_JSON_NULL};
    struct segue_json_value root = parse(text), key, value;
    assert_ptr_equal(root.data, text + 1);
    assert_int_equal(root.len, strlen(text) - 2);
    struct segue_json_cursor c = segue_json_walk(root);
    for (size_t i = 0; i < 6; i++) {
        assert_true(segue_json_next_member(&c, &key, &value));
        assert_span(key, want[i][0]);
        assert_span(value, want[i][1]);
        assert_int_equal(value.type, types[i]);
    }
    assert_false(segue_json_next_member(&c, &key, &value));
    assert_false(segue_json_next_member(&c, &key, &value));
}

static void elements_come_in_order(void **state)
{
    struct segue_json_value v;
    struct segue_json_cursor c = segue_json_walk(parse("[ 1 ,[2,3], \"x\" ]"));
    assert_true(segue_json_next_element(&c, &v));
    assert_span(v, "1");
    assert_true(segue_json_next_element(&c, &v));
    assert_span(v, "[2,3]");
    assert_true(segue_json_next_element(&c, &v));
    assert_span(v, "\"x\"");
    assert_false(segue_json_next_element(&c, &v));
    c = segue_json_walk(parse("[ ]"));
    assert_false(segue_json_next_element(&c, &v));
    c = segue_json_walk(parse("17"));
    assert_false(segue_json_next_element(&c, &v));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(takes_what_is_json),
    cmocka_unit_test(refuses_the_rest_and_says_where),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(objects_and_arrays_alternate_at_any_depth),
    cmocka_unit_test(member_spans_are_exact),
    cmocka_unit_test(elements_come_in_order),
};
TEST_MAIN(tests)
