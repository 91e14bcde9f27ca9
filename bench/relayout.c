/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host kernel reaches, beside a plain copy of the same bytes: the faster of
 * memcpy and a loop of streaming stores, on this thread, in the same round.
 *
 * Times are of this thread's CPU, so that neighbours on the machine count less.
 *
 * usage: bench-relayout [ROUNDS [MIB [CASE]]]
 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "device/device.h"
#include "device/relayout.h"
#include "kv/plan.h"

#define LAYERS     4
#define ROUNDS_MAX 101

struct shape {
    const char *order;
    uint32_t tokens, head_first, heads;
    enum segue_dtype dtype;
    bool apart; /* K and V in tensors of their own */
};

static const struct row {
    const char *name;
    uint32_t heads, head_size;
    struct shape src, dst;
    uint32_t shift; /* bytes the destination lies off its page */
} rows[] = {
#define BF SEGUE_DTYPE_BF16
#define F4 SEGUE_DTYPE_FP32
    {"same nhd/16 8x64", 8, 64, {"nhd", 16, 0, 8, BF}, {"nhd", 16, 0, 8, BF}, 0},
    {"same hnd/16 8x64 16 B off",
     8,
     64,
     {"hnd", 16, 0, 8, BF},
     {"hnd", 16, 0, 8, BF},
     16},
    {"nhd/128-hnd/16 8x64", 8, 64, {"nhd", 128, 0, 8, BF}, {"hnd", 16, 0, 8, BF}, 0},
    {"hnd/16-nhd/128 8x64", 8, 64, {"hnd", 16, 0, 8, BF}, {"nhd", 128, 0, 8, BF}, 0},
    {"nhd/128-hnd/16 3x64", 3, 64, {"nhd", 128, 0, 3, BF}, {"hnd", 16, 0, 3, BF}, 0},
    {"nhd/128-hnd/16 8x128", 8, 128, {"nhd", 128, 0, 8, BF}, {"hnd", 16, 0, 8, BF}, 0},
    {"hnd/16-hnd/128 8x64", 8, 64, {"hnd", 16, 0, 8, BF}, {"hnd", 128, 0, 8, BF}, 0},
    {"nhd/128-hnd/16 tp 4 of 8", 8, 64, {"nhd", 128, 0, 8, BF}, {"hnd", 16, 4, 4, BF}, 0},
    {"BLHNC/16-LBNHC/64 8x64",
     8,
     64,
     {"BLHNC", 16, 0, 8, BF},
     {"LBNHC", 64, 0, 8, BF},
     0},
    {"split nhd/128-hnd/16 8x64",
     8,
     64,
     {"nhd", 128, 0, 8, BF, true},
     {"hnd", 16, 0, 8, BF},
     0},
    {"nhd/128-hnd/16 8x64 16 B off",
     8,
     64,
     {"nhd", 128, 0, 8, BF},
     {"hnd", 16, 0, 8, BF},
     16},
    {"small nhd/128-hnd/16 8x16",
     8,
     16,
     {"nhd", 128, 0, 8, BF},
     {"hnd", 16, 0, 8, BF},
     0},
    {"small split nhd-hnd 8x16",
     8,
     16,
     {"nhd", 128, 0, 8, BF, true},
     {"hnd", 16, 0, 8, BF},
     0},
    {"small hnd/16-nhd/128 8x8", 8, 8, {"hnd", 16, 0, 8, BF}, {"nhd", 128, 0, 8, BF}, 0},
    {"small nhd/128-hnd/16 8x8", 8, 8, {"nhd", 128, 0, 8, BF}, {"hnd", 16, 0, 8, BF}, 0},
    {"bf16-fp32 nhd-hnd 8x64", 8, 64, {"nhd", 128, 0, 8, BF}, {"hnd", 16, 0, 8, F4}, 0},
    {"fp32-bf16 nhd-hnd 8x64", 8, 64, {"nhd", 128, 0, 8, F4}, {"hnd", 16, 0, 8, BF}, 0},
};
#define ROWS (sizeof rows / sizeof *rows)

static uint64_t cpu_ns(void)
{
    return segue_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

static void die(const char *what)
{
    fprintf(stderr, "bench-relayout: %s: %s\n", what, segue_error_detail());
    exit(1);
}

static char *pages(struct segue_device *host, size_t bytes)
{
    void *at;
    if (segue_alloc(host, bytes, &at) < 0)
        die("segue_alloc");
    return at;
}

/* The loop to beat; dst is page aligned. */
__attribute__((target("avx2"))) static void stream_loop(char *dst, const char *src,
                                                        size_t n)
{
    for (size_t i = 0; i + 32 <= n; i += 32)
        _mm256_stream_si256((__m256i *)(void *)(dst + i),
                            _mm256_loadu_si256((const __m256i *)(const void *)(src + i)));
    _mm_sfence();
}

static uint32_t *shuffled(uint32_t n)
{
    uint32_t *list = malloc(n * sizeof *list);
    for (uint32_t i = 0; list && i < n; i++) {
        uint32_t j = (uint32_t)random() % (i + 1);
        list[i] = list[j];
        list[j] = i;
    }
    return list;
}

struct job {
    struct segue_plan plan;
    struct segue_transfer transfer;
    struct segue_extent src, dst;
    uint64_t bytes; /* read */
};

static struct segue_geometry geometry(const struct row *row, const struct shape *shape,
                                      uint32_t tokens)
{
    struct segue_geometry g = {.layers_total = LAYERS,
                               .head_first = shape->head_first,
                               .heads_total = row->heads};
    struct segue_layout *l = &g.layout;
    if (segue_layout_named(shape->order, shape->dtype, LAYERS, tokens / shape->tokens,
                           shape->tokens, shape->heads, row->head_size, l) < 0)
        die(row->name);
    if (shape->apart) {
        struct segue_layout_part part = l->k;
        part.token /= 2;
        part.head /= 2;
        part.block /= 2;
        l->k = l->v = part;
        l->v.offset = part.block * l->blocks;
    }
    return g;
}

static struct job prepare(const struct row *row, uint64_t bytes, char *src, char *dst,
                          size_t room)
{
    uint64_t token = (uint64_t)LAYERS * row->heads * row->head_size * 2 *
                     segue_dtype_size(row->src.dtype);
    uint64_t wide = token / segue_dtype_size(row->src.dtype) *
                    segue_dtype_size(row->dst.dtype);
    uint32_t tokens = (uint32_t)(bytes / (wide > token ? wide : token) / 128 * 128);
    struct segue_geometry from = geometry(row, &row->src, tokens);
    struct segue_geometry to = geometry(row, &row->dst, tokens);
    struct job job = {.src = {src, room}, .dst = {dst + row->shift, room}};
    if (segue_plan_build(&from, &to, &job.plan) < 0)
        die(row->name);
    struct segue_tokens a = {shuffled(from.layout.blocks), from.layout.blocks,
                             row->src.tokens, 0};
    struct segue_tokens b = {shuffled(to.layout.blocks), to.layout.blocks,
                             row->dst.tokens, 0};
    size_t max = segue_spans_max(&a, &b, tokens), n;
    struct segue_span *spans = malloc(max * sizeof *spans);
    if (segue_spans_bind(&job.plan, &a, &b, tokens, spans, max, &n) < 0)
        die(row->name);
    job.transfer = (struct segue_transfer){job.plan.moves, job.plan.n_moves, spans, n};
    if (segue_transfer_check(&job.transfer, &job.src, 1, &job.dst, 1) < 0)
        die(row->name);
    job.bytes = segue_transfer_bytes(&job.transfer);
    return job;
}

static double run_job(const struct job *job)
{
    struct segue_relayout r = {.transfer = &job->transfer,
                               .src = &job->src,
                               .dst = &job->dst,
                               .stream = segue_relayout_streams(job->bytes)};
    struct segue_relayout_at at = {0};
    uint64_t start = cpu_ns();
    while (segue_relayout_copy(&r, &at, 1 << 20))
        ;
    return (double)job->bytes / (double)(cpu_ns() - start);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, int n, double q)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[(int)(q * (n - 1) + 0.5)];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 15;
    size_t bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 128) << 20;
    static double plain[3][ROUNDS_MAX], speed[ROWS][ROUNDS_MAX], ratio[ROWS][ROUNDS_MAX];
    static struct job jobs[ROWS];
    if (rounds < 1 || rounds > ROUNDS_MAX || bytes == 0)
        return fprintf(stderr, "usage: bench-relayout [ROUNDS [MIB [CASE]]]\n"), 2;
    struct segue_pool *pool;
    struct segue_device_args args = {.name = "host"};
    struct segue_device *host;
    if (segue_pool_create(1, "mover", &pool) < 0)
        die("pool");
    args.pool = pool;
    if (segue_device_open(&args, &host) < 0)
        die("host");
    char *src = pages(host, bytes + 4096), *dst = pages(host, bytes + 4096);
    for (size_t i = 0; i < ROWS; i++)
        jobs[i] = prepare(&rows[i], bytes, src, dst, bytes);
    for (int r = 0; r < rounds; r++)
        for (size_t i = 0; i < ROWS; i++) {
            if (argc > 3 && !strstr(rows[i].name, argv[3]))
                continue;
            uint64_t t0 = cpu_ns();
            memcpy(dst, src, bytes);
            uint64_t t1 = cpu_ns();
            stream_loop(dst, src, bytes);
            uint64_t t2 = cpu_ns();
            plain[0][r] = (double)bytes / (double)(t1 - t0);
            plain[1][r] = (double)bytes / (double)(t2 - t1);
            plain[2][r] = plain[0][r] > plain[1][r] ? plain[0][r] : plain[1][r];
            speed[i][r] = run_job(&jobs[i]);
            ratio[i][r] = speed[i][r] / plain[2][r];
        }
    printf("%-32s %8s %8s %8s %8s\n", "GB/s read, median", "speed", "of copy", "lo",
           "hi");
    printf("%-32s %8.2f\n", "memcpy (last case's rounds)",
           quantile(plain[0], rounds, .5));
    printf("%-32s %8.2f\n", "streaming loop", quantile(plain[1], rounds, .5));
    for (size_t i = 0; i < ROWS; i++)
        if (speed[i][0] > 0)
            printf("%-32s %8.2f %8.2f %8.2f %8.2f\n", rows[i].name,
                   quantile(speed[i], rounds, .5), quantile(ratio[i], rounds, .5),
                   quantile(ratio[i], rounds, .2), quantile(ratio[i], rounds, .8));
    segue_device_close(host);
    segue_pool_destroy(pool);
    return 0;
}
