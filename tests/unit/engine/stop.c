/* SPDX-License-Identifier: Apache-2.0 */
/* Stop strings that arrive in any pieces end the text at the same place. */
#include "test.h"
#include "stop.h"

#include <string.h>

/* Feeds `text` in pieces of `step`; what was shown goes to out. Returns the stop's index. */
static int run(char *const *strings, size_t count, bool include, const char *text,
               size_t step, char *out)
{
    struct stop_finder finder;
    stop_open(&finder, strings, count, include);
    int found = -1;
    size_t shown, length = strlen(text), n = 0;
    for (size_t at = 0; at < length && found == -1; at += step) {
        found = stop_feed(&finder, text + at, length - at < step ? length - at : step,
                          true, &shown);
        assert_true(found != -2);
        memcpy(out + n, finder.text, shown);
        n += shown;
        stop_shown(&finder, shown);
    }
    if (found == -1) { /* the end of the answer shows what was held back */
        memcpy(out + n, finder.text, finder.length);
        n += finder.length;
    }
    out[n] = '\0';
    stop_close(&finder);
    return found;
}

static void found_across_pieces(void **state)
{
    static char *const strings[] = {"END", "\n\n", "ENDING"};
    char out[64];
    for (size_t step = 1; step < 12; step++) {
        assert_int_equal(run(strings, 3, false, "the ENDING", step, out), 0);
        assert_string_equal(out, "the ");
        assert_int_equal(run(strings, 3, true, "the END of", step, out), 0);
        assert_string_equal(out, "the END");
        assert_int_equal(run(strings, 3, false, "a\nb\n\nc", step, out), 1);
        assert_string_equal(out, "a\nb");
        assert_int_equal(run(strings, 3, false, "EN EN\n E", step, out), -1);
        assert_string_equal(out, "EN EN\n E");
    }
}

static void only_possible_beginnings_are_held(void **state)
{
    static char *const strings[] = {"abcabd"};
    struct stop_finder finder;
    size_t shown;
    stop_open(&finder, strings, 1, false);
    assert_int_equal(stop_feed(&finder, "xabcab", 6, true, &shown), -1);
    assert_int_equal(shown, 1);
    stop_shown(&finder, shown);
    assert_int_equal(stop_feed(&finder, "c", 1, true, &shown), -1);
    assert_int_equal(shown, 3); /* "abc" of "abcabc": the rest may still begin it */
    stop_shown(&finder, shown);
    assert_int_equal(stop_feed(&finder, "abd", 3, true, &shown), 0);
    assert_int_equal(shown, 0);
    stop_close(&finder);
}

static void unwatched_text_passes(void **state)
{
    static char *const strings[] = {"a"};
    struct stop_finder finder;
    size_t shown;
    stop_open(&finder, strings, 1, false);
    assert_int_equal(stop_feed(&finder, "banana", 6, false, &shown), -1);
    assert_int_equal(shown, 6);
    stop_close(&finder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(found_across_pieces),
    cmocka_unit_test(only_possible_beginnings_are_held),
    cmocka_unit_test(unwatched_text_passes),
};
TEST_MAIN(tests)
