/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: commas, escapes, numbers. */
#include "test.h"
#include "base/json.h"

#include <locale.h>
#include <math.h>
#include <string.h>

static struct segue_text text;

static int clear(void **state)
{
    segue_text_free(&text);
    return 0;
}

static void commas_go_where_they_belong(void **state)
{
    struct segue_json json = {.text = &text};
    segue_text_add(&text, "data: ");
    segue_json_begin_object(&json);
    segue_json_key(&json, "a");
    segue_json_begin_array(&json);
    segue_json_end_array(&json);
    segue_json_key(&json, "b");
    segue_json_begin_array(&json);
    segue_json_u64(&json, UINT64_MAX);
    segue_json_i64(&json, INT64_MIN);
    segue_json_begin_object(&json);
    segue_json_end_object(&json);
    segue_json_bool(&json, true);
    segue_json_bool(&json, false);
    segue_json_null(&json);
    segue_json_end_array(&json);
    segue_json_key(&json, "c\"");
    segue_json_raw(&json, "{\"r\": 1}", 8);
    segue_json_key(&json, "d");
    segue_json_string(&json, NULL);
    segue_json_end_object(&json);
    segue_text_add(&text, "\n");
    segue_json_u64(&json, 1); /* a second value of its own */
    assert_string_equal(text.data,
                        "data: {\"a\":[],\"b\":[18446744073709551615,"
                        "-9223372036854775808,{},true,false,null],\"c\\\"\":{\"r\": 1},"
                        "\"d\":null}\n1");
    assert_false(text.failed);
}

static void strings_are_escaped_and_made_utf8(void **state)
{
    static const char *const rows[][2] = {
        {"plain", "\"plain\""},
        {"\"\\/\b\f\n\r\t\x01\x1f\x7f", "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b\xc3",
         "\"a\xef\xbf\xbd"
         "b\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_json json = {.text = &text};
        segue_text_reset(&text);
        segue_json_string(&json, rows[i][0]);
        assert_string_equal(text.data, rows[i][1]);
    }
    struct segue_json json = {.text = &text};
    segue_text_reset(&text);
    segue_json_string_n(&json, "a\0b", 3);
    assert_string_equal(text.data, "\"a\\u0000b\"");
}

/* Every byte string survives writing and reading, its broken bytes replaced. */
static void what_is_written_is_json(void **state)
{
    uint32_t seed = 99;
    for (int round = 0; round < 3000; round++) {
        char data[24], out[128];
        size_t len = 0, got;
        for (seed = seed * 1664525 + 1013904223; len < (seed >> 24) % 24; len++) {
            seed = seed * 1664525 + 1013904223;
            data[len] = (char)(seed >> 20);
        }
        struct segue_json json = {.text = &text};
        struct segue_json_value v;
        segue_text_reset(&text);
        segue_json_string_n(&json, data, len);
        assert_ok(segue_json_parse(text.data, text.len, &v, NULL));
        assert_ok(segue_json_text(v, out, sizeof out, &got));
        segue_text_reset(&text);
        segue_json_string_n(&json, out, got);
        assert_int_equal(text.len, v.len);
    }
}

static void doubles_are_short_and_exact(void **state)
{
    static const struct {
        double value;
        const char *want;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1e21, "1e+21"},
        {5e-324, "4.94065645841247e-324"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_json json = {.text = &text};
        segue_text_reset(&text);
        segue_json_double(&json, rows[i].value);
        assert_string_equal(text.data, rows[i].want);
    }
}

static void the_locale_does_not_matter(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE",
                                        "nl_NL.UTF-8"};
    size_t i = 0;
    while (i < 4 && !setlocale(LC_NUMERIC, names[i]))
        i++;
    if (i == 4)
        skip_because("no locale with a decimal comma is installed");
    struct segue_json json = {.text = &text};
    struct segue_json_value v;
    double d;
    segue_json_double(&json, 0.5);
    assert_string_equal(text.data, "0.5");
    assert_ok(segue_json_parse(text.data, text.len, &v, NULL));
    assert_ok(segue_json_to_double(v, &d));
    assert_true(d == 0.5);
    setlocale(LC_NUMERIC, "C");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(commas_go_where_they_belong, clear),
    cmocka_unit_test_teardown(strings_are_escaped_and_made_utf8, clear),
    cmocka_unit_test_teardown(what_is_written_is_json, clear),
    cmocka_unit_test_teardown(doubles_are_short_and_exact, clear),
    cmocka_unit_test_teardown(the_locale_does_not_matter, clear),
};
TEST_MAIN(tests)
