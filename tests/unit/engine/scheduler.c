/* SPDX-License-Identifier: Apache-2.0 */
/* Batching, chunks, a full cache, preemption, prefix caching and aborts: never another
 * token than a model without a cache gives, and every block returns. */
#include "test.h"
#include "fake/caller.h"
#include "fake/model.h"

#include <stdlib.h>

static struct fake_model model;

static struct scheduler_opts defaults(uint32_t block_tokens, uint32_t blocks)
{
    fake_model_open(&model, block_tokens, blocks);
    return (struct scheduler_opts){
        .block_tokens = block_tokens,
        .blocks = blocks,
        .vocab = FAKE_VOCAB,
        .context = block_tokens * blocks < 256 ? block_tokens * blocks : 256,
        .max_tokens = 32,
        .max_seqs = 8,
        .eos = FAKE_VOCAB, /* never comes */
        .prefix_caching = true,
        .secret = 7,
        .step = fake_model_step,
        .step_user = &model,
    };
}

static struct scheduler *start(const struct scheduler_opts *opts)
{
    struct scheduler *scheduler;
    assert_int_equal(scheduler_open(&scheduler, opts), 0);
    return scheduler;
}

/* The thread publishes its counters after it has told the last caller. */
static struct scheduler_stats settled(struct scheduler *scheduler)
{
    struct scheduler_stats stats;
    do
        scheduler_stats(scheduler, &stats);
    while (stats.running + stats.waiting + stats.loading > 0 ||
           stats.blocks_free != stats.blocks);
    return stats;
}

static void close(struct scheduler *scheduler)
{
    settled(scheduler); /* does not end when a block is lost */
    scheduler_close(scheduler);
    fake_model_close(&model);
}

static void one_prompt_in_chunks(void **state)
{
    struct scheduler_opts opts = defaults(16, 16);
    struct scheduler *scheduler = start(&opts);
    struct fake_caller caller;
    fake_caller_open(&caller, 1, 150, 40);
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.count, 40);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    assert_int_equal(model.most_tokens, 32);
    struct scheduler_stats stats = settled(scheduler);
    assert_int_equal(stats.prompt_tokens, 150);
    assert_int_equal(stats.generated_tokens, 40);
    close(scheduler);
}

static void the_context_ends_an_answer(void **state)
{
    struct scheduler_opts opts = defaults(4, 10);
    struct scheduler *scheduler = start(&opts);
    struct fake_caller caller;
    fake_caller_open(&caller, 1, 30, UINT32_MAX);
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.count, 10);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    fake_caller_open(&caller, 1, 40, 1);
    assert_int_equal(scheduler_submit(scheduler, &caller.request, &caller.id), -1);
    close(scheduler);
}

/* 40 requests, room for about three at a time. */
static void a_full_cache_queues_and_preempts(void **state)
{
    for (int caching = 0; caching < 2; caching++) {
        struct scheduler_opts opts = defaults(4, 24);
        opts.prefix_caching = caching;
        struct scheduler *scheduler = start(&opts);
        static struct fake_caller callers[40];
        for (uint32_t i = 0; i < 40; i++) {
            fake_caller_open(&callers[i], i, 5 + i % 30, 5 + i * 7 % 40);
            fake_caller_submit(&callers[i], scheduler);
        }
        for (uint32_t i = 0; i < 40; i++) {
            fake_caller_finish(&callers[i]);
            assert_int_equal(callers[i].count, 5 + i * 7 % 40);
        }
        struct scheduler_stats stats = settled(scheduler);
        assert_true(stats.preemptions > 0);
        assert_int_equal(stats.finished[FINISH_LENGTH], 40);
        close(scheduler);
    }
}

static void a_prefix_is_computed_once(void **state)
{
    struct scheduler_opts opts = defaults(8, 32);
    struct scheduler *scheduler = start(&opts);
    struct fake_caller caller;
    static const uint32_t cached[] = {0, 56, 56, 0, 56};
    for (int i = 0; i < 5; i++) {
        fake_caller_open(&caller, 3, 64,
                         12); /* 64 = 8 blocks, the last is never shared */
        if (i == 3)
            caller.request.cache_salt = "another tenant";
        fake_caller_submit(&caller, scheduler);
        fake_caller_finish(&caller);
        assert_int_equal(caller.outcome.cached_tokens, cached[i]);
    }
    /* The answer's full blocks are found too, by a prompt that goes on from it. */
    uint32_t longer[76];
    for (int i = 0; i < 64; i++)
        longer[i] = caller.prompt[i];
    for (int i = 0; i < 12; i++)
        longer[64 + i] = caller.tokens[i];
    fake_caller_open(&caller, 3, 64, 3);
    for (int i = 0; i < 76; i++)
        caller.prompt[i] = longer[i];
    caller.request.prompt_count = 76;
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.cached_tokens, 72);
    close(scheduler);
}

static void stop_tokens_end_and_are_told_apart(void **state)
{
    struct scheduler_opts opts = defaults(8, 32);
    struct fake_caller caller;
    fake_caller_open(&caller, 9, 20, 30);
    uint32_t all[50];
    for (uint32_t i = 0; i < 20; i++)
        all[i] = caller.prompt[i];
    for (uint32_t i = 20; i < 50; i++)
        all[i] = fake_model_next(all, i);
    uint32_t third = all[22];
    opts.eos = third;
    struct scheduler *scheduler = start(&opts);
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.count, 3);
    assert_int_equal(caller.outcome.finish, FINISH_STOP);
    assert_int_equal(caller.outcome.stop_token, TOKEN_NONE);

    fake_caller_open(&caller, 9, 20, 30); /* not with ignore_eos; the fifth then does */
    caller.request.ignore_eos = true;
    caller.request.stop_tokens = &all[24];
    caller.request.stop_count = 1;
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_true(caller.count <= 5);
    assert_int_equal(caller.outcome.stop_token, all[24]);

    fake_caller_open(&caller, 9, 20, 30); /* the caller has seen enough */
    caller.request.ignore_eos = true;
    caller.stop_after = 4;
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.count, 4);
    assert_int_equal(caller.outcome.finish, FINISH_STOP);

    fake_caller_open(&caller, 9, 20, 6); /* banned until then: another token comes */
    caller.request.min_tokens = 5;
    fake_caller_submit(&caller, scheduler);
    fake_caller_wait(&caller, UINT32_MAX);
    assert_true(caller.count >= 5 && caller.tokens[2] != third);
    close(scheduler);
}

static void aborts_at_any_time_lose_no_block(void **state)
{
    struct scheduler_opts opts = defaults(4, 40);
    struct scheduler *scheduler = start(&opts);
    static struct fake_caller callers[60];
    srand(5);
    for (uint32_t i = 0; i < 60; i++) {
        fake_caller_open(&callers[i], i % 7, 3 + i % 40, 40);
        fake_caller_submit(&callers[i], scheduler);
        if (i % 3 == 0)
            scheduler_abort(scheduler, callers[(uint32_t)rand() % (i + 1)].id);
    }
    for (uint32_t i = 0; i < 60; i += 2) {
        fake_caller_wait(&callers[i], (uint32_t)rand() % 30);
        scheduler_abort(scheduler, callers[i].id);
    }
    uint32_t aborted = 0;
    for (uint32_t i = 0; i < 60; i++) {
        fake_caller_finish(&callers[i]);
        aborted += callers[i].outcome.finish == FINISH_ABORT;
    }
    assert_true(aborted > 5);
    scheduler_abort(scheduler, callers[0].id); /* over: nothing happens */
    scheduler_abort(scheduler, 12345);
    close(scheduler);
}

static void a_failing_step_ends_its_requests_only(void **state)
{
    struct scheduler_opts opts = defaults(8, 32);
    struct scheduler *scheduler = start(&opts);
    struct fake_caller caller;
    fake_caller_open(&caller, 1, 20, 5);
    pthread_mutex_lock(&model.gate);
    model.fail = 1;
    pthread_mutex_unlock(&model.gate);
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_ERROR);
    assert_string_equal(caller.message, "the fake model was told to fail");
    fake_caller_open(&caller, 1, 20, 5);
    fake_caller_submit(&caller, scheduler);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    close(scheduler);
}

static void stopping_ends_everything(void **state)
{
    struct scheduler_opts opts = defaults(4, 20);
    struct scheduler *scheduler = start(&opts);
    static struct fake_caller callers[12];
    for (uint32_t i = 0; i < 12; i++) {
        fake_caller_open(&callers[i], i, 30, 40);
        fake_caller_submit(&callers[i], scheduler);
    }
    fake_caller_wait(&callers[0], 3);
    scheduler_stop(scheduler);
    for (uint32_t i = 0; i < 12; i++)
        assert_true(callers[i].ended);
    uint64_t id;
    assert_int_equal(scheduler_submit(scheduler, &callers[0].request, &id), -1);
    scheduler_close(scheduler);
    fake_model_close(&model);
}

static void numbers_that_do_not_fit_are_named(void **state)
{
    struct scheduler_opts opts = defaults(4, 10);
    struct scheduler *scheduler;
    opts.context = 41;
    assert_int_equal(scheduler_open(&scheduler, &opts), -1);
    opts.context = 40;
    opts.max_tokens = 7;
    assert_int_equal(scheduler_open(&scheduler, &opts), -1);
    fake_model_close(&model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_prompt_in_chunks),
    cmocka_unit_test(the_context_ends_an_answer),
    cmocka_unit_test(a_full_cache_queues_and_preempts),
    cmocka_unit_test(a_prefix_is_computed_once),
    cmocka_unit_test(stop_tokens_end_and_are_told_apart),
    cmocka_unit_test(aborts_at_any_time_lose_no_block),
    cmocka_unit_test(a_failing_step_ends_its_requests_only),
    cmocka_unit_test(stopping_ends_everything),
    cmocka_unit_test(numbers_that_do_not_fit_are_named),
};
TEST_MAIN(tests)
