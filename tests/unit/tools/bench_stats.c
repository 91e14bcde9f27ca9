/* SPDX-License-Identifier: Apache-2.0 */
/* Medians and the order statistics of their intervals, against tables. */
#include "bench/stats.h"
#include "test.h"

static void medians(void **state)
{
    double one[] = {4}, even[] = {4, 1, 3, 2}, odd[] = {5, 1, 9, 3, 7};
    struct bench_spread s = bench_spread(one, 1);
    assert_true(s.min == 4 && s.median == 4 && s.max == 4 && s.lo == 4 && s.hi == 4);
    s = bench_spread(even, 4);
    assert_true(s.min == 1 && s.median == 2.5 && s.max == 4);
    s = bench_spread(odd, 5);
    assert_true(s.median == 5 && s.lo == 1 && s.hi == 9);
}

/* How many samples lie outside the 90 % interval at each end: the largest k with
 * P(X < k) <= 0.05 for X binomial (n, 1/2), from tables of the sign test. */
static void intervals(void **state)
{
    static const struct {
        int n, outside;
    } rows[] = {{5, 0}, {8, 1}, {11, 2}, {20, 5}, {31, 10}, {100, 41}, {301, 135}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double x[301];
        int n = rows[i].n;
        for (int k = 0; k < n; k++)
            x[k] = (k * 13) % n; /* every number below n once */
        struct bench_spread s = bench_spread(x, (size_t)n);
        if (s.lo != rows[i].outside || s.hi != n - 1 - rows[i].outside)
            fail_msg("n %d: %g..%g, want %d outside", n, s.lo, s.hi, rows[i].outside);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(medians),
    cmocka_unit_test(intervals),
};
TEST_MAIN(tests)
