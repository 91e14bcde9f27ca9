/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to think before bytes move: planning and binding a hand-off of 100 layers x
 * 1,000 blocks, and exchanging and planning the description of a cache of 100 layers x
 * 100,000 blocks, every layer at a place of its own. CPU time of one thread.
 * usage: bench-plan [--json]
 */
#include "bench/report.h"
#include "kv/cache_wire.h"
#include "kv/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RUNS = 101,
    LAYERS = 100,
    BLOCKS = 1000,
    CACHE_BLOCKS = 100000,
    HEADS = 8,
    DIM = 128
};

static void must(enum segue_status status)
{
    if (status >= 0)
        return;
    fprintf(stderr, "bench-plan: %s\n", segue_error_detail());
    exit(3);
}

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Layers apart, at uneven distances: the plan needs a move for each. */
static struct segue_geometry side(const char *order, uint32_t block, uint32_t blocks,
                                  struct segue_layer *layer)
{
    struct segue_geometry g = {.layers_total = LAYERS, .heads_total = HEADS};
    struct segue_layout one;
    must(segue_layout_named(order, SEGUE_DTYPE_FP16, LAYERS, blocks, block, HEADS, DIM,
                            &g.layout));
    one = g.layout;
    one.layers = 1;
    uint64_t at = 0;
    for (uint32_t i = 0; i < LAYERS; i++) {
        layer[i] = (struct segue_layer){i % 2, at};
        at += segue_layout_bytes(&one) + 4096 * (i % 3);
    }
    g.layer = layer;
    return g;
}

static uint32_t *ids(bool scattered)
{
    uint32_t *out = malloc(CACHE_BLOCKS * sizeof *out), seed = 1;
    for (uint32_t i = 0; i < CACHE_BLOCKS; i++)
        out[i] = i;
    for (uint32_t i = CACHE_BLOCKS - 1; scattered && i > 0; i--) {
        seed = seed * 1664525 + 1013904223;
        uint32_t j = (uint32_t)((uint64_t)seed * (i + 1) >> 32), id = out[i];
        out[i] = out[j];
        out[j] = id;
    }
    return out;
}

static void add(struct bench_report *report, const char *name, double *us, double limit)
{
    struct bench_row row = {.unit = "us", .n = RUNS, .limit = limit};
    snprintf(row.name, sizeof row.name, "%s", name);
    row.is = bench_spread(us, RUNS);
    bench_report_row(report, &row);
}

static void plan_row(struct bench_report *report, const char *name, const char *from,
                     uint32_t src_block, const char *to, uint32_t dst_block,
                     bool scattered)
{
    static struct segue_layer a[LAYERS], b[LAYERS];
    struct segue_geometry src = side(from, src_block, CACHE_BLOCKS, a);
    struct segue_geometry dst = side(to, dst_block, CACHE_BLOCKS, b);
    uint32_t *blocks = ids(scattered);
    uint64_t tokens = (uint64_t)BLOCKS * (src_block < dst_block ? src_block : dst_block);
    struct segue_tokens s = {blocks, CACHE_BLOCKS, src_block, 0};
    struct segue_tokens d = {blocks, CACHE_BLOCKS, dst_block, 0};
    size_t max = segue_spans_max(&s, &d, tokens), n = 0;
    struct segue_span *spans = malloc(max * sizeof *spans);
    double us[RUNS];
    for (int i = 0; i < RUNS; i++) {
        struct segue_plan plan;
        double begin = cpu_us();
        must(segue_plan_build(&src, &dst, &plan));
        must(segue_spans_bind(&plan, &s, &d, tokens, spans, max, &n));
        us[i] = cpu_us() - begin;
        segue_plan_free(&plan);
    }
    add(report, name, us, 1000);
    fprintf(stderr, "  %zu spans\n", n);
    free(spans);
    free(blocks);
}

static void describe_row(struct bench_report *report)
{
    static struct segue_layer a[LAYERS], b[LAYERS];
    static uint8_t bytes[1 << 16];
    struct segue_remote_cache ours = {.ranks = 1, .n_regions = 2}, theirs;
    struct segue_geometry mine = side("hnd", 128, CACHE_BLOCKS, b);
    ours.geometry = side("nhd", 16, CACHE_BLOCKS, a);
    ours.region_len[0] = ours.region_len[1] = INT64_MAX;
    double us[RUNS];
    for (int i = 0; i < RUNS; i++) {
        struct segue_plan plan;
        double begin = cpu_us();
        struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
        segue_cache_tell_write(&w, &ours);
        must(segue_cache_tell_read(bytes, (uint32_t)w.len, &theirs));
        must(segue_plan_build(&theirs.geometry, &mine, &plan));
        us[i] = cpu_us() - begin;
        segue_plan_free(&plan);
        segue_remote_cache_free(&theirs);
    }
    add(report, "describe/100x100000", us, 5000);
}

int main(int argc, char **argv)
{
    static struct bench_report report = {.bench = "plan"};
    report.json = argc > 1 && strcmp(argv[1], "--json") == 0;
    bench_report_begin(&report);
    plan_row(&report, "plan/100x1000/same", "hnd", 16, "hnd", 16, true);
    plan_row(&report, "plan/100x1000/16-128", "nhd", 16, "hnd", 128, true);
    plan_row(&report, "plan/100x1000/24-64", "hnd", 24, "nhd", 64, true);
    plan_row(&report, "plan/100x1000/consecutive", "nhd", 16, "hnd", 128, false);
    describe_row(&report);
    return bench_report_end(&report);
}
