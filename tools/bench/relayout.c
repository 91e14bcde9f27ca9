/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segue bench relayout: the KV of known models from one layout to another, in whole
 * hand-offs over shared memory, beside plain copies and beside tensor libraries that take
 * a copy and a permutation. Rows: MODEL/{same,het,het-small}/FROM-TO[/2t], pieces/...,
 * ceiling/copy/2t.
 */
#include "bench.h"
#include "bench/pair.h"
#include "bench/peer.h"
#include "bench/report.h"
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 31, RUNS_QUICK = 3, PEERS = 3 };

/* About 200 MB of bf16 each, far more than any cache holds. */
static const struct bench_shape models[] = {
    {"SmolLM2-135M", 30, 3, 64, 8192, SEGUE_DTYPE_BF16, false},
    {"Qwen3-0.6B", 28, 8, 128, 2048, SEGUE_DTYPE_BF16, false},
    {"Llama-3.3-70B", 80, 8, 128, 768, SEGUE_DTYPE_BF16, false},
    {"DeepSeek-V3", 61, 1, 576, 3072, SEGUE_DTYPE_BF16, true},
};

/* Small: so little lies side by side that lines of memory are copied in part. */
static const struct ways {
    const char *kind;
    struct bench_paging from, to;
    bool peers, latent; /* latent: it means something for one head too */
} ways[] = {
    {"same", {"nhd", 16}, {"nhd", 16}, false, true},
    {"het", {"nhd", 128}, {"hnd", 16}, true, false},
    {"het", {"hnd", 16}, {"nhd", 128}, true, false},
    {"het", {"nhd", 128}, {"nhd", 16}, true, true},
    {"het-small", {"nhd", 16}, {"hnd", 8}, true, false},
};

/* 112,000 pieces of 2 KiB: one a layer and block. */
static const struct bench_shape pieces = {"112000x2KiB",    112,  1, 32, 16000,
                                          SEGUE_DTYPE_BF16, false};
static const struct {
    const char *name, *path, *bare;
    double target, nixl_target;
} piece_paths[] = {
    {"pieces/shm", "shm/mapped", NULL, 0, 5},
    {"pieces/cma", "cma/direct", "process_vm_readv", 0.95, 2.5},
};

static const char *const libraries[PEERS] = {"torch", "numpy", "nixl"};

enum { VALUE, COPY, BARE, TWO, SELF, PEER, SERIES = PEER + PEERS };

struct one {
    char name[48];
    struct bench_setup setup;
    const char *bare; /* process_vm_readv beside `copy`, or NULL */
    double target, bare_target;
    const char *peer; /* a script of bench/peers, or NULL */
    double peer_target[PEERS];
};

struct run {
    struct bench_report *report;
    const struct bench_options *options;
    struct bench_pair pair;
    struct bench_peer peer;
    bool has[PEERS];
    double *series[SERIES];
    int n;
};

/* ---- one case ---- */

/* copy, hand-off, copy, and then each of the others: whatever the machine does, it does to
 * neighbours. */
static bool sample(struct run *run, const struct one *one, int i)
{
    struct bench_pair *pair = &run->pair;
    struct bench_times times;
    unsigned threads = one->setup.threads;
    double before = bench_pair_copy(pair, 1);
    if (!bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &times))
        return false;
    double after = bench_pair_copy(pair, 1);
    run->series[VALUE][i] = (double)pair->bytes / times.data / 1e9;
    run->series[COPY][i] = (i % 2 ? before : after) / times.data;
    run->series[SELF][i] = i % 2 ? before / after : after / before;
    if (threads == 2)
        run->series[TWO][i] = bench_pair_copy(pair, 2) / times.data;
    if (one->bare) {
        double bare = bench_pair_read(pair);
        if (bare <= 0)
            return false;
        run->series[BARE][i] = bare / times.data;
    }
    for (int p = 0; p < PEERS; p++) {
        if (!run->has[p])
            continue;
        double took = bench_peer_run(&run->peer, libraries[p], threads);
        if (took <= 0) {
            snprintf(pair->why, sizeof pair->why, "%s", run->peer.why);
            return false;
        }
        run->series[PEER + p][i] = took / times.data;
    }
    return true;
}

static void add_ratio(struct run *run, struct bench_row *row, const char *name,
                      int series, double target)
{
    row->ratio[row->n_ratios++] = (struct bench_ratio){
        name, bench_spread(run->series[series], row->n), target};
}

static void report_case(struct run *run, const struct one *one)
{
    struct bench_row row = {.unit = "GB/s", .n = (size_t)run->n};
    memcpy(row.name, one->name, sizeof row.name);
    row.is = bench_spread(run->series[VALUE], row.n);
    add_ratio(run, &row, "copy", COPY, one->target);
    if (one->setup.threads == 2)
        add_ratio(run, &row, "copy/2t", TWO, 0);
    if (one->bare)
        add_ratio(run, &row, one->bare, BARE, one->bare_target);
    for (int p = 0; p < PEERS; p++)
        if (run->has[p])
            add_ratio(run, &row, libraries[p], PEER + p, one->peer_target[p]);
    add_ratio(run, &row, "self", SELF, 0);
    bench_report_row(run->report, &row);
}

/* Before the pair: both fork. */
static void open_peer(struct run *run, const struct one *one)
{
    const struct bench_setup *s = &one->setup;
    const struct bench_shape *shape = &s->shape;
    char text[8][16];
    uint32_t content = shape->head_size * (shape->latent ? 1 : 2);
    uint32_t many[] = {shape->layers, shape->heads, content, shape->tokens};
    const char *geometry[] = {text[0], text[1],     text[2], text[3], s->from.order,
                              text[4], s->to.order, text[5], NULL};
    const char *const count[] = {text[6], text[7], NULL};
    for (int i = 0; i < 4; i++)
        snprintf(text[i], sizeof text[i], "%u", many[i]);
    snprintf(text[4], sizeof text[4], "%u", s->from.block_tokens);
    snprintf(text[5], sizeof text[5], "%u", s->to.block_tokens);
    uint32_t n = shape->layers * (shape->tokens / s->to.block_tokens);
    snprintf(text[6], sizeof text[6], "%u", n);
    snprintf(text[7], sizeof text[7], "%u",
             content * s->to.block_tokens * shape->heads *
                 segue_dtype_size(shape->dtype));
    memset(run->has, 0, sizeof run->has);
    if (!one->peer)
        return;
    if (!bench_peer_open(&run->peer, one->peer,
                         strcmp(one->peer, "pieces.py") == 0 ? count : geometry)) {
        fprintf(stderr, "%s: nothing beside it: %s\n", one->name, run->peer.why);
        return;
    }
    for (int p = 0; p < PEERS; p++) /* NumPy has one thread */
        run->has[p] = bench_peer_has(&run->peer, libraries[p]) &&
                      (s->threads == 1 || strcmp(libraries[p], "numpy") != 0);
}

static void run_case(struct run *run, const struct one *one)
{
    if (!bench_wants(run->options, one->name))
        return;
    open_peer(run, one);
    bool ok = bench_pair_open(&run->pair, &one->setup);
    for (int i = 0; ok && i < run->n; i++)
        ok = sample(run, one, i);
    if (ok)
        report_case(run, one);
    else
        bench_report_absent(run->report, one->name, run->pair.why);
    bench_pair_close(&run->pair);
    bench_peer_close(&run->peer);
}

/* ---- the cases ---- */

static void models_cases(struct run *run, uint32_t threads)
{
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            const struct ways *way = &ways[w];
            if (models[m].latent && !way->latent)
                continue;
            struct one one = {.setup = {.shape = models[m],
                                        .from = way->from,
                                        .to = way->to,
                                        .path = "shm/mapped",
                                        .threads = threads},
                              .peer = way->peers ? "relayout.py" : NULL,
                              .peer_target = {4, 2.5, 0}};
            bool same = strcmp(way->kind, "same") == 0,
                 small = strcmp(way->kind, "het-small") == 0;
            one.target = small ? 0 : threads == 2 ? 1.4 : same ? 0.95 : 0.90;
            snprintf(one.name, sizeof one.name, "%s/%s/%s/%u-%s/%u%s", models[m].size,
                     way->kind, way->from.order, way->from.block_tokens, way->to.order,
                     way->to.block_tokens, threads == 2 ? "/2t" : "");
            run_case(run, &one);
        }
}

static void pieces_cases(struct run *run)
{
    for (size_t p = 0; p < sizeof piece_paths / sizeof *piece_paths; p++) {
        struct one one = {.setup = {.shape = pieces,
                                    .from = {"nhd", 16},
                                    .to = {"nhd", 16},
                                    .path = piece_paths[p].path,
                                    .threads = 1},
                          .bare = piece_paths[p].bare,
                          .bare_target = piece_paths[p].target,
                          .peer = "pieces.py",
                          .peer_target = {0, 0, piece_paths[p].nixl_target}};
        snprintf(one.name, sizeof one.name, "%s/%s", piece_paths[p].name, pieces.size);
        run_case(run, &one);
    }
}

/* What two threads reach at all here. */
static void ceiling(struct run *run)
{
    static const char name[] = "ceiling/copy/2t";
    struct bench_setup setup = {.shape = models[0],
                                .from = {"nhd", 16},
                                .to = {"nhd", 16},
                                .path = "shm/mapped",
                                .threads = 1};
    if (!bench_wants(run->options, name))
        return;
    if (!bench_pair_open(&run->pair, &setup)) {
        bench_report_absent(run->report, name, run->pair.why);
    } else {
        struct bench_row row = {.unit = "GB/s", .n = (size_t)run->n};
        memcpy(row.name, name, sizeof name);
        for (int i = 0; i < run->n; i++) {
            double before = bench_pair_copy(&run->pair, 1);
            double two = bench_pair_copy(&run->pair, 2);
            double after = bench_pair_copy(&run->pair, 1);
            run->series[VALUE][i] = (double)run->pair.bytes / two / 1e9;
            run->series[COPY][i] = (i % 2 ? before : after) / two;
            run->series[SELF][i] = i % 2 ? before / after : after / before;
        }
        row.is = bench_spread(run->series[VALUE], row.n);
        add_ratio(run, &row, "copy", COPY, 0);
        add_ratio(run, &row, "self", SELF, 0);
        bench_report_row(run->report, &row);
    }
    bench_pair_close(&run->pair);
}

int bench_relayout(const struct bench_options *options)
{
    static struct bench_report report;
    report = (struct bench_report){.bench = "relayout", .json = options->json};
    static struct run run;
    run = (struct run){.report = &report, .options = options};
    run.n = options->runs ? options->runs : options->quick ? RUNS_QUICK : RUNS;
    double *room = calloc((size_t)run.n * SERIES, sizeof *room);
    if (!room) {
        fprintf(stderr, "segue bench relayout: no memory\n");
        return EXIT_MISSING;
    }
    for (int s = 0; s < SERIES; s++)
        run.series[s] = room + s * run.n;
    bench_report_begin(&report);
    models_cases(&run, 1);
    pieces_cases(&run);
    if (!options->quick)
        models_cases(&run, 2);
    ceiling(&run);
    free(room);
    if (report.n_rows + report.n_absent == 0) {
        fprintf(stderr, "segue bench relayout: no case is called '%s'\n", options->glob);
        return EXIT_USAGE;
    }
    return bench_report_end(&report);
}
