/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a benchmark: collected, compared with their targets, printed once. */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

#include "bench/stats.h"

#include <stdbool.h>

enum { BENCH_RATIOS_MAX = 6, BENCH_ROWS_MAX = 96 };

/* Against a reference measured in turn with it; higher is better. */
struct bench_ratio {
    const char *name;
    struct bench_spread is;
    double target; /* 0: none */
};

struct bench_row {
    char name[48];
    const char *unit;
    size_t n;
    struct bench_spread is; /* in `unit` */
    double limit;           /* `is` is to stay below it; 0: none */
    struct bench_ratio ratio[BENCH_RATIOS_MAX];
    int n_ratios;
};

struct bench_report {
    const char *bench;
    bool json;
    struct bench_row rows[BENCH_ROWS_MAX];
    int n_rows, n_missed, n_absent;
};

/* What: prints the head of the table, unless `json`. */
void bench_report_begin(const struct bench_report *report);

/* What: keeps the row and prints it, on stderr when stdout is for JSON. A target is missed
 * only when the interval lies wholly on its wrong side: on a machine that is shared, equal
 * copies differ. */
void bench_report_row(struct bench_report *report, const struct bench_row *row);

/* What: says on stderr that a case could not be measured, and why. */
void bench_report_absent(struct bench_report *report, const char *name, const char *why);

/* What: prints the JSON object. The exit status of the command. */
int bench_report_end(const struct bench_report *report);

#endif
