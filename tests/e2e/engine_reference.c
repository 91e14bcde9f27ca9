/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against tests/data/smollm2-135m-q4_1-greedy.json: greedy tokens equal those
 * of the reference up to its first gap of 0.01 or less, whatever the block size, order,
 * TP, threads, chunking, batch and kernels. Skips where the model cannot be had.
 */
#include "test.h"
#include "fail.h"
#include "runner.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 10, NEW_TOKENS = 32, MOST_PROMPT = 64, MOST_TP = 3 };

static struct item {
    uint32_t prompt[MOST_PROMPT], n_prompt;
    uint32_t tokens[NEW_TOKENS];
    double gap[NEW_TOKENS];
} items[ITEMS];
static struct model *model;

struct setup {
    uint32_t tp, threads, block_tokens, chunk; /* chunk 0: the prompt at once */
    enum cache_order order;
    enum cache_dtype dtype;
    bool portable, forget; /* forget: the cache is wiped before decoding */
    uint32_t first, n;     /* items, all in one batch */
    uint32_t tokens;       /* how many to generate; 0: all */
};

struct stream {
    uint32_t done, made; /* tokens in the cache, tokens generated */
    uint32_t tokens[MOST_PROMPT + NEW_TOKENS];
    double gap[NEW_TOKENS];
    uint32_t *blocks, n_blocks;
    float *logits;
};

struct bench {
    struct runner *runner;
    struct cache caches[MOST_TP];
    struct stream streams[ITEMS];
};

#define assert_engine(call)                                                              \
    do {                                                                                 \
        if (call)                                                                        \
            fail_msg("%s: %s", #call, engine_error());                                   \
    } while (0)

static void read_items(void)
{
    char path[512];
    const char *tests = getenv("TESTS");
    json_error_t error;
    snprintf(path, sizeof path, "%s/data/smollm2-135m-q4_1-greedy.json",
             tests ? tests : "tests");
    json_t *root = json_load_file(path, 0, &error),
           *list = json_object_get(root, "items");
    if (json_array_size(list) != ITEMS)
        fail_msg("%s: %s", path, root ? "not ten items" : error.text);
    for (uint32_t i = 0; i < ITEMS; i++) {
        const json_t *from = json_array_get(list, i);
        const json_t *prompt = json_object_get(from, "prompt_ids");
        items[i].n_prompt = (uint32_t)json_array_size(prompt);
        assert_true(items[i].n_prompt <= MOST_PROMPT);
        for (uint32_t t = 0; t < items[i].n_prompt; t++)
            items[i].prompt[t] = (uint32_t)json_integer_value(json_array_get(prompt, t));
        for (uint32_t t = 0; t < NEW_TOKENS; t++) {
            items[i].tokens[t] = (uint32_t)json_integer_value(
                json_array_get(json_object_get(from, "tokens"), t));
            items[i].gap[t] = json_number_value(
                json_array_get(json_object_get(from, "gap"), t));
        }
    }
    json_decref(root);
}

/* Every test begins with it; the first one reads model and reference. */
static void need_model(void)
{
    const char *path = getenv("MODEL");
    if (model)
        return;
    if (!path)
        fail_msg("MODEL is not set: run with-model.sh, which fetches it");
    assert_engine(model_open(&model, path));
    read_items();
}

/* Blocks are dealt out across the sequences, last one first, so that none is in order. */
static void open_bench(struct bench *bench, const struct setup *setup)
{
    const struct model_config *c = &model->config;
    uint32_t each = (MOST_PROMPT + NEW_TOKENS + setup->block_tokens - 1) /
                    setup->block_tokens;
    struct cache_shape shape = {
        c->layers,   each * setup->n, setup->block_tokens, c->kv_heads / setup->tp,
        c->head_dim, setup->dtype,    setup->order};
    memset(bench, 0, sizeof *bench);
    for (uint32_t i = 0; i < setup->tp; i++) {
        assert_engine(cache_plan(&bench->caches[i], &shape));
        bench->caches[i].base = malloc(bench->caches[i].size);
        assert_non_null(bench->caches[i].base);
        memset(bench->caches[i].base, 0xff, bench->caches[i].size); /* not-a-numbers */
    }
    struct runner_opts opts = {
        .tp = setup->tp, .threads = setup->threads, .portable = setup->portable};
    assert_engine(runner_open(&bench->runner, model, &opts, bench->caches));
    for (uint32_t i = 0; i < setup->n; i++) {
        struct stream *stream = &bench->streams[i];
        const struct item *item = &items[setup->first + i];
        memcpy(stream->tokens, item->prompt, sizeof item->prompt);
        stream->n_blocks = each;
        stream->blocks = calloc(each, sizeof *stream->blocks);
        stream->logits = calloc(c->vocab, sizeof *stream->logits);
        for (uint32_t j = 0; j < each; j++)
            stream->blocks[j] = (each - 1 - j) * setup->n + i;
    }
}

static void close_bench(struct bench *bench, const struct setup *setup)
{
    runner_close(bench->runner);
    for (uint32_t i = 0; i < setup->tp; i++)
        free(bench->caches[i].base);
    for (uint32_t i = 0; i < setup->n; i++) {
        free(bench->streams[i].blocks);
        free(bench->streams[i].logits);
    }
}

static uint32_t wanted(const struct setup *setup)
{
    return setup->tokens ? setup->tokens : NEW_TOKENS;
}

/* The largest logit's token; *gap is its lead over the second largest. */
static uint32_t best_of(const float *logits, uint32_t n, double *gap)
{
    uint32_t best = 0;
    float second = -INFINITY;
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) {
            second = logits[best];
            best = i;
        } else if (logits[i] > second) {
            second = logits[i];
        }
    }
    *gap = (double)logits[best] - (double)second;
    return best;
}

/* One step with the next chunk or token of every stream that is not finished. */
static bool advance(struct bench *bench, const struct setup *setup)
{
    struct step_seq seqs[ITEMS];
    struct stream *of[ITEMS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < setup->n; i++) {
        struct stream *stream = &bench->streams[i];
        uint32_t known = items[setup->first + i].n_prompt + stream->made;
        uint32_t some = known - stream->done;
        if (stream->made == wanted(setup))
            continue;
        if (setup->chunk && some > setup->chunk)
            some = setup->chunk;
        bool last = stream->done + some == known;
        of[n] = stream;
        seqs[n++] = (struct step_seq){
            .tokens = stream->tokens + stream->done,
            .n_tokens = some,
            .past = stream->done,
            .blocks = stream->blocks,
            .n_blocks = stream->n_blocks,
            .want = last ? STEP_LAST_LOGITS : STEP_NO_LOGITS,
            .logits = last ? stream->logits : NULL,
        };
    }
    assert_engine(runner_step(bench->runner, seqs, n));
    for (uint32_t i = 0; i < n; i++) {
        of[i]->done += seqs[i].n_tokens;
        if (seqs[i].want == STEP_NO_LOGITS)
            continue;
        uint32_t token = best_of(of[i]->logits, model->config.vocab,
                                 &of[i]->gap[of[i]->made++]);
        of[i]->tokens[of[i]->done] = token;
    }
    return n > 0;
}

/* How many items differ from the reference before its first small gap; the largest
 * difference of a gap goes to *worst. */
static uint32_t compare(const struct bench *bench, const struct setup *setup, bool tell,
                        double *worst)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < setup->n; i++) {
        const struct item *item = &items[setup->first + i];
        const struct stream *stream = &bench->streams[i];
        for (uint32_t t = 0; t < wanted(setup) && item->gap[t] > 0.01; t++) {
            uint32_t got = stream->tokens[item->n_prompt + t];
            if (got != item->tokens[t]) {
                wrong++;
                if (tell)
                    print_error("item %u, token %u: %u instead of %u, gap %g\n",
                                setup->first + i, t, got, item->tokens[t], item->gap[t]);
                break;
            }
            *worst = fmax(*worst, fabs(stream->gap[t] - item->gap[t]));
        }
    }
    return wrong;
}

static uint32_t run(const struct setup *setup, bool tell, double *worst)
{
    struct bench bench;
    need_model();
    open_bench(&bench, setup);
    bool forgotten = false;
    while (advance(&bench, setup)) {
        if (!setup->forget || forgotten || !bench.streams[0].made)
            continue;
        for (uint32_t i = 0; i < setup->tp; i++)
            memset(bench.caches[i].base, 0, bench.caches[i].size);
        forgotten = true;
    }
    *worst = 0;
    uint32_t wrong = compare(&bench, setup, tell, worst);
    close_bench(&bench, setup);
    return wrong;
}

/* fp32: every token, and gaps to 2e-3 (both sides round their sums differently). */
static void exact(struct setup setup)
{
    double worst;
    uint32_t wrong = run(&setup, true, &worst);
    print_message("block %u %s tp %u threads %u chunk %u %s: largest difference of a gap "
                  "%.1e\n",
                  setup.block_tokens, cache_order_name(setup.order), setup.tp,
                  setup.threads, setup.chunk, setup.portable ? "portable" : "best",
                  worst);
    assert_int_equal(wrong, 0);
    assert_true(worst < 2e-3);
}

static void one_by_one(void **state)
{
    for (uint32_t i = 0; i < ITEMS; i += 3)
        exact((struct setup){.tp = 1,
                             .threads = 1,
                             .block_tokens = i % 2 ? 16 : 24,
                             .order = (enum cache_order)(i % CACHE_ORDERS),
                             .first = i,
                             .n = 1});
}

static void all_at_once(void **state)
{
    const struct setup setups[] = {
        {1, 1, 128, 0, CACHE_LBNHC}, {3, 1, 16, 0, CACHE_LBHNC},
        {1, 2, 24, 7, CACHE_LHBNC},  {3, 1, 128, 64, CACHE_BLHNC},
        {3, 2, 1, 7, CACHE_BLNHC},   {1, 3, 16, 13, CACHE_BHLNC},
    };
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        struct setup setup = setups[i];
        setup.n = ITEMS;
        exact(setup);
    }
}

static void portable_kernels(void **state)
{
    exact((struct setup){.tp = 3,
                         .threads = 1,
                         .block_tokens = 16,
                         .chunk = 16,
                         .portable = true,
                         .n = 1,
                         .tokens = 6});
}

/* 16 bits round K and V, so tokens may differ; most must not. */
static void narrow_caches(void **state)
{
    for (int i = CACHE_FP16; i <= CACHE_BF16; i++) {
        struct setup setup = {.tp = i == CACHE_FP16 ? 1 : 3,
                              .threads = 1,
                              .block_tokens = 16,
                              .order = CACHE_LBNHC,
                              .dtype = (enum cache_dtype)i,
                              .n = ITEMS / 2};
        double worst;
        uint32_t wrong = run(&setup, false, &worst);
        print_message("%s: %u of %u items differ, largest difference of a gap %.1e\n",
                      cache_dtype_name(setup.dtype), wrong, setup.n, worst);
        assert_true(wrong <= (i == CACHE_FP16 ? 0 : 2));
    }
}

static void a_lost_cache_shows(void **state)
{
    struct setup setup = {
        .tp = 1, .threads = 1, .block_tokens = 16, .forget = true, .n = 3};
    double worst;
    assert_int_equal(run(&setup, false, &worst), setup.n);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_by_one),         cmocka_unit_test(all_at_once),
    cmocka_unit_test(portable_kernels),   cmocka_unit_test(narrow_caches),
    cmocka_unit_test(a_lost_cache_shows),
};
TEST_MAIN(tests)
