/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines whose ranks have agents of their own behind one endpoint: offers in sequence (R2), the directory and links on need
 * (R17), holds and ends through the endpoint (R11), verdicts of ranks reported to it (R8).
 */
#include "conformance/handoff_pair.h"
#include "test.h"
#include "agent/link.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#define TOKENS 55

static struct engine p, d;
static uint32_t from[32], to[32];
static struct segue_offer_opts offer_opts;

static void open_pair(uint32_t p_ranks, bool p_apart, uint32_t d_ranks, bool d_apart,
                      const struct segue_agent_opts *opts)
{
    static const struct engine blank;
    struct geometry gp = {"nhd", "host", 16, p_ranks, SEGUE_DTYPE_FP16},
                    gd = {"hnd", "host", 7, d_ranks, SEGUE_DTYPE_FP16};
    p = d = blank;
    p.apart = p_apart;
    d.apart = d_apart;
    p.blocks = d.blocks = 32;
    engine_open(&p, &gp, opts, NULL);
    engine_open(&d, &gd, opts, NULL);
}

static void close_pair(void)
{
    engine_close(&d);
    engine_close(&p);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct segue_event next_event(segue_agent *agent)
{
    struct segue_event event;
    double end = now() + 20;
    while (segue_event_next(agent, &event) != SEGUE_OK) {
        if (now() > end)
            fail_msg("no event");
        poll(&(struct pollfd){segue_agent_fd(agent), POLLIN, 0}, 1, 100);
    }
    return event;
}

/* ---- the producer's side, as an engine does it ---- */

static struct segue_ticket mint(struct segue_offer_id *id, uint32_t salt)
{
    struct segue_ticket ticket;
    offer_opts = (struct segue_offer_opts)SEGUE_OFFER_OPTS_INIT;
    offer_opts.tokens = TOKENS;
    offer_opts.hash = prompt_of(salt);
    engine_blocks(&p, salt, from, engine_needs(&p, TOKENS));
    engine_fill(&p, from, 0, TOKENS, salt);
    assert_ok(segue_offer_mint(p.agent, &offer_opts, id));
    assert_ok(segue_offer_ticket(p.agent, id, &ticket));
    return ticket;
}

static void tell_ranks(const struct segue_offer_id *id)
{
    for (uint32_t r = 0; r < p.geometry.ranks; r++) {
        if (p.apart)
            assert_ok(segue_offer_adopt(p.rank_agent[r], id, &offer_opts));
        assert_ok(
            segue_offer_create(p.cache[r], id, from, engine_needs(&p, TOKENS), NULL));
    }
}

/* Its blocks are free when every rank has reported the end. */
static void offer_ends(void)
{
    for (uint32_t r = 0; p.apart && r < p.geometry.ranks; r++)
        assert_int_equal(next_event(p.rank_agent[r]).type, SEGUE_EVENT_OFFER_ENDED);
    assert_int_equal(next_event(p.agent).type, SEGUE_EVENT_OFFER_ENDED);
}

/* ---- the consumer's ---- */

static uint64_t group, shares[RANKS_MAX];

static void open_group(const struct segue_ticket *ticket, uint32_t salt)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.ranks = d.geometry.ranks;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(salt);
    opts.digest = SEGUE_DIGEST_FULL;
    assert_ok(segue_group_open(d.agent, ticket, &opts, &group));
    opts.ranks = 1;
    opts.use = group;
    for (uint32_t r = 0; d.apart && r < d.geometry.ranks; r++)
        assert_ok(segue_group_open(d.rank_agent[r], ticket, &opts, &shares[r]));
}

static void claim(uint32_t salt)
{
    engine_blocks(&d, salt + 1, to, engine_needs(&d, TOKENS));
    engine_paint(&d, 0x5a);
    for (uint32_t r = 0; r < d.geometry.ranks; r++) {
        struct segue_claim_opts opts = SEGUE_CLAIM_OPTS_INIT;
        uint64_t id;
        opts.blocks = to;
        opts.n_blocks = engine_needs(&d, TOKENS);
        assert_ok(segue_claim_post(d.rank_agent[r], d.apart ? shares[r] : group,
                                   d.cache[r], &opts, &id));
    }
}

/* Every rank: VERDICT, GROUP of its part, RELEASED; its engine carries the verdict to the endpoint, which says GROUP. */
static void settles(enum segue_verdict want)
{
    for (uint32_t r = 0; d.apart && r < d.geometry.ranks; r++) {
        bool seen[8] = {false};
        for (int i = 0; i < 3; i++) {
            struct segue_event e = next_event(d.rank_agent[r]);
            assert_false(seen[e.type]);
            seen[e.type] = true;
            if (e.type != SEGUE_EVENT_RELEASED && e.verdict != want)
                fail_msg("rank %u: %s (%s)", r, segue_verdict_name(e.verdict), e.detail);
            if (e.type == SEGUE_EVENT_GROUP)
                assert_ok(segue_group_report(d.agent, group, e.verdict, e.detail));
        }
    }
    if (!d.apart) {
        engine_settled(&d, want, 20);
        return;
    }
    struct segue_event e = next_event(d.agent);
    assert_int_equal(e.type, SEGUE_EVENT_GROUP);
    assert_int_equal(e.verdict, want);
    assert_int_equal(e.id, group);
}

static void hand_over(uint32_t salt)
{
    struct segue_offer_id id;
    struct segue_ticket ticket = mint(&id, salt);
    tell_ranks(&id);
    open_group(&ticket, salt);
    claim(salt);
    settles(SEGUE_VERDICT_VALID);
    assert_int_equal(engine_differs(&d, to, 0, TOKENS, salt), 0);
    assert_int_equal(engine_stray(&d, to, 0, TOKENS, 0x5a), 0);
    offer_ends();
}

/* ---- tests ---- */

static void any_ranks_to_any(void **state)
{
    static const uint32_t splits[] = {1, 2, 4};
    int cells = 0;
    for (int i = 0; i < 9; i++)
        for (int apart = 1; apart < 4; apart++, cells++) {
            open_pair(splits[i % 3], apart & 1, splits[i / 3], apart & 2, NULL);
            hand_over(1);
            hand_over(2);
            close_pair();
        }
    printf("cells: %d\n", cells);
}

static enum segue_status dialled_links(struct segue_agent *agent, void *out)
{
    uint32_t *n = out;
    segue_list_each (l, &agent->links) {
        const struct segue_link *link = segue_container_of(l, struct segue_link, list);
        *n += link->dialled && link->up && !link->closing;
    }
    return SEGUE_OK;
}

/* R17: each of two consumer ranks needs two of four producer ranks, and knows no other. */
static void links_are_made_only_where_heads_overlap(void **state)
{
    open_pair(4, true, 2, true, NULL);
    hand_over(1);
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t n = 0;
        segue_agent_call(d.rank_agent[r], dialled_links, &n);
        assert_int_equal(n, 4); /* its own endpoint, the producer's, and two ranks */
    }
    uint32_t n = 0;
    segue_agent_call(d.agent, dialled_links, &n);
    assert_int_equal(n, 1); /* who only holds and ends needs the endpoint */
    close_pair();
}

/* R2: a claim that is faster than the producer's own ranks waits; one that was passed over is stale. */
static void claims_ahead_of_the_ranks_wait(void **state)
{
    open_pair(2, true, 1, true, NULL);
    struct segue_offer_id passed, id;
    struct segue_ticket first = mint(&passed, 1), ticket = mint(&id, 2);
    open_group(&ticket, 2);
    claim(2);
    assert_true(engine_quiet(&d, 0.3));
    struct segue_event e;
    assert_status(segue_event_next(d.rank_agent[0], &e), SEGUE_E_NOT_FOUND);
    tell_ranks(&id);
    settles(SEGUE_VERDICT_VALID);
    assert_int_equal(engine_differs(&d, to, 0, TOKENS, 2), 0);
    offer_ends();
    for (uint32_t r = 0; r < 2; r++)
        assert_status(segue_offer_adopt(p.rank_agent[r], &passed, &offer_opts),
                      SEGUE_E_STALE);
    open_group(&first, 1);
    claim(1);
    settles(SEGUE_VERDICT_STALE);
    close_pair();
}

static void a_claim_on_what_is_passed_over_is_stale(void **state)
{
    open_pair(1, true, 1, true, NULL);
    struct segue_offer_id passed, id;
    struct segue_ticket first = mint(&passed, 1);
    mint(&id, 2);
    open_group(&first, 1);
    claim(1);
    assert_true(engine_quiet(&d, 0.3));
    tell_ranks(&id);
    settles(SEGUE_VERDICT_STALE);
    close_pair();
}

/* R2: parked claims are bounded in time. */
static void an_offer_that_never_comes_is_stale(void **state)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.park_ns = 300000000u;
    open_pair(1, true, 1, true, &opts);
    struct segue_offer_id id;
    struct segue_ticket ticket = mint(&id, 1);
    open_group(&ticket, 1);
    claim(1);
    settles(SEGUE_VERDICT_STALE);
    close_pair();
}

/* R11: the endpoint relays holds and ends, also an end that comes before the ranks know of the offer (R10). */
static void holds_and_ends_reach_the_ranks(void **state)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.lease_ns = 1500000000u;
    opts.renew_ns = 200000000u;
    open_pair(2, true, 1, true, &opts);
    struct segue_offer_id id;
    struct segue_ticket ticket = mint(&id, 1);
    tell_ranks(&id);
    open_group(&ticket, 1);
    assert_ok(segue_group_hold(d.agent, group));
    for (uint32_t r = 0; r < 2; r++) {
        struct pollfd f = {segue_agent_fd(p.rank_agent[r]), POLLIN, 0};
        assert_int_equal(poll(&f, 1, 1500), 0); /* twice the lease in all */
    }
    assert_ok(segue_group_close(d.rank_agent[0], shares[0]));
    assert_ok(segue_group_close(d.agent, group));
    offer_ends();
    assert_int_equal(next_event(d.agent).type, SEGUE_EVENT_GROUP);
    assert_int_equal(next_event(d.rank_agent[0]).type, SEGUE_EVENT_GROUP);

    ticket = mint(&id, 2);
    offer_opts.lease_ns = 3600000000000u; /* it is the END that ends it */
    open_group(&ticket, 2);
    assert_ok(segue_group_close(d.agent, group));
    assert_int_equal(next_event(p.agent).type, SEGUE_EVENT_OFFER_ENDED);
    for (uint32_t r = 0; r < 2; r++) {
        assert_ok(segue_offer_adopt(p.rank_agent[r], &id, &offer_opts));
        assert_int_equal(next_event(p.rank_agent[r]).type, SEGUE_EVENT_OFFER_ENDED);
        assert_status(
            segue_offer_create(p.cache[r], &id, from, engine_needs(&p, TOKENS), NULL),
            SEGUE_E_STALE);
    }
    close_pair();
}

/* A rank that goes takes its engine's hand-offs along (R7b, R8). */
static void a_rank_that_goes_is_lost(void **state)
{
    open_pair(2, true, 1, true, NULL);
    hand_over(1);
    struct segue_offer_id id;
    struct segue_ticket ticket = mint(&id, 2);
    open_group(&ticket, 2);
    claim(2);
    assert_true(engine_quiet(&d, 0.3)); /* parked at both ranks */
    segue_cache_close(p.cache[1]);
    segue_region_deregister(p.region[1]);
    segue_free(p.rank_device[1], p.address[1]);
    segue_agent_destroy(p.rank_agent[1]);
    settles(SEGUE_VERDICT_LOST);
    p.geometry.ranks = 1; /* what is left to close */
    close_pair();
}

static void only_ranks_of_the_engine_join(void **state)
{
    open_pair(1, true, 1, false, NULL);
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    uint8_t other[16] = {9};
    segue_agent *agent;
    segue_device *device;
    void *memory;
    opts.endpoint = segue_agent_address(p.agent);
    assert_status(segue_agent_create(&opts, &agent), SEGUE_E_INVALID);
    opts.incarnation = other;
    opts.ranks = 1;
    assert_ok(segue_agent_create(&opts, &agent));
    assert_ok(segue_device_find(agent, "host", &device));
    uint64_t len = segue_layout_bytes(&p.layout);
    assert_ok(segue_alloc(device, len, &memory));
    struct segue_cache_opts cache = SEGUE_CACHE_OPTS_INIT;
    assert_ok(segue_region_register(agent, device, memory, len, &cache.region));
    cache.layout = p.layout;
    segue_cache *none;
    assert_ok(segue_cache_open(agent, &cache, &none));
    assert_status(segue_endpoint_join(agent), SEGUE_E_STALE);
    assert_status(segue_endpoint_join(d.agent), SEGUE_E_INVALID);
    struct segue_offer_id id;
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    offer.tokens = 1;
    assert_status(segue_offer_mint(p.rank_agent[0], &offer, &id), SEGUE_E_INVALID);
    segue_cache_close(none);
    segue_region_deregister(cache.region);
    segue_free(device, memory);
    segue_agent_destroy(agent);
    hand_over(3);
    close_pair();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_ranks_to_any),
    cmocka_unit_test(links_are_made_only_where_heads_overlap),
    cmocka_unit_test(claims_ahead_of_the_ranks_wait),
    cmocka_unit_test(a_claim_on_what_is_passed_over_is_stale),
    cmocka_unit_test(an_offer_that_never_comes_is_stale),
    cmocka_unit_test(holds_and_ends_reach_the_ranks),
    cmocka_unit_test(a_rank_that_goes_is_lost),
    cmocka_unit_test(only_ranks_of_the_engine_join),
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
