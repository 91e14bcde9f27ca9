/* SPDX-License-Identifier: Apache-2.0 */
/* First contact: what a consumer's first claim on a producer costs beside the ones after it. */
#include "bench/cases.h"
#include "bench/pair.h"

#include <stdio.h>
#include <stdlib.h>

/* Descriptions and plan of 100 layers x 100,000 blocks, in as little memory as that takes. */
static const struct bench_setup setup = {
    .shape = {"", 100, 1, 4, 1, SEGUE_DTYPE_BF16},
    .from = {"nhd", 1},
    .to = {"hnd", 1},
    .path = "shm/mapped",
    .threads = 1,
    .blocks = 100000,
};

static void add_row(struct bench_report *report, const char *name, const char *unit,
                    double *samples, int n, double limit)
{
    struct bench_row row = {.unit = unit,
                            .n = (size_t)n,
                            .is = bench_spread(samples, (size_t)n),
                            .limit = limit};
    snprintf(row.name, sizeof row.name, "%s", name);
    bench_report_row(report, &row);
}

/* What each first claim took beyond the usual one. */
static void beyond(double *first, double *second, int n)
{
    double usual = bench_spread(second, (size_t)n).median;
    for (int i = 0; i < n; i++)
        first[i] -= usual;
}

void bench_contact(struct bench_report *report, const struct bench_options *options,
                   int n)
{
    static const char software[] = "software/first-contact", map_in[] = "software/map-in";
    struct bench_pair pair;
    struct bench_contact contact;
    bool wants[2] = {bench_wants(options, software), bench_wants(options, map_in)};
    double *samples = wants[0] || wants[1] ? calloc((size_t)n * 3, sizeof *samples)
                                           : NULL;
    if (!samples)
        return;
    double *first = samples, *second = samples + n, *mapped = samples + 2 * n;
    bool well = bench_pair_open_producer(&pair, &setup);
    for (int i = 0; i < n && well; i++) {
        well = bench_pair_contact(&pair, &contact);
        first[i] = contact.first * 1e6;
        second[i] = contact.second * 1e6;
        mapped[i] = contact.map_in * 1e3;
    }
    if (!well)
        bench_report_absent(report, wants[0] ? software : map_in, pair.why);
    beyond(first, second, n);
    if (well && wants[0])
        add_row(report, software, "us", first, n, 5000);
    if (well && wants[1])
        add_row(report, map_in, "ms", mapped, n, 0);
    bench_pair_close(&pair);
    free(samples);
}
