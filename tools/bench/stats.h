/* SPDX-License-Identifier: Apache-2.0 */
/* What samples say: their middle, and how far it may be from the truth. */
#ifndef TOOLS_BENCH_STATS_H
#define TOOLS_BENCH_STATS_H

#include <stddef.h>

struct bench_spread {
    double min, median, max;
    double lo, hi; /* 90 % interval of the median by order statistics */
};

/* What: describes n >= 1 samples, and sorts them. No distribution is assumed: the interval
 * runs between the k-th samples from either end, for the largest k that the binomial
 * distribution allows; below five samples it is the whole range. */
struct bench_spread bench_spread(double *samples, size_t n);

#endif
