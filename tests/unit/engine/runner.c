/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps of the tiny model: how ranks, threads, blocks, orders, batches and chunks are
 * chosen changes nothing, a wrong cache does, and bad steps are refused.
 */
#include "test.h"
#include "fail.h"
#include "runner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT = 150,
    ANSWER = 8,
    TOKENS = PROMPT + ANSWER,
    VOCAB_MOST = 512,
    MOST_TP = 8
};

struct setup {
    uint32_t tp, threads, block_tokens, chunk;
    enum cache_order order;
    enum cache_dtype dtype;
    bool portable, crowd; /* crowd: two other sequences run in the same steps */
};

struct engine {
    struct runner *runner;
    struct cache caches[MOST_TP];
    uint32_t blocks[3][TOKENS], n_blocks; /* of three sequences */
};

struct answer {
    uint32_t tokens[ANSWER];
    float logits[ANSWER][VOCAB_MOST];
};

static struct model *model;

static int open_model(void **state)
{
    return model_open(&model, getenv("TINY_MODEL"));
}

static int close_model(void **state)
{
    model_close(model);
    return 0;
}

static void open_engine(struct engine *engine, const struct setup *setup)
{
    const struct model_config *c = &model->config;
    uint32_t each = (TOKENS + setup->block_tokens - 1) / setup->block_tokens;
    struct cache_shape shape = {
        c->layers,   3 * each,     setup->block_tokens, runner_kv_heads(c, setup->tp),
        c->head_dim, setup->dtype, setup->order};
    memset(engine, 0, sizeof *engine);
    for (uint32_t i = 0; i < setup->tp; i++) {
        assert_int_equal(cache_plan(&engine->caches[i], &shape), 0);
        engine->caches[i].base = malloc(engine->caches[i].size);
        memset(engine->caches[i].base, 0xff, engine->caches[i].size);
    }
    struct runner_opts opts = {
        .tp = setup->tp, .threads = setup->threads, .portable = setup->portable};
    if (runner_open(&engine->runner, model, &opts, engine->caches))
        fail_msg("%s", engine_error());
    engine->n_blocks = each;
    for (uint32_t s = 0; s < 3; s++)
        for (uint32_t i = 0; i < each; i++)
            engine->blocks[s][i] = 3 * (each - 1 - i) + s;
}

static void close_engine(struct engine *engine)
{
    runner_close(engine->runner);
    for (uint32_t i = 0; i < MOST_TP; i++)
        free(engine->caches[i].base);
}

static uint32_t prompt_token(uint32_t i)
{
    return 3 + i * i * 7 % 250;
}

static uint32_t best_of(const float *logits)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < model->config.vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Sequence 0 gives the answer; the crowd prefills from its own place in the prompt and
 * decodes, so that steps mix both. */
static void answer(struct engine *engine, const struct setup *setup, struct answer *out)
{
    static float spare[2][VOCAB_MOST];
    uint32_t tokens[TOKENS], done = 0, made = 0, crowd_done[2] = {0, 0};
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = prompt_token(i);
    while (made < ANSWER) {
        uint32_t known = PROMPT + made, some = known - done, n = 1;
        if (setup->chunk && some > setup->chunk)
            some = setup->chunk;
        bool last = done + some == known;
        struct step_seq seqs[3] = {
            {tokens + done, some, done, engine->blocks[0], engine->n_blocks,
             last ? STEP_LAST_LOGITS : STEP_NO_LOGITS, last ? out->logits[made] : NULL}};
        for (uint32_t s = 0; setup->crowd && s < 2; s++) {
            uint32_t take = s == 0 && crowd_done[s] == 0 ? 30 : 1;
            seqs[n++] = (struct step_seq){tokens + crowd_done[s],
                                          take,
                                          crowd_done[s],
                                          engine->blocks[s + 1],
                                          engine->n_blocks,
                                          STEP_LAST_LOGITS,
                                          spare[s]};
            crowd_done[s] += take;
        }
        if (runner_step(engine->runner, seqs, n))
            fail_msg("%s", engine_error());
        done += some;
        if (!last)
            continue;
        out->tokens[made] = best_of(out->logits[made]);
        tokens[PROMPT + made] = out->tokens[made];
        made++;
    }
}

static void run(const struct setup *setup, struct answer *out)
{
    struct engine engine;
    open_engine(&engine, setup);
    answer(&engine, setup, out);
    close_engine(&engine);
}

static const struct setup plain = {
    .tp = 1, .threads = 1, .block_tokens = 16, .order = CACHE_LBHNC};

/* Ranks, threads, blocks, orders, company: not one bit of the logits may change. */
static void geometry_changes_no_bit(void **state)
{
    static struct answer want, got;
    run(&plain, &want);
    for (uint32_t i = 0; i < 24; i++) {
        const uint32_t tps[] = {1, 2, 4, 8}, blocks[] = {1, 16, 24, 128};
        struct setup setup = {.tp = tps[i % 4],
                              .threads = 1 + i / 3 % 2,
                              .block_tokens = blocks[(i + i / 4) % 4],
                              .order = (enum cache_order)(i % CACHE_ORDERS),
                              .crowd = i % 5 == 1};
        run(&setup, &got);
        for (uint32_t t = 0; t < ANSWER; t++)
            if (memcmp(want.logits[t], got.logits[t],
                       model->config.vocab * sizeof(float)))
                fail_msg("tp %u threads %u block %u %s crowd %d: token %u differs",
                         setup.tp, setup.threads, setup.block_tokens,
                         cache_order_name(setup.order), setup.crowd, t);
    }
}

static double furthest(const struct answer *a, const struct answer *b)
{
    double worst = 0;
    for (uint32_t t = 0; t < ANSWER; t++)
        for (uint32_t i = 0; i < model->config.vocab; i++)
            worst = fmax(worst, fabs((double)a->logits[t][i] - (double)b->logits[t][i]));
    return worst;
}

/* Short chunks go another way through the weights, plain C rounds elsewhere. */
static void chunks_and_kernels_round_only(void **state)
{
    static struct answer want, got;
    run(&plain, &want);
    const uint32_t chunks[] = {1, 5, 7, 8, 64, 149};
    for (size_t i = 0; i < 2 * sizeof chunks / sizeof *chunks; i++) {
        struct setup setup = plain;
        setup.chunk = chunks[i / 2];
        setup.portable = i % 2;
        run(&setup, &got);
        assert_memory_equal(want.tokens, got.tokens, sizeof want.tokens);
        if (furthest(&want, &got) > 1e-3)
            fail_msg("chunk %u %s: logits differ by %g", setup.chunk,
                     setup.portable ? "portable" : "best", furthest(&want, &got));
    }
}

static void narrow_caches_are_close(void **state)
{
    static struct answer want, got;
    run(&plain, &want);
    for (int dtype = CACHE_FP16; dtype <= CACHE_BF16; dtype++) {
        struct setup setup = plain;
        setup.dtype = (enum cache_dtype)dtype;
        run(&setup, &got);
        double worst = furthest(&want, &got);
        print_message("%s: %.2g\n", cache_dtype_name(setup.dtype), worst);
        assert_true(worst > 0);
        assert_int_equal(want.tokens[0], got.tokens[0]);
    }
}

/* Wiping the cache, or one layer of one block of it, changes what comes next. */
static void the_cache_decides(void **state)
{
    struct engine engine;
    static struct answer first, again;
    open_engine(&engine, &plain);
    answer(&engine, &plain, &first);
    struct cache *cache = &engine.caches[0];
    for (int whole = 1; whole >= 0; whole--) {
        float logits[VOCAB_MOST];
        uint32_t token = prompt_token(PROMPT - 1);
        struct step_seq seq = {
            &token,           1,     PROMPT - 1, engine.blocks[0], engine.n_blocks,
            STEP_LAST_LOGITS, logits};
        answer(&engine, &plain, &again);
        assert_memory_equal(first.logits[0], again.logits[0],
                            model->config.vocab * sizeof(float));
        if (whole)
            memset(cache->base, 0, cache->size);
        else
            memset(cache_row(cache, 1, engine.blocks[0][2], 0, 0), 0,
                   cache->block_stride);
        assert_int_equal(runner_step(engine.runner, &seq, 1), 0);
        if (whole)
            assert_int_not_equal(best_of(logits), first.tokens[0]);
        double moved = 0;
        for (uint32_t i = 0; i < model->config.vocab; i++)
            moved = fmax(moved, fabs((double)logits[i] - (double)first.logits[0][i]));
        print_message("%s wiped: logits move by %.2g\n",
                      whole ? "the cache" : "a layer of a block", moved);
        assert_true(moved > 0.01);
    }
    close_engine(&engine);
}

/* ALL gives each position what LAST gives when the sequence ends there. */
static void all_logits(void **state)
{
    enum { N = 20 };
    struct engine engine;
    uint32_t tokens[N];
    static float all[N][VOCAB_MOST], last[VOCAB_MOST];
    uint32_t vocab = model->config.vocab;
    float *dense = malloc((size_t)N * vocab * sizeof *dense);
    open_engine(&engine, &plain);
    for (uint32_t i = 0; i < N; i++)
        tokens[i] = prompt_token(i);
    for (uint32_t n = 5; n <= N; n += 15) { /* the way of few and the way of many */
        struct step_seq seq = {
            tokens, n, 0, engine.blocks[0], engine.n_blocks, STEP_ALL_LOGITS, dense};
        assert_int_equal(runner_step(engine.runner, &seq, 1), 0);
        for (uint32_t i = 0; i < n; i++)
            memcpy(all[i], dense + (size_t)i * vocab, vocab * sizeof *dense);
        for (uint32_t i = 0; i < n; i++) {
            struct step_seq one = {
                tokens,           i + 1, 0, engine.blocks[1], engine.n_blocks,
                STEP_LAST_LOGITS, last};
            assert_int_equal(runner_step(engine.runner, &one, 1), 0);
            for (uint32_t j = 0; j < vocab; j++)
                assert_true(fabsf(last[j] - all[i][j]) < 1e-3f);
        }
    }
    free(dense);
    close_engine(&engine);
}

static void refused_step(struct engine *engine, struct step_seq seq, const char *why)
{
    assert_int_equal(runner_step(engine->runner, &seq, 1), -1);
    if (!strstr(engine_error(), why))
        fail_msg("\"%s\" does not say \"%s\"", engine_error(), why);
}

static void bad_steps(void **state)
{
    struct engine engine;
    uint32_t token = 5, wrong = model->config.vocab, block = 0, far = 1 << 20;
    static uint32_t many[600];
    open_engine(&engine, &plain);
    refused_step(&engine, (struct step_seq){&token, 0, 0, &block, 1}, "has no token");
    refused_step(&engine, (struct step_seq){&wrong, 1, 0, &block, 1},
                 "the vocabulary has");
    refused_step(&engine, (struct step_seq){&token, 1, 16, &block, 1}, "1 blocks of 16");
    refused_step(&engine, (struct step_seq){&token, 1, 0, &far, 1}, "names block");
    refused_step(&engine, (struct step_seq){&token, 1, UINT32_MAX, &block, 1}, "context");
    refused_step(&engine, (struct step_seq){&token, 1, 0, &block, 1, STEP_LAST_LOGITS},
                 "has no room");
    refused_step(&engine, (struct step_seq){many, 600, 0, many, 600}, "larger than 512");
    assert_int_equal(runner_step(engine.runner, NULL, 0), 0);
    close_engine(&engine);
}

static void bad_runners(void **state)
{
    struct runner *runner;
    struct cache_shape shape = {4, 1, 16, 4, 16, CACHE_FP32, CACHE_LBHNC};
    struct cache cache;
    uint8_t byte;
    assert_int_equal(cache_plan(&cache, &shape), 0);
    struct runner_opts opts = {.tp = 3};
    assert_int_equal(runner_open(&runner, model, &opts, &cache), -1);
    opts.tp = 1;
    assert_int_equal(runner_open(&runner, model, &opts, &cache), -1);
    assert_non_null(strstr(engine_error(), "has no memory"));
    cache.base = &byte;
    cache.shape.kv_heads = 2;
    assert_int_equal(runner_open(&runner, model, &opts, &cache), -1);
    assert_non_null(strstr(engine_error(), "holds 4 layers, 2 heads of 16"));
    cache.shape.kv_heads = 4;
    opts.threads = 100000;
    assert_int_equal(runner_open(&runner, model, &opts, &cache), -1);
    opts = (struct runner_opts){.max_tokens = UINT32_MAX};
    assert_int_equal(runner_open(&runner, model, &opts, &cache), -1);
    runner_close(NULL);
}

/* K and V of the first layer, of which nothing else is rounded. */
static void prompts_can_be_rounded(void **state)
{
    enum { N = 20, ROUNDED = 13 };
    struct setup setup = {.tp = 1, .block_tokens = 16, .dtype = CACHE_FP32};
    struct engine exact, rounding;
    uint32_t tokens[N], dim2 = 2 * model->config.head_dim;
    float want[512];
    uint8_t piece[1024];
    for (uint32_t i = 0; i < N; i++)
        tokens[i] = prompt_token(i);
    open_engine(&exact, &setup);
    open_engine(&rounding, &setup);
    runner_close(rounding.runner);
    struct runner_opts opts = {.tp = 1, .rounds = true, .round = CACHE_BF16};
    assert_int_equal(runner_open(&rounding.runner, model, &opts, rounding.caches), 0);
    struct step_seq seq = {.tokens = tokens,
                           .n_tokens = N,
                           .blocks = exact.blocks[0],
                           .n_blocks = exact.n_blocks,
                           .rounded = ROUNDED};
    assert_int_equal(runner_step(exact.runner, &seq, 1), 0);
    assert_int_equal(runner_step(rounding.runner, &seq, 1), 0);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t block = seq.blocks[i / 16];
        memcpy(want, cache_row(exact.caches, 0, block, 1, i % 16), dim2 * sizeof *want);
        if (i < ROUNDED) {
            cache_encode(CACHE_BF16, piece, want, dim2);
            cache_decode(CACHE_BF16, want, piece, dim2);
        }
        assert_memory_equal(want, cache_row(rounding.caches, 0, block, 1, i % 16),
                            dim2 * sizeof *want);
    }
    close_engine(&exact);
    close_engine(&rounding);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(geometry_changes_no_bit, open_model, close_model),
    cmocka_unit_test_setup_teardown(chunks_and_kernels_round_only, open_model,
                                    close_model),
    cmocka_unit_test_setup_teardown(narrow_caches_are_close, open_model, close_model),
    cmocka_unit_test_setup_teardown(the_cache_decides, open_model, close_model),
    cmocka_unit_test_setup_teardown(prompts_can_be_rounded, open_model, close_model),
    cmocka_unit_test_setup_teardown(all_logits, open_model, close_model),
    cmocka_unit_test_setup_teardown(bad_steps, open_model, close_model),
    cmocka_unit_test_setup_teardown(bad_runners, open_model, close_model),
};
TEST_MAIN(tests)
