/* SPDX-License-Identifier: Apache-2.0 */
/* Characters that come in pieces, and bytes that are none. */
#include "test.h"
#include "utf8.h"

#include <string.h>

/* Feeds `text` in pieces of `step` bytes. */
static size_t in_pieces(const char *text, size_t length, size_t step, char *out)
{
    struct utf8_stream stream = {0};
    size_t n = 0;
    for (size_t at = 0; at < length; at += step)
        n += utf8_feed(&stream, text + at, length - at < step ? length - at : step,
                       out + n);
    return n + utf8_finish(&stream, out + n);
}

static void characters_and_what_is_none(void **state)
{
    assert_int_equal(utf8_char("a", 1), 1);
    assert_int_equal(utf8_char("\xc3\xa9", 2), 2);
    assert_int_equal(utf8_char("\xc3", 1), 0);
    assert_int_equal(utf8_char("\xe2\x82\xac", 3), 3);
    assert_int_equal(utf8_char("\xf0\x9f\x99\x82", 4), 4);
    assert_int_equal(utf8_char("\xf0\x9f\x99", 3), 0);
    assert_int_equal(utf8_char("\xc0\x80", 2), -1);     /* overlong */
    assert_int_equal(utf8_char("\xe0\x80\x80", 3), -1); /* overlong */
    assert_int_equal(utf8_char("\xed\xa0\x80", 3), -1); /* surrogate */
    assert_int_equal(utf8_char("\xf4\x90\x80\x80", 4), -1);
    assert_int_equal(utf8_char("\xf0\x9f(", 3), -2);
    assert_int_equal(utf8_char("\x80", 1), -1);
    assert_int_equal(utf8_prefix("ab\xc3\xa9\xff z", 7), 4);
}

static void pieces_never_change_the_text(void **state)
{
    static const char text[] = "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82!";
    char out[UTF8_ROOM(sizeof text)];
    for (size_t step = 1; step < sizeof text; step++) {
        size_t n = in_pieces(text, sizeof text - 1, step, out);
        assert_int_equal(n, sizeof text - 1);
        assert_memory_equal(out, text, n);
    }
}

static void half_characters_wait(void **state)
{
    struct utf8_stream stream = {0};
    char out[UTF8_ROOM(8)];
    assert_int_equal(utf8_feed(&stream, "\xf0\x9f", 2, out), 0);
    assert_int_equal(utf8_feed(&stream, "\x99", 1, out), 0);
    assert_int_equal(utf8_feed(&stream, "\x82x", 2, out), 5);
    assert_memory_equal(out, "\xf0\x9f\x99\x82x", 5);
    assert_int_equal(utf8_finish(&stream, out), 0);
}

/* Python's bytes.decode(errors="replace") gives these. */
static void broken_bytes_are_replaced(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xe2\x82", "\xef\xbf\xbd"},
        {"\xe2\x82z", "\xef\xbf\xbdz"},
        {"\xf0\x9f\xe2\x82\xac", "\xef\xbf\xbd\xe2\x82\xac"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
    };
    char out[UTF8_ROOM(16)];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t step = 1; step < 4; step++) {
            size_t n = in_pieces(rows[i].in, strlen(rows[i].in), step, out);
            assert_int_equal(n, strlen(rows[i].out));
            assert_memory_equal(out, rows[i].out, n);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(characters_and_what_is_none),
    cmocka_unit_test(pieces_never_change_the_text),
    cmocka_unit_test(half_characters_wait),
    cmocka_unit_test(broken_bytes_are_replaced),
};
TEST_MAIN(tests)
