/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks share: the options of `segue bench NAME`. */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>

struct bench_options {
    bool json, quick;
    int runs;         /* of each case; 0: the benchmark's own choice */
    const char *glob; /* cases to run; NULL: all */
};

#define BENCH_FOLDER "segue-bench" /* name of its temporary folders */

bool bench_wants(const struct bench_options *options, const char *name);

/* Each prints its report and returns the exit status. */
int bench_handoff(const struct bench_options *options);
int bench_relayout(const struct bench_options *options);
int bench_fault(const struct bench_options *options);

#endif
