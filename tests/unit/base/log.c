/* SPDX-License-Identifier: Apache-2.0 */
/* SEGUE_LOG's words, by area and level, and the sink. */
#include "test.h"
#include "base/log.h"

#include <string.h>

static char last[256];

static void keep(void *user, enum segue_log_level level, const char *area,
                 const char *line)
{
    snprintf(last, sizeof last, "%d %s %s", level, area, line);
}

static void levels_by_area(void **state)
{
    segue_log_set(keep, NULL);
    segue_log_open("transport:debug,agent:warn");
    assert_true(segue_log_on(SEGUE_LOG_DEBUG, "transport"));
    assert_false(segue_log_on(SEGUE_LOG_INFO, "agent"));
    assert_false(segue_log_on(SEGUE_LOG_ERROR, "kv"));
    SEGUE_LOG(WARN, "agent", "link to %s closed", "p0");
    assert_string_equal(last, "2 agent link to p0 closed");
    segue_log_open("info,kv:none");
    assert_true(segue_log_on(SEGUE_LOG_INFO, "agent"));
    assert_false(segue_log_on(SEGUE_LOG_ERROR, "kv"));
}

static void unknown_words_are_named(void **state)
{
    segue_log_set(keep, NULL);
    segue_log_open("agent:loud");
    assert_non_null(strstr(last, "'agent:loud'"));
    segue_log_set(NULL, NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(levels_by_area),
    cmocka_unit_test(unknown_words_are_named),
};
TEST_MAIN(tests)
