/* SPDX-License-Identifier: Apache-2.0 */
/* Medians and their intervals by order statistics. */
#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How many samples may be left out at each end: the true median lies below the k-th sample
 * with the chance that fewer than k of n fair coins show heads. */
static size_t left_out(size_t n)
{
    double term = exp2(-(double)n), below = term;
    size_t k = 0;
    while (k < n / 2) {
        term *= (double)(n - k) / (double)(k + 1);
        if (below + term > 0.05)
            break;
        below += term;
        k++;
    }
    return k;
}

struct bench_spread bench_spread(double *samples, size_t n)
{
    qsort(samples, n, sizeof *samples, ascending);
    size_t k = left_out(n);
    return (struct bench_spread){
        .min = samples[0],
        .median = (samples[(n - 1) / 2] + samples[n / 2]) / 2,
        .max = samples[n - 1],
        .lo = samples[k],
        .hi = samples[n - 1 - k],
    };
}
