/* SPDX-License-Identifier: Apache-2.0 */
/* R9: who may claim an offer how often, and when a use comes back; R11: for how long it can be kept. */
#include "conformance/handoff_pair.h"
#include "test.h"

#include <string.h>

#define TOKENS 20
#define SALT   6

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16};
static const uint32_t from[] = {3, 4}, to[] = {7, 6};
static struct engine p, a, b, c;
static struct segue_offer_id id;

static void open_engines(const struct segue_agent_opts *opts)
{
    static const struct engine blank;
    p = a = b = c = blank;
    engine_open(&p, &hnd16, opts, NULL);
    engine_open(&a, &hnd16, opts, NULL);
    engine_open(&b, &hnd16, opts, NULL);
    engine_open(&c, &hnd16, opts, NULL);
}

static void close_engines(void)
{
    engine_close(&c);
    engine_close(&b);
    engine_close(&a);
    engine_close(&p);
}

/* Minted; its blocks are named by name_blocks, and until then claims on it wait. */
static struct segue_ticket mint(uint32_t uses)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_ticket ticket;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(SALT);
    opts.uses = uses;
    engine_fill(&p, from, 0, TOKENS, SALT);
    assert_ok(segue_offer_mint(p.agent, &opts, &id));
    assert_ok(segue_offer_ticket(p.agent, &id, &ticket));
    return ticket;
}

static void name_blocks(void)
{
    assert_ok(segue_offer_create(p.cache[0], &id, from, 2, NULL));
}

static uint64_t claim(struct engine *d, const struct segue_ticket *ticket)
{
    engine_paint(d, 0x5a);
    return engine_claim(d, ticket, to, 0, SALT, SEGUE_DIGEST_FULL, NULL);
}

/* The claim has come to the producer: a later one of another engine is behind it. */
static void until_parked(struct engine *d)
{
    assert_true(engine_quiet(d, 0.3));
}

static void has_it(struct engine *d)
{
    engine_settled(d, SEGUE_VERDICT_VALID, 10);
    assert_int_equal(engine_differs(d, to, 0, TOKENS, SALT), 0);
}

static void a_ticket_beyond_its_uses_is_refused_and_then_stale(void **state)
{
    open_engines(NULL);
    struct segue_ticket ticket = mint(0);
    claim(&a, &ticket);
    until_parked(&a);
    claim(&b, &ticket);
    struct segue_event e = engine_settled(&b, SEGUE_VERDICT_REFUSED, 10);
    if (!strstr(e.detail, "may be claimed 1 times"))
        fail_msg("%s", e.detail);
    name_blocks(); /* and the refused one's END has not ended it */
    has_it(&a);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    claim(&b, &ticket);
    engine_settled(&b, SEGUE_VERDICT_STALE, 10);
    close_engines();
}

static void an_offer_of_two_uses_ends_with_the_second(void **state)
{
    open_engines(NULL);
    struct segue_ticket ticket = mint(2);
    assert_int_equal(ticket.uses, 2);
    name_blocks();
    claim(&a, &ticket);
    has_it(&a);
    assert_true(engine_quiet(&p, 0.3));
    claim(&b, &ticket);
    has_it(&b);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    claim(&c, &ticket);
    engine_settled(&c, SEGUE_VERDICT_STALE, 10);
    close_engines();
}

/* A claim that ends cancelled, or one that was lost with its deadline, leaves its use to another engine. */
static void a_failed_claim_gives_its_use_back(void **state)
{
    for (int timeout = 0; timeout < 2; timeout++) {
        open_engines(NULL);
        struct segue_ticket ticket = mint(0);
        struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
        struct segue_claim_opts post = SEGUE_CLAIM_OPTS_INIT;
        uint64_t group, first;
        opts.tokens = TOKENS;
        opts.hash = prompt_of(SALT);
        opts.timeout_ns = timeout ? 400000000u : 20000000000u;
        post.blocks = to;
        post.n_blocks = 2;
        assert_ok(segue_group_open(a.agent, &ticket, &opts, &group));
        assert_ok(segue_claim_post(a.agent, group, a.cache[0], &post, &first));
        if (!timeout) {
            until_parked(&a);
            assert_ok(segue_claim_cancel(a.agent, first));
        }
        engine_settled(&a, timeout ? SEGUE_VERDICT_TIMEOUT : SEGUE_VERDICT_CANCELLED, 10);
        claim(&b, &ticket);
        until_parked(&b);
        name_blocks();
        has_it(&b);
        engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
        close_engines();
    }
}

/* Nobody tries again: the blocks do not wait for the lease of an hour. */
static void a_use_given_back_does_not_keep_the_blocks(void **state)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.lease_ns = 3600000000000u;
    open_engines(&opts);
    struct segue_ticket ticket = mint(0);
    name_blocks();
    uint64_t group = claim(&a, &ticket);
    (void)segue_group_close(a.agent, group); /* unless it was through already */
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 30);
    close_engines();
}

/* n > 1 on one engine: one claim, one END, all its uses. */
static void siblings_share_one_claim(void **state)
{
    open_engines(NULL);
    struct segue_ticket ticket = mint(3);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts post = SEGUE_CLAIM_OPTS_INIT;
    uint64_t group, id_of_claim;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(SALT);
    opts.siblings = 3;
    opts.digest = SEGUE_DIGEST_FULL;
    post.blocks = to;
    post.n_blocks = 2;
    name_blocks();
    assert_ok(segue_group_open(a.agent, &ticket, &opts, &group));
    assert_ok(segue_claim_post(a.agent, group, a.cache[0], &post, &id_of_claim));
    has_it(&a);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    /* Closed without a claim (R10) they spend as many. */
    ticket = mint(3);
    assert_ok(segue_group_open(a.agent, &ticket, &opts, &group));
    assert_ok(segue_group_close(a.agent, group));
    engine_event(&a, SEGUE_EVENT_GROUP, 10);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    close_engines();
}

/* R11: neither holds nor renewals of a claim that never commits keep an offer for ever. */
static void what_prolongs_a_lease_is_capped(void **state)
{
    for (int claims = 0; claims < 2; claims++) {
        struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
        opts.lease_ns = 300000000u;
        opts.renew_ns = 50000000u;
        opts.hold_ns = 1500000000u;
        open_engines(&opts);
        struct segue_ticket ticket = mint(0);
        struct segue_group_opts group = SEGUE_GROUP_OPTS_INIT;
        uint64_t g;
        group.tokens = TOKENS;
        group.hash = prompt_of(SALT);
        if (claims) {
            claim(&a, &ticket); /* parked for longer than this test takes */
        } else {
            assert_ok(segue_group_open(a.agent, &ticket, &group, &g));
            assert_ok(segue_group_hold(a.agent, g));
        }
        struct segue_event e = engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 20);
        assert_int_equal(e.verdict, SEGUE_VERDICT_STALE);
        if (claims)
            engine_settled(&a, SEGUE_VERDICT_STALE, 10);
        close_engines();
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_ticket_beyond_its_uses_is_refused_and_then_stale),
    cmocka_unit_test(an_offer_of_two_uses_ends_with_the_second),
    cmocka_unit_test(a_failed_claim_gives_its_use_back),
    cmocka_unit_test(a_use_given_back_does_not_keep_the_blocks),
    cmocka_unit_test(siblings_share_one_claim),
    cmocka_unit_test(what_prolongs_a_lease_is_capped),
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
