/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segue bench handoff: whole hand-offs between two processes, each held against plain copies
 * of the same bytes made in turn with it. Rows: PATH/{same,het}/SIZE[/2t], software/...,
 * idle/pair.
 */
#include "bench.h"
#include "bench/cases.h"
#include "bench/pair.h"
#include "bench/reference.h"
#include "bench/report.h"
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 31, RUNS_SMALL = 301, RUNS_QUICK = 5, IDLE_SECONDS = 30 };

/* The KV of Llama 3.1 8B in bf16, or a part of it; 245.8 MB is 1,500 tokens of Llama 3.3 70B
 * in fp8. */
static const struct bench_shape shapes[] = {
    {"64KiB", 1, 8, 128, 16, SEGUE_DTYPE_BF16},
    {"1MiB", 16, 8, 128, 16, SEGUE_DTYPE_BF16},
    {"64MiB", 32, 8, 128, 512, SEGUE_DTYPE_BF16},
    {"245.8MB", 80, 8, 128, 1500, SEGUE_DTYPE_BYTES},
    {"1GiB", 32, 8, 128, 8192, SEGUE_DTYPE_BF16},
};
enum { SMALL = 2, LARGE = 3 }; /* shapes before, from these on */
enum { DIGESTED = LARGE };     /* the one that digests are measured with */

static const struct bench_paging nhd16 = {"nhd", 16}, hnd16 = {"hnd", 16},
                                 nhd128 = {"nhd", 128};

struct path {
    const char *name, *path, *bare; /* bare: the reference it is to be near */
    double target;
    bool more; /* not one of the main rows: two sizes are enough */
    bool het;  /* takes another geometry too */
};
static const struct path paths[] = {
    {"shm", "shm/mapped", "copy", 0.95, false, true},
    {"cma", "cma/direct", "process_vm_readv", 0.95, false, false},
    {"tcp", "tcp/direct", "socket", 0.90, false, false},
    {"shm-packed", "shm/packed", "copy", 0, true, true},
    {"tcp-packed", "tcp/packed", "socket", 0, true, true},
};

struct series { /* samples of one case, pair by pair */
    double *value, *bare, *copy, *self, *two;
};

/* ---- one path ---- */

static double bare_once(struct bench_pair *pair, const char *bare)
{
    if (strcmp(bare, "socket") == 0)
        return bench_pair_receive(pair);
    if (strcmp(bare, "process_vm_readv") == 0)
        return bench_pair_read(pair);
    return bench_pair_copy(pair, 1);
}

/* reference, hand-off, reference again: the pair is made with either in turn, so that a
 * machine that grows slower or faster favours nobody. */
static bool sample(struct bench_pair *pair, const char *bare, int i, struct series *s)
{
    struct bench_times times;
    double before = bare_once(pair, bare);
    if (before <= 0 || !bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &times))
        return false;
    double after = bare_once(pair, bare);
    double copy = strcmp(bare, "copy") != 0 ? bench_pair_copy(pair, 1) : after;
    if (after <= 0)
        return false;
    s->value[i] = (double)pair->bytes / times.data / 1e9;
    s->bare[i] = (i % 2 ? before : after) / times.data;
    s->copy[i] = copy / times.data;
    s->self[i] = i % 2 ? before / after : after / before;
    if (pair->setup.threads == 2)
        s->two[i] = bench_pair_copy(pair, 2) / times.data;
    return true;
}

static bool series_make(struct series *s, int n)
{
    double *all = calloc((size_t)n * 5, sizeof *all);
    *s = (struct series){all, all + n, all + 2 * n, all + 3 * n, all + 4 * n};
    return all != NULL;
}

static int runs_of(const struct bench_options *options, bool small)
{
    if (options->runs)
        return options->runs;
    return options->quick ? RUNS_QUICK : small ? RUNS_SMALL : RUNS;
}

struct path_case {
    char name[48];
    const struct path *path;
    struct bench_setup setup;
    bool small, targeted;
};

static void add_ratio(struct bench_row *row, const char *name, double *samples,
                      double target)
{
    row->ratio[row->n_ratios++] = (struct bench_ratio){
        name, bench_spread(samples, row->n), target};
}

static bool path_series(struct bench_pair *pair, const struct path_case *c, int n,
                        struct series *s)
{
    if (!bench_pair_open(pair, &c->setup))
        return false;
    for (int i = 0; i < n; i++)
        if (!sample(pair, c->path->bare, i, s))
            return false;
    return true;
}

static void path_case(struct bench_report *report, const struct bench_options *options,
                      const struct path_case *c)
{
    struct bench_row row = {.unit = "GB/s", .n = (size_t)runs_of(options, c->small)};
    struct bench_pair pair;
    struct series s;
    if (!bench_wants(options, c->name))
        return;
    memcpy(row.name, c->name, sizeof row.name);
    if (!series_make(&s, (int)row.n)) {
        bench_report_absent(report, c->name, "no memory");
        return;
    }
    if (!path_series(&pair, c, (int)row.n, &s)) {
        bench_report_absent(report, c->name, pair.why);
    } else {
        double target = c->targeted ? c->path->target : 0;
        bool bare = strcmp(c->path->bare, "copy") != 0;
        row.is = bench_spread(s.value, row.n);
        add_ratio(&row, c->path->bare, s.bare, target);
        if (bare)
            add_ratio(&row, "copy", s.copy, 0);
        if (c->setup.threads == 2)
            add_ratio(&row, "copy/2t", s.two, 0);
        add_ratio(&row, "self", s.self, 0);
        bench_report_row(report, &row);
    }
    bench_pair_close(&pair);
    free(s.value);
}

static struct path_case make_case(const struct path *path, const char *kind, size_t size,
                                  uint32_t threads)
{
    struct path_case c = {.path = path,
                          .small = size < SMALL,
                          .setup = {.shape = shapes[size],
                                    .from = nhd16,
                                    .to = nhd16,
                                    .path = path->path,
                                    .threads = threads}};
    if (strcmp(kind, "het") == 0) {
        c.setup.from = nhd128;
        c.setup.to = hnd16;
    } else {
        c.targeted = size >= LARGE && threads == 1;
    }
    snprintf(c.name, sizeof c.name, "%s/%s/%s%s", path->name, kind, shapes[size].size,
             threads == 2 ? "/2t" : "");
    return c;
}

static void all_paths(struct bench_report *report, const struct bench_options *options)
{
    size_t n_shapes = sizeof shapes / sizeof *shapes;
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        for (size_t s = 0; s < n_shapes; s++) {
            bool big = s >= LARGE;
            if ((paths[p].more && s != SMALL && s != LARGE) || (options->quick && big))
                continue;
            struct path_case same = make_case(&paths[p], "same", s, 1);
            path_case(report, options, &same);
            struct path_case two = make_case(&paths[p], "same", s, 2);
            if (s >= SMALL && !paths[p].more && strcmp(paths[p].name, "tcp") != 0)
                path_case(report, options, &two);
            struct path_case het = make_case(&paths[p], "het", s, 1);
            if (paths[p].het && (s == SMALL || s == LARGE))
                path_case(report, options, &het);
        }
    }
}

/* ---- digests ---- */

/* The same hand-off with digests and without, in turn: what proof by bytes costs, from posting to verdict. */
static bool digest_series(struct bench_pair *pair, enum segue_digest mode, int n,
                          struct series *s)
{
    struct bench_times with, without, again;
    for (int i = 0; i < n; i++) {
        if (!bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &without) ||
            !bench_pair_hand_over(pair, mode, &with) ||
            !bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &again))
            return false;
        s->value[i] = (double)pair->bytes / with.total / 1e9;
        s->bare[i] = (i % 2 ? without.total : again.total) / with.total;
        s->self[i] = i % 2 ? without.total / again.total : again.total / without.total;
    }
    return true;
}

static void digests(struct bench_report *report, const struct bench_options *options)
{
    static const struct {
        const char *name;
        enum segue_digest mode;
    } modes[] = {{"digest-sample", SEGUE_DIGEST_SAMPLE},
                 {"digest-full", SEGUE_DIGEST_FULL}};
    for (int m = 0; m < 2 && !options->quick; m++) {
        struct path_case c = make_case(&paths[0], "same", DIGESTED, 1);
        struct bench_row row = {.unit = "GB/s", .n = (size_t)runs_of(options, false)};
        struct bench_pair pair;
        struct series s;
        snprintf(row.name, sizeof row.name, "%.36s/%s", c.name, modes[m].name);
        if (!bench_wants(options, row.name))
            continue;
        if (!series_make(&s, (int)row.n)) {
            bench_report_absent(report, row.name, "no memory");
            continue;
        }
        if (!bench_pair_open(&pair, &c.setup) ||
            !digest_series(&pair, modes[m].mode, (int)row.n, &s)) {
            bench_report_absent(report, row.name, pair.why);
        } else {
            row.is = bench_spread(s.value, row.n);
            add_ratio(&row, "off", s.bare, 0.90);
            add_ratio(&row, "self", s.self, 0);
            bench_report_row(report, &row);
        }
        bench_pair_close(&pair);
        free(s.value);
    }
}

/* ---- software ---- */

static bool software_series(struct bench_pair *pair, const struct bench_setup *setup,
                            int n, double *us)
{
    struct bench_times times;
    if (!bench_pair_open(pair, setup))
        return false;
    for (int i = 0; i < n; i++) {
        if (!bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &times))
            return false;
        us[i] = (times.total - times.data) * 1e6;
    }
    return true;
}

/* One block, and 1,000 blocks of 30 layers; from them, what a block costs. */
static void software(struct bench_report *report, const struct bench_options *options)
{
    static const struct {
        const char *name;
        struct bench_shape shape;
    } cases[] = {
        {"software/post-to-verdict", {"", 1, 8, 128, 16, SEGUE_DTYPE_BF16}},
        {"software/post-to-verdict/1000x30", {"", 30, 1, 64, 16000, SEGUE_DTYPE_BF16}},
    };
    int n = runs_of(options, true);
    double *us[2] = {calloc((size_t)n, sizeof(double)),
                     calloc((size_t)n, sizeof(double))};
    double *each = calloc((size_t)n, sizeof *each);
    bool per_block = bench_wants(options, "software/per-block");
    for (int c = 0; c < 2 && us[0] && us[1] && each; c++) {
        struct bench_setup setup = {.shape = cases[c].shape,
                                    .from = nhd16,
                                    .to = nhd16,
                                    .path = "shm/mapped",
                                    .threads = 1};
        struct bench_pair pair;
        bool wanted = bench_wants(options, cases[c].name);
        if (!wanted && !per_block)
            continue;
        if (!software_series(&pair, &setup, n, us[c])) {
            bench_report_absent(report, cases[c].name, pair.why);
            per_block = false;
        } else {
            for (int i = 0; i < n; i++) /* before the spread sorts them */
                each[i] = (us[c][i] - each[i]) / (c ? 999 : 1);
            struct bench_row row = {.unit = "us",
                                    .n = (size_t)n,
                                    .is = bench_spread(us[c], (size_t)n),
                                    .limit = 1000};
            snprintf(row.name, sizeof row.name, "%s", cases[c].name);
            if (wanted)
                bench_report_row(report, &row);
        }
        bench_pair_close(&pair);
    }
    if (per_block && each) {
        for (int i = 0; i < n; i++)
            each[i] *= 1e3;
        struct bench_row row = {.name = "software/per-block",
                                .unit = "ns",
                                .n = (size_t)n,
                                .is = bench_spread(each, (size_t)n)};
        bench_report_row(report, &row);
    }
    free(us[0]);
    free(us[1]);
    free(each);
}

/* ---- idle ---- */

static void idle(struct bench_report *report)
{
    struct bench_setup setup = {.shape = shapes[0],
                                .from = nhd16,
                                .to = nhd16,
                                .path = "shm/mapped",
                                .threads = 1};
    struct bench_pair pair;
    struct timespec wait = {1, 0}, idle = {IDLE_SECONDS, 0};
    uint64_t before = 0, after = 0;
    if (bench_pair_open(&pair, &setup)) {
        nanosleep(&wait, NULL); /* the last hand-off's ends */
        before = bench_pair_cpu_ns(&pair);
        nanosleep(&idle, NULL);
        after = bench_pair_cpu_ns(&pair);
    }
    if (before && after) {
        double ms = (double)(after - before) / 1e6;
        struct bench_row row = {.name = "idle/pair",
                                .unit = "ms",
                                .n = 1,
                                .is = bench_spread(&ms, 1),
                                .limit = 1};
        bench_report_row(report, &row);
    } else {
        bench_report_absent(report, "idle/pair", pair.why);
    }
    bench_pair_close(&pair);
}

int bench_handoff(const struct bench_options *options)
{
    static struct bench_report report;
    report = (struct bench_report){.bench = "handoff", .json = options->json};
    bench_report_begin(&report);
    all_paths(&report, options);
    digests(&report, options);
    software(&report, options);
    bench_contact(&report, options, runs_of(options, false));
    if (!options->quick && bench_wants(options, "idle/pair"))
        idle(&report);
    if (report.n_rows + report.n_absent == 0) {
        fprintf(stderr, "segue bench handoff: no case is called '%s'\n", options->glob);
        return EXIT_USAGE;
    }
    return bench_report_end(&report);
}
