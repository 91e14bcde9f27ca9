/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Not a test: prints how fast the engine reads a prompt of 512 tokens and then generates
 * 64, in tokens a second. Usage: engine-speed MODEL [TP [THREADS [DTYPE [ROUNDS]]]]
 */
#include "fail.h"
#include "runner.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PROMPT = 512, ANSWER = 64, BLOCK = 16, BLOCKS = (PROMPT + ANSWER) / BLOCK };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int give_up(void)
{
    fprintf(stderr, "%s\n", engine_error());
    return 1;
}

/* One step of one sequence; returns its seconds, or -1. */
static double step(struct runner *runner, uint32_t *tokens, uint32_t past, uint32_t n,
                   const uint32_t *blocks, float *logits)
{
    struct step_seq seq = {.tokens = tokens + past,
                           .n_tokens = n,
                           .past = past,
                           .blocks = blocks,
                           .n_blocks = BLOCKS,
                           .want = STEP_LAST_LOGITS,
                           .logits = logits};
    double begin = now();
    return runner_step(runner, &seq, 1) ? -1 : now() - begin;
}

static int measure(struct runner *runner, uint32_t vocab, uint32_t rounds)
{
    uint32_t tokens[PROMPT + ANSWER], blocks[BLOCKS];
    float *logits = malloc(vocab * sizeof *logits);
    for (uint32_t i = 0; i < BLOCKS; i++)
        blocks[i] = i;
    for (uint32_t i = 0; i < PROMPT + ANSWER; i++)
        tokens[i] = (i * 7919 + 17) % vocab;
    for (uint32_t round = 0; logits && round < rounds; round++) {
        double prompt = step(runner, tokens, 0, PROMPT, blocks, logits), answer = 0;
        for (uint32_t i = 0; prompt >= 0 && i < ANSWER; i++)
            answer += step(runner, tokens, PROMPT + i, 1, blocks, logits);
        double fresh = 0;
        for (uint32_t i = 0; prompt >= 0 && i < ANSWER; i++)
            fresh += step(runner, tokens, i, 1, blocks, logits);
        if (prompt < 0)
            break;
        printf("prompt %d: %.1f  generate %d: %.1f after nothing, %.1f after %d\n",
               PROMPT, PROMPT / prompt, ANSWER, ANSWER / fresh, ANSWER / answer, PROMPT);
    }
    free(logits);
    return 0;
}

int main(int argc, char **argv)
{
    struct runner_opts opts = {.tp = argc > 2 ? (uint32_t)atoi(argv[2]) : 1,
                               .threads = argc > 3 ? (uint32_t)atoi(argv[3]) : 1};
    struct cache caches[16];
    struct model *model;
    struct runner *runner;
    enum cache_dtype dtype = CACHE_FP32;
    if (argc < 2 || opts.tp < 1 || opts.tp > 16)
        return fprintf(stderr, "usage: %s MODEL [TP [THREADS [DTYPE [ROUNDS]]]]\n",
                       argv[0]);
    if (model_open(&model, argv[1]) || runner_check_tp(&model->config, opts.tp) ||
        (argc > 4 && cache_dtype_parse(&dtype, argv[4])))
        return give_up();
    struct cache_shape shape = {.layers = model->config.layers,
                                .blocks = BLOCKS,
                                .block_tokens = BLOCK,
                                .kv_heads = model->config.kv_heads / opts.tp,
                                .head_dim = model->config.head_dim,
                                .dtype = dtype};
    for (uint32_t i = 0; i < opts.tp; i++)
        if (cache_plan(&caches[i], &shape) || !(caches[i].base = malloc(caches[i].size)))
            return give_up();
    if (runner_open(&runner, model, &opts, caches))
        return give_up();
    measure(runner, model->config.vocab, argc > 5 ? (uint32_t)atoi(argv[5]) : 3);
    runner_close(runner);
    for (uint32_t i = 0; i < opts.tp; i++)
        free(caches[i].base);
    model_close(model);
    return 0;
}
