/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's two halves of a hand-off over the fake connector: prefilled in one
 * scheduler, decoded in another with another block size, the same tokens; and who holds
 * which block when it goes wrong.
 */
#include "test.h"
#include "fake/caller.h"
#include "fake/connector.h"

static struct fake_model from, to;
static struct fake_connector connector;
static struct scheduler *producer, *consumer;

static struct scheduler_opts options(struct fake_model *model, uint32_t block_tokens,
                                     uint32_t blocks)
{
    fake_model_open(model, block_tokens, blocks);
    return (struct scheduler_opts){
        .block_tokens = block_tokens,
        .blocks = blocks,
        .vocab = FAKE_VOCAB,
        .context = block_tokens * blocks,
        .max_tokens = 32,
        .max_seqs = 4,
        .eos = FAKE_VOCAB,
        .prefix_caching = true,
        .step = fake_model_step,
        .step_user = model,
        .connector = &fake_connector_ops,
        .connector_user = &connector,
    };
}

static void start(bool recompute)
{
    struct scheduler_opts p = options(&from, 16, 6), d = options(&to, 4, 32);
    d.recompute = recompute;
    fake_connector_open(&connector, &from, &to);
    assert_int_equal(scheduler_open(&producer, &p), 0);
    assert_int_equal(scheduler_open(&consumer, &d), 0);
}

static void wait_free(struct scheduler *scheduler, uint32_t want)
{
    struct scheduler_stats stats;
    do /* does not end when a block is lost */
        scheduler_stats(scheduler, &stats);
    while (stats.blocks_free != want || stats.running + stats.waiting > 0);
}

static void end(void)
{
    wait_free(producer, 6);
    wait_free(consumer, 32);
    scheduler_close(producer);
    scheduler_close(consumer);
    fake_model_close(&from);
    fake_model_close(&to);
}

/* Leaves an offer of the prompt's blocks. */
static void prefill(uint32_t salt, uint32_t count)
{
    struct fake_caller caller;
    fake_caller_open(&caller, salt, count, 1);
    caller.request.role = REQUEST_PREFILL;
    caller.request.params = "{}";
    fake_caller_submit(&caller, producer);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    assert_int_equal(caller.count, 1);
    assert_string_equal(caller.params, "{\"fake\": true}");
    struct scheduler_stats stats;
    do
        scheduler_stats(producer, &stats);
    while (stats.offers == 0 || stats.running > 0);
    assert_int_equal(stats.blocks_offered, (count + 15) / 16);
}

static void decode(struct fake_caller *caller, uint32_t salt, uint32_t count)
{
    fake_caller_open(caller, salt, count, 20);
    caller->request.role = REQUEST_DECODE;
    caller->request.params = "{\"fake\": true}";
    fake_caller_submit(caller, consumer);
}

static void same_tokens_on_the_other_side(void **state)
{
    for (uint32_t count = 31; count < 36; count++) {
        start(false);
        prefill(count, count);
        struct fake_caller caller;
        decode(&caller, count, count);
        fake_connector_wait_load(&connector);
        assert_int_equal(caller.count, 0);
        fake_connector_copy(&connector);
        scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_VALID, "");
        scheduler_released(consumer, connector.loading);
        scheduler_offer_ended(producer, connector.offered);
        fake_caller_finish(&caller); /* compares with a model without a cache */
        assert_int_equal(caller.count, 20);
        assert_int_equal(connector.left, 0);
        struct scheduler_stats stats;
        scheduler_stats(consumer, &stats);
        assert_int_equal(stats.prompt_tokens, 1); /* the last one, nothing else */
        end();
    }
}

static void without_the_bytes_the_tokens_differ(void **state)
{
    start(false);
    prefill(1, 40);
    struct fake_caller caller;
    decode(&caller, 1, 40);
    fake_connector_wait_load(&connector);
    scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_VALID, "");
    scheduler_released(consumer, connector.loading);
    fake_caller_wait(&caller, UINT32_MAX);
    assert_int_not_equal(caller.tokens[0], fake_model_next(caller.prompt, 40));
    scheduler_offer_ended(producer, connector.offered);
    end();
}

static void a_prefix_is_not_loaded_again(void **state)
{
    start(false);
    struct fake_caller caller;
    fake_caller_open(&caller, 2, 33, 8);
    fake_caller_submit(&caller, consumer);
    fake_caller_finish(&caller); /* leaves 8 full blocks of the prompt in the cache */
    prefill(2, 50);
    decode(&caller, 2, 50); /* the fake's prompts of one salt begin alike */
    fake_connector_wait_load(&connector);
    assert_int_equal(connector.first, 32);
    fake_connector_copy(&connector);
    scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_VALID, "");
    scheduler_released(consumer, connector.loading);
    fake_caller_finish(&caller);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

static void nothing_to_load_only_leaves(void **state)
{
    start(false);
    struct fake_caller caller;
    fake_caller_open(&caller, 2, 33, 8);
    fake_caller_submit(&caller, consumer);
    fake_caller_finish(&caller);
    prefill(2, 33);
    decode(&caller, 2, 33); /* 32 are here, the last one is computed anyway */
    fake_connector_wait_left(&connector);
    fake_caller_finish(&caller);
    assert_int_equal(connector.loading, 0);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

static void failed_loads_tell_the_verdict(void **state)
{
    static const enum segue_verdict verdicts[] = {SEGUE_VERDICT_STALE, SEGUE_VERDICT_LOST,
                                                  SEGUE_VERDICT_CORRUPT};
    for (int i = 0; i < 3; i++) {
        start(false);
        prefill(3, 40);
        struct fake_caller caller;
        decode(&caller, 3, 40);
        fake_connector_wait_load(&connector);
        scheduler_loaded(consumer, connector.loading, verdicts[i], "it went wrong");
        fake_caller_finish(&caller);
        assert_int_equal(caller.count, 0);
        assert_int_equal(caller.outcome.finish, FINISH_HANDOFF);
        assert_int_equal(caller.outcome.verdict, verdicts[i]);
        assert_string_equal(caller.message, "it went wrong");
        /* Its blocks stay in quarantine until the load is released. */
        struct scheduler_stats stats;
        do
            scheduler_stats(consumer, &stats);
        while (stats.blocks_quarantined == 0);
        assert_int_equal(stats.blocks_quarantined, 10);
        assert_int_equal(stats.blocks_free, 22);
        scheduler_released(consumer, connector.loading);
        scheduler_offer_ended(producer, connector.offered);
        end();
    }
}

static void a_failed_load_can_be_recomputed(void **state)
{
    start(true);
    prefill(4, 40);
    struct fake_caller caller;
    decode(&caller, 4, 40);
    fake_connector_wait_load(&connector);
    scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_LOST, "gone");
    scheduler_released(consumer, connector.loading);
    fake_caller_finish(&caller);
    assert_int_equal(caller.count, 20);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

static void a_client_that_leaves_cancels_the_load(void **state)
{
    start(false);
    prefill(5, 40);
    struct fake_caller caller;
    decode(&caller, 5, 40);
    fake_connector_wait_load(&connector);
    scheduler_abort(consumer, caller.id);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_ABORT);
    fake_connector_wait_left(&connector);
    scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_CANCELLED, "left");
    scheduler_released(consumer, connector.loading);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

/* A request that never got blocks is left too, so that the producer can free its own. */
static void a_client_that_leaves_the_queue_is_left(void **state)
{
    start(false);
    prefill(6, 40);
    static struct fake_caller callers[4], caller;
    pthread_mutex_lock(&to.gate);
    for (uint32_t i = 0; i < 4; i++) { /* max_seqs */
        fake_caller_open(&callers[i], 50 + i, 20, 10);
        fake_caller_submit(&callers[i], consumer);
    }
    decode(&caller, 6, 40);
    scheduler_abort(consumer, caller.id);
    pthread_mutex_unlock(&to.gate);
    fake_caller_finish(&caller);
    fake_connector_wait_left(&connector);
    assert_int_equal(connector.loading, 0);
    for (uint32_t i = 0; i < 4; i++)
        fake_caller_finish(&callers[i]);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

/* It comes and goes while the scheduler is busy with another arrival. */
static void a_request_may_be_gone_before_it_is_looked_at(void **state)
{
    start(false);
    prefill(7, 40);
    struct fake_caller first, second;
    pthread_mutex_lock(&connector.gate);
    decode(&first, 7, 40);
    fake_connector_wait_arrived(&connector);
    fake_caller_open(&second, 1, 20, 10);
    fake_caller_submit(&second, consumer);
    scheduler_abort(consumer, second.id);
    pthread_mutex_unlock(&connector.gate);
    fake_caller_finish(&second);
    assert_int_equal(second.outcome.finish, FINISH_ABORT);
    fake_connector_wait_load(&connector);
    fake_connector_copy(&connector);
    scheduler_loaded(consumer, connector.loading, SEGUE_VERDICT_VALID, "");
    scheduler_released(consumer, connector.loading);
    fake_caller_finish(&first);
    assert_int_equal(first.count, 20);
    scheduler_offer_ended(producer, connector.offered);
    end();
}

static void what_the_connector_refuses_is_passed_on(void **state)
{
    for (int i = 0; i < 2; i++) {
        start(true);
        connector.refuse_arrive = i == 0;
        connector.refuse_load = i == 1;
        struct fake_caller caller;
        connector.tokens = 40;
        decode(&caller, 7, 40);
        fake_caller_finish(&caller);
        assert_int_equal(caller.outcome.finish, FINISH_HANDOFF);
        assert_int_equal(caller.outcome.verdict, SEGUE_VERDICT_REFUSED);
        assert_true((connector.left != 0) == (i == 1));
        end();
    }
    start(false);
    connector.refuse_offer = 1;
    struct fake_caller caller;
    fake_caller_open(&caller, 8, 40, 1);
    caller.request.role = REQUEST_PREFILL;
    fake_caller_submit(&caller, producer);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_ERROR);
    end();
}

static void offers_make_others_wait(void **state)
{
    start(false);
    prefill(9, 90); /* all 6 blocks of the producer */
    struct fake_caller caller;
    fake_caller_open(&caller, 10, 90, 1);
    fake_caller_submit(&caller, producer);
    struct scheduler_stats stats;
    do
        scheduler_stats(producer, &stats);
    while (stats.waiting == 0);
    assert_false(caller.ended);
    scheduler_offer_ended(producer, connector.offered);
    fake_caller_finish(&caller);
    assert_int_equal(caller.outcome.finish, FINISH_LENGTH);
    end();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_tokens_on_the_other_side),
    cmocka_unit_test(without_the_bytes_the_tokens_differ),
    cmocka_unit_test(a_prefix_is_not_loaded_again),
    cmocka_unit_test(nothing_to_load_only_leaves),
    cmocka_unit_test(failed_loads_tell_the_verdict),
    cmocka_unit_test(a_failed_load_can_be_recomputed),
    cmocka_unit_test(a_client_that_leaves_cancels_the_load),
    cmocka_unit_test(a_client_that_leaves_the_queue_is_left),
    cmocka_unit_test(a_request_may_be_gone_before_it_is_looked_at),
    cmocka_unit_test(what_the_connector_refuses_is_passed_on),
    cmocka_unit_test(offers_make_others_wait),
};
TEST_MAIN(tests)
