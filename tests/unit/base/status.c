/* SPDX-License-Identifier: Apache-2.0 */
/* The status map and the sentence kept per thread. */
#include "test.h"
#include "base/status.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static enum segue_status passes_on(enum segue_status inner)
{
    SEGUE_TRY(inner);
    return SEGUE_OK;
}

static void names_and_losses(void **state)
{
    assert_string_equal(segue_status_name(SEGUE_E_STALE), "E_STALE");
    assert_string_equal(segue_status_text(SEGUE_E_TIMEOUT), "the deadline passed");
    assert_int_equal(segue_status_lost(SEGUE_E_LOST), SEGUE_LOST_PEER);
    assert_string_equal(segue_status_name((enum segue_status)12345), "?");
}

static void try_passes_errors_only(void **state)
{
    assert_int_equal(passes_on(SEGUE_IN_PROGRESS), SEGUE_OK);
    assert_int_equal(passes_on(SEGUE_E_BUSY), SEGUE_E_BUSY);
}

static void *fails_elsewhere(void *arg)
{
    segue_fail(SEGUE_E_RANGE, "elsewhere");
    return NULL;
}

static void detail_is_per_thread_and_may_quote_itself(void **state)
{
    segue_fail(SEGUE_E_RANGE, "block %d of %d", 7, 5);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, fails_elsewhere, NULL), 0);
    pthread_join(t, NULL);
    assert_string_equal(segue_error_detail(), "block 7 of 5");
    segue_fail(SEGUE_E_INVALID, "cache 'a': %s", segue_error_detail());
    assert_string_equal(segue_error_detail(), "cache 'a': block 7 of 5");
    segue_fail_errno(SEGUE_E_SYSTEM, ENOENT, "open %s", "x");
    assert_string_equal(segue_error_detail(), "open x: No such file or directory");
}

static void long_details_are_cut(void **state)
{
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    segue_fail_errno(SEGUE_E_SYSTEM, EIO, "%s", big);
    assert_int_equal(strlen(segue_error_detail()), 511);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(names_and_losses),
    cmocka_unit_test(try_passes_errors_only),
    cmocka_unit_test(detail_is_per_thread_and_may_quote_itself),
    cmocka_unit_test(long_details_are_cut),
};
TEST_MAIN(tests)
