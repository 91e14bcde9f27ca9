/* SPDX-License-Identifier: Apache-2.0 */
/* Growing text and its sticky failure. */
#include "test.h"
#include "base/text.h"

#include <stdint.h>
#include <string.h>

static struct segue_text text;

static int clear(void **state)
{
    segue_text_free(&text);
    return 0;
}

static void text_grows_and_stays_terminated(void **state)
{
    char want[5000] = "";
    for (int i = 0; i < 1000; i++) {
        segue_text_printf(&text, "%d,", i);
        snprintf(want + strlen(want), sizeof want - strlen(want), "%d,", i);
    }
    assert_string_equal(text.data, want);
    assert_int_equal(text.len, strlen(want));
    segue_text_reset(&text);
    assert_string_equal(text.data, "");
    segue_text_append(&text, "a\0b", 3);
    assert_int_equal(text.len, 3);
}

static void what_does_not_fit_memory_fails_for_good(void **state)
{
    segue_text_add(&text, "kept");
    segue_text_append(&text, "x", SIZE_MAX / 2 + 5);
    assert_true(text.failed);
    segue_text_add(&text, "more");
    assert_string_equal(text.data, "kept");
    segue_text_reset(&text);
    segue_text_add(&text, "again");
    assert_string_equal(text.data, "again");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_teardown(text_grows_and_stays_terminated, clear),
    cmocka_unit_test_teardown(what_does_not_fit_memory_fails_for_good, clear),
};
TEST_MAIN(tests)
