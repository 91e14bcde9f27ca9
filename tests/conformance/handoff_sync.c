/* SPDX-License-Identifier: Apache-2.0 */
/*
 * R14: nothing is read before the producer's device has written it, and nothing is written before the consumer's device
 * is through with the blocks. The devices are sim devices whose streams stand before a gate.
 */
#include "conformance/handoff_pair.h"
#include "test.h"

#include <pthread.h>
#include <segue/sim.h>

#define TOKENS 100
#define SALT   3

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    struct engine *engine; /* whose blocks are written once it is open; NULL: nobody's */
    uint32_t *blocks;
};

static void pass(void *user)
{
    struct gate *gate = user;
    pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    if (gate->engine)
        engine_fill(gate->engine, gate->blocks, 0, TOKENS, SALT);
}

static void open_gate(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static const struct row {
    const char *path, *from, *to;
} rows[] = {
    {"ipc/mapped", "sim:cuda", "sim:cuda"},  {"shm/packed", "sim:cuda", "sim:gaudi"},
    {"shm/packed", "sim:gaudi", "sim:cuda"}, {"tcp/packed", "sim:cuda", "sim:cuda"},
    {"shm/mapped", "host", "sim:cuda"},      {"shm/packed", "sim:cuda", "host"},
};
#define ROWS (sizeof rows / sizeof *rows)

struct pair {
    struct engine p, d;
    uint32_t from[TOKENS], to[TOKENS];
};

static void pair_open(struct pair *x, const struct row *row)
{
    struct geometry p = {"nhd", row->from, 32, 1, SEGUE_DTYPE_FP16},
                    d = {"hnd", row->to, 16, 1, SEGUE_DTYPE_FP16};
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = row->path;
    *x = (struct pair){0};
    engine_open(&x->p, &p, &opts, NULL);
    engine_open(&x->d, &d, &opts, NULL);
    engine_blocks(&x->p, 1, x->from, engine_needs(&x->p, TOKENS));
    engine_blocks(&x->d, 2, x->to, engine_needs(&x->d, TOKENS));
    engine_paint(&x->d, 0x5a);
}

static void pair_close(struct pair *x)
{
    engine_close(&x->d);
    engine_close(&x->p);
}

static void mint(struct pair *x, struct segue_offer_id *id, struct segue_ticket *ticket)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(SALT);
    assert_ok(segue_offer_mint(x->p.agent, &opts, id));
    assert_ok(segue_offer_ticket(x->p.agent, id, ticket));
}

/* The kernels that write the blocks run late: the claim is parked until they have. */
static void offers_wait_for_ready(void **state)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].from[0] != 's')
            continue;
        struct pair x;
        pair_open(&x, &rows[i]);
        struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false,
                            &x.p, x.from};
        segue_sim_stream *stream;
        struct segue_offer_id id;
        struct segue_ticket ticket;
        assert_ok(segue_sim_stream_create(x.p.device, &stream));
        assert_ok(segue_sim_launch(stream, pass, &gate, 0));
        struct segue_sync ready = {SEGUE_SYNC_STREAM, x.p.device, stream};
        mint(&x, &id, &ticket);
        assert_ok(segue_offer_create(x.p.cache[0], &id, x.from,
                                     engine_needs(&x.p, TOKENS), &ready));
        engine_claim(&x.d, &ticket, x.to, 0, SALT, SEGUE_DIGEST_FULL, NULL);
        assert_true(engine_quiet(&x.d, 0.3));
        open_gate(&gate);
        struct segue_event event = engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
        assert_string_equal(event.report.path, rows[i].path);
        assert_int_equal(engine_differs(&x.d, x.to, 0, TOKENS, SALT), 0);
        segue_sim_stream_destroy(stream);
        pair_close(&x);
    }
}

static uint64_t post(struct pair *x, const struct segue_ticket *ticket,
                     const struct segue_sync *writable)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    uint64_t group, id;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(SALT);
    opts.digest = SEGUE_DIGEST_FULL;
    claim.blocks = x->to;
    claim.n_blocks = engine_needs(&x->d, TOKENS);
    claim.writable = writable;
    assert_ok(segue_group_open(x->d.agent, ticket, &opts, &group));
    assert_ok(segue_claim_post(x->d.agent, group, x->d.cache[0], &claim, &id));
    return id;
}

/* The kernels that still read the blocks run late: not one byte comes before they have ended. */
static void claims_wait_for_writable(void **state)
{
    for (size_t i = 0; i < ROWS; i++)
        for (int cancelled = 0; cancelled < 2; cancelled++) {
            if (rows[i].to[0] != 's')
                continue;
            struct pair x;
            pair_open(&x, &rows[i]);
            struct gate gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
                                false, NULL, NULL};
            segue_sim_stream *stream;
            assert_ok(segue_sim_stream_create(x.d.device, &stream));
            assert_ok(segue_sim_launch(stream, pass, &gate, 0));
            struct segue_sync writable = {SEGUE_SYNC_STREAM, x.d.device, stream};
            engine_fill(&x.p, x.from, 0, TOKENS, SALT);
            struct segue_ticket ticket = engine_offer(&x.p, x.from, TOKENS, SALT);
            uint64_t claim = post(&x, &ticket, &writable);
            assert_true(engine_quiet(&x.d, 0.3));
            assert_int_equal(engine_stray(&x.d, x.to, 0, 0, 0x5a), 0);
            if (cancelled) { /* judged at once, released only when the device is through */
                assert_ok(segue_claim_cancel(x.d.agent, claim));
                struct segue_event e = engine_event(&x.d, SEGUE_EVENT_VERDICT, 5);
                assert_int_equal(e.verdict, SEGUE_VERDICT_CANCELLED);
                engine_event(&x.d, SEGUE_EVENT_GROUP, 5);
                assert_true(engine_quiet(&x.d, 0.1));
                open_gate(&gate);
                engine_event(&x.d, SEGUE_EVENT_RELEASED, 5);
                assert_int_equal(engine_stray(&x.d, x.to, 0, 0, 0x5a), 0);
            } else {
                open_gate(&gate);
                engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
                assert_int_equal(engine_differs(&x.d, x.to, 0, TOKENS, SALT), 0);
            }
            segue_sim_stream_destroy(stream);
            pair_close(&x);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(offers_wait_for_ready),
    cmocka_unit_test(claims_wait_for_writable),
};

static int before(void **state)
{
    engines_setup();
    return 0;
}

static int after(void **state)
{
    engines_cleanup();
    return 0;
}

TEST_MAIN_AROUND(tests, before, after)
