/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First contact: rings are made and peers' memory is mapped in by the pool, and meanwhile both agents answer, cancel, lose
 * peers and end. The pools are held here as long as a test likes, so nothing depends on how fast the machine is.
 */
#include "agent/agent.h"
#include "agent/stage_inside.h"
#include "conformance/handoff_pair.h"
#include "pool_hold.h"
#include "test.h"

#include <string.h>

#define TOKENS 100

static const struct row {
    const char *path, *from, *to;
    bool out, in; /* whose ring is made: the producer's, the consumer's */
} rows[] = {
    {"shm/packed", "sim:cuda", "sim:xpu", true, false},
    {"shm/packed", "sim:gaudi", "sim:tpu", true, false},
    {"tcp/packed", "host", "sim:gaudi", false, true},
    {"tcp/packed", "sim:cuda", "host", false, true},
};
#define ROWS (sizeof rows / sizeof *rows)

struct pair {
    struct engine p, d;
    uint32_t from[TOKENS], to[TOKENS];
    struct pool_hold held[2];
};

static void open_one(struct engine *e, const char *order, const char *device,
                     uint32_t block, const char *path)
{
    const struct geometry g = {order, device, block, 1, SEGUE_DTYPE_FP16};
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = path;
    *e = (struct engine){0};
    engine_open(e, &g, &opts, NULL);
}

static void pair_open(struct pair *x, const struct row *row)
{
    memset(x, 0, sizeof *x);
    open_one(&x->p, "nhd", row->from, 32, row->path);
    open_one(&x->d, "hnd", row->to, 16, row->path);
    engine_blocks(&x->p, 1, x->from, engine_needs(&x->p, TOKENS));
    engine_blocks(&x->d, 2, x->to, engine_needs(&x->d, TOKENS));
    engine_fill(&x->p, x->from, 0, TOKENS, 5);
}

/* The ring that has been asked for, as the agent's thread sees it. */
struct look {
    bool in, opening, there;
};

static enum segue_status look(struct segue_agent *agent, void *arg)
{
    struct look *look = arg;
    if (!agent->services[SEGUE_SERVICE_STAGE])
        return SEGUE_OK;
    struct segue_stage *stage = segue_stage_of(agent);
    const struct segue_ring *ring = look->in ? &stage->in : &stage->out;
    look->opening = ring->opening;
    look->there = ring->base != NULL;
    return SEGUE_OK;
}

static bool being_made(struct engine *e, bool in)
{
    struct look seen = {.in = in};
    assert_ok(segue_agent_call(e->agent, look, &seen));
    assert_false(seen.there);
    return seen.opening;
}

static void claim(struct pair *x)
{
    struct segue_ticket ticket = engine_offer(&x->p, x->from, TOKENS, 5);
    engine_claim(&x->d, &ticket, x->to, 0, 5, SEGUE_DIGEST_FULL, NULL);
}

/* Claims while no pool works, and waits until a ring is being made. */
static void begin(struct pair *x, const struct row *row)
{
    pool_hold(&x->held[0], x->p.agent->pool);
    pool_hold(&x->held[1], x->d.agent->pool);
    claim(x);
    if (row->in)
        assert_soon(being_made(&x->d, true));
    else
        assert_soon(being_made(&x->p, false));
}

static void hand_over(struct pair *x)
{
    claim(x);
    engine_settled(&x->d, SEGUE_VERDICT_VALID, 20);
    assert_int_equal(engine_differs(&x->d, x->to, 0, TOKENS, 5), 0);
    engine_event(&x->p, SEGUE_EVENT_OFFER_ENDED, 5);
}

static void agents_answer_meanwhile(void **state)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct pair x;
        pair_open(&x, &rows[i]);
        begin(&x, &rows[i]);
        segue_device *device;
        assert_ok(segue_device_find(x.p.agent, "sim:xpu", &device));
        assert_ok(segue_device_find(x.d.agent, "sim:xpu", &device));
        pool_let_go(&x.held[0]);
        pool_let_go(&x.held[1]);
        struct segue_event e = engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
        assert_string_equal(e.report.path, rows[i].path);
        assert_int_equal(engine_differs(&x.d, x.to, 0, TOKENS, 5), 0);
        engine_close(&x.d);
        engine_close(&x.p);
    }
    printf("cells: %zu\n", ROWS);
}

static void a_claim_can_be_cancelled_meanwhile(void **state)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct pair x;
        uint64_t id;
        pair_open(&x, &rows[i]);
        pool_hold(&x.held[0], x.p.agent->pool);
        pool_hold(&x.held[1], x.d.agent->pool);
        struct segue_ticket ticket = engine_offer(&x.p, x.from, TOKENS, 5);
        engine_claim(&x.d, &ticket, x.to, 0, 5, SEGUE_DIGEST_FULL, &id);
        if (rows[i].in)
            assert_soon(being_made(&x.d, true));
        else
            assert_soon(being_made(&x.p, false));
        assert_ok(segue_claim_cancel(x.d.agent, id));
        engine_settled(&x.d, SEGUE_VERDICT_CANCELLED, 5);
        pool_let_go(&x.held[0]);
        pool_let_go(&x.held[1]);
        engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 20);
        hand_over(&x); /* over the ring that was made for nobody */
        engine_close(&x.d);
        engine_close(&x.p);
    }
}

static void a_peer_can_go_meanwhile(void **state)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct pair x;
        pair_open(&x, &rows[i]);
        begin(&x, &rows[i]);
        struct engine *goes = rows[i].in ? &x.p : &x.d, *stays = rows[i].in ? &x.d : &x.p;
        pool_let_go(&x.held[rows[i].in ? 0 : 1]);
        engine_close(goes);
        if (rows[i].in)
            engine_settled(&x.d, SEGUE_VERDICT_LOST, 5);
        assert_true(being_made(stays, rows[i].in));
        pool_let_go(&x.held[rows[i].in ? 1 : 0]);
        engine_close(stays);
    }
}

static void *let_go_later(void *arg)
{
    thrd_sleep(&(struct timespec){0, 200000000}, NULL);
    pool_let_go(arg);
    return NULL;
}

static void an_agent_can_end_meanwhile(void **state)
{
    for (size_t i = 0; i < ROWS; i++) {
        struct pair x;
        pthread_t thread;
        pair_open(&x, &rows[i]);
        begin(&x, &rows[i]);
        struct engine *ends = rows[i].in ? &x.d : &x.p, *other = rows[i].in ? &x.p : &x.d;
        pool_let_go(&x.held[rows[i].in ? 0 : 1]);
        assert_int_equal(
            pthread_create(&thread, NULL, let_go_later, &x.held[rows[i].in ? 1 : 0]), 0);
        engine_close(ends);
        pthread_join(thread, NULL);
        if (!rows[i].in) /* its cache went first */
            engine_settled(&x.d, SEGUE_VERDICT_STALE, 5);
        engine_close(other);
    }
}

static int setup(void **state)
{
    engines_setup();
    return 0;
}

static int teardown(void **state)
{
    engines_cleanup();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(agents_answer_meanwhile),
    cmocka_unit_test(a_claim_can_be_cancelled_meanwhile),
    cmocka_unit_test(a_peer_can_go_meanwhile),
    cmocka_unit_test(an_agent_can_end_meanwhile),
};
TEST_MAIN_AROUND(tests, setup, teardown)
