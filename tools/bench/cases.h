/* SPDX-License-Identifier: Apache-2.0 */
/* Cases of `segue bench handoff` that have files of their own. */
#ifndef TOOLS_BENCH_CASES_H
#define TOOLS_BENCH_CASES_H

#include "bench.h"
#include "bench/report.h"

/* software/first-contact and software/map-in, n runs of each. */
void bench_contact(struct bench_report *report, const struct bench_options *options,
                   int n);

#endif
