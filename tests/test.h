/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness of every test program: cmocka with its prerequisites, checks that print the
 * error's sentence, and an exit status that tells a group which only skipped (77) from
 * one that passed.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <threads.h>
#include <cmocka.h>
#include <segue/status.h>

/* Both print the status by name and the library's sentence when they fail. */
#define assert_ok(expr)                                                                  \
    do {                                                                                 \
        enum segue_status s_ = (expr);                                                   \
        if (s_ < 0)                                                                      \
            fail_msg("%s: %s: %s", #expr, segue_status_name(s_), segue_error_detail());  \
    } while (0)
#define assert_status(expr, want)                                                        \
    do {                                                                                 \
        enum segue_status s_ = (expr);                                                   \
        if (s_ != (want))                                                                \
            fail_msg("%s: got %s, want %s: %s", #expr, segue_status_name(s_),            \
                     segue_status_name(want), segue_error_detail());                     \
    } while (0)

/* What another thread brings about: looked at until it is so, for 20 s at most. */
#define assert_soon(expr)                                                                \
    do {                                                                                 \
        bool so_ = (expr);                                                               \
        for (int i_ = 0; !so_ && i_ < 20000; i_++, so_ = (expr))                         \
            thrd_sleep(&(struct timespec){0, 1000000}, NULL);                            \
        if (!so_)                                                                        \
            fail_msg("not so after 20 s: %s", #expr);                                    \
    } while (0)

/* A skip always says why. cmocka 1.1.5 exits 0 when every test skipped; TEST_MAIN turns
 * that into 77. */
static int tests_run_ __attribute__((unused)), tests_skipped_ __attribute__((unused));
#define skip_because(...)                                                                \
    do {                                                                                 \
        printf("skipped: " __VA_ARGS__);                                                 \
        printf("\n");                                                                    \
        fflush(stdout);                                                                  \
        tests_skipped_++;                                                                \
        skip();                                                                          \
    } while (0)

/* `setup` and `teardown` run once around all tests; NULL: nothing. */
#define TEST_MAIN_AROUND(tests, setup, teardown)                                         \
    int main(void)                                                                       \
    {                                                                                    \
        tests_run_ = (int)(sizeof(tests) / sizeof *(tests));                             \
        int failed = cmocka_run_group_tests(tests, setup, teardown);                     \
        if (failed)                                                                      \
            return 1;                                                                    \
        return tests_skipped_ == tests_run_ ? 77 : 0;                                    \
    }
#define TEST_MAIN(tests) TEST_MAIN_AROUND(tests, NULL, NULL)

#endif
