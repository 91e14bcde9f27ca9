/* SPDX-License-Identifier: Apache-2.0 */
/* The transfer path allocates nothing: once a pair of agents has handed over as much before,
 * no thread of the process, producer's or consumer's, calls malloc from the posting of a
 * claim to its two ends. */
#include "alloc_count.h"
#include "conformance/handoff_pair.h"
#include "test.h"

#define TOKENS 900

struct pair {
    struct engine p, d;
    uint32_t from[64], to[64];
};

static void pair_open(struct pair *x, const char *device, const char *path)
{
    const struct geometry from = {"nhd", device, 32, 1, SEGUE_DTYPE_FP16},
                          to = {"nhd", device, 16, 1, SEGUE_DTYPE_FP16};
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = path;
    opts.ring_bytes = 8 << 20;
    *x = (struct pair){0};
    x->p.layers = x->d.layers = 8;
    x->p.head_size = x->d.head_size = 128;
    x->p.blocks = x->d.blocks = 60;
    engine_open(&x->p, &from, &opts, NULL);
    engine_open(&x->d, &to, &opts, NULL);
}

/* One hand-off; how many allocations it made after its group was open. */
static uint64_t hand_over(struct pair *x, uint32_t salt)
{
    engine_blocks(&x->p, salt, x->from, engine_needs(&x->p, TOKENS));
    engine_blocks(&x->d, salt + 1, x->to, engine_needs(&x->d, TOKENS));
    struct segue_ticket ticket = engine_offer(&x->p, x->from, TOKENS, salt);
    struct segue_group_opts group = SEGUE_GROUP_OPTS_INIT;
    group.tokens = TOKENS;
    group.hash = prompt_of(salt);
    group.digest = SEGUE_DIGEST_FULL;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    claim.blocks = x->to;
    claim.n_blocks = engine_needs(&x->d, TOKENS);
    uint64_t group_id, claim_id;
    assert_ok(segue_group_open(x->d.agent, &ticket, &group, &group_id));
    uint64_t before = alloc_count();
    assert_ok(segue_claim_post(x->d.agent, group_id, x->d.cache[0], &claim, &claim_id));
    engine_settled(&x->d, SEGUE_VERDICT_VALID, 20);
    uint64_t made = alloc_count() - before;
    engine_event(&x->p, SEGUE_EVENT_OFFER_ENDED, 5);
    return made;
}

static void check(const char *device, const char *path)
{
#if !ALLOC_COUNTED
    skip_because("the sanitizer owns malloc");
#endif
    struct pair x;
    pair_open(&x, device, path);
    uint64_t first = hand_over(&x, 1);
    hand_over(&x, 2);
    assert_true(first > 0); /* the counter counts */
    for (uint32_t i = 3; i < 9; i++)
        assert_int_equal(hand_over(&x, i), 0);
    engine_close(&x.d);
    engine_close(&x.p);
}

static void shm_mapped(void **state)
{
    check("host", "shm/mapped");
}

static void cma_direct(void **state)
{
    check("host", "cma/direct");
}

static void tcp_direct(void **state)
{
    check("host", "tcp/direct");
}

static void shm_packed(void **state)
{
    check("host", "shm/packed");
}

static void tcp_packed(void **state)
{
    check("host", "tcp/packed");
}

/* Digests go through a bounce buffer here. */
static void no_view(void **state)
{
    check("sim:tpu", "shm/packed");
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
    cmocka_unit_test(shm_mapped), cmocka_unit_test(cma_direct),
    cmocka_unit_test(tcp_direct), cmocka_unit_test(shm_packed),
    cmocka_unit_test(tcp_packed), cmocka_unit_test(no_view),
};
TEST_MAIN_AROUND(tests, setup, teardown)
