/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process dies or stops at every step of a hand-off, over every path: the other side hears it in time, once, never
 * takes wrong bytes for right ones, gets all its blocks back, and serves the next. Rules are named as in PROTOCOL.
 */
#include "fault/deaths.h"
#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

static uint32_t blocks[TOKENS_MAX];

/* How a claim ended: exactly one of each event (R7b). */
struct end {
    enum segue_verdict verdict;
    char detail[256];
};

static double slowest_s; /* verdict */

static struct end collect(struct engine *d)
{
    struct end end = {0};
    uint32_t verdicts = 0, released = 0, groups = 0;
    double begin = seconds_now();
    while (!verdicts || !released || !groups) {
        struct segue_event event;
        if (segue_event_next(d->agent, &event) != SEGUE_OK) {
            if (seconds_now() - begin > PATIENCE)
                fail_msg("%u verdicts, %u released, %u groups after %.0f s", verdicts,
                         released, groups, PATIENCE);
            poll(&(struct pollfd){segue_agent_fd(d->agent), POLLIN, 0}, 1, 20);
            continue;
        }
        verdicts += event.type == SEGUE_EVENT_VERDICT;
        released += event.type == SEGUE_EVENT_RELEASED;
        groups += event.type == SEGUE_EVENT_GROUP;
        if (event.type == SEGUE_EVENT_RELEASED)
            assert_int_equal(verdicts, 1);
        if (event.type != SEGUE_EVENT_VERDICT)
            continue;
        end.verdict = event.verdict;
        double took = seconds_now() - begin;
        slowest_s = took > slowest_s ? took : slowest_s;
        memcpy(end.detail, event.detail, sizeof end.detail);
    }
    assert_true(verdicts == 1 && released == 1 && groups == 1);
    assert_true(engine_quiet(d, 0.005));
    return end;
}

static void claim(struct engine *d, const struct segue_ticket *ticket, uint32_t salt,
                  double timeout)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts c = SEGUE_CLAIM_OPTS_INIT;
    uint64_t group, id;
    opts.tokens = ticket->tokens;
    opts.hash = prompt_of(salt);
    opts.digest = SEGUE_DIGEST_FULL;
    opts.timeout_ns = (uint64_t)(timeout * 1e9);
    c.n_blocks = engine_needs(d, ticket->tokens);
    engine_blocks(d, salt, blocks, c.n_blocks);
    c.blocks = blocks;
    engine_paint(d, 0x5a);
    assert_ok(segue_group_open(d->agent, ticket, &opts, &group));
    assert_ok(segue_claim_post(d->agent, group, d->cache[0], &c, &id));
}

/* Whatever the verdict: nothing outside the claim's blocks was touched; and valid means right. */
static void check_bytes(struct engine *d, const struct end *end, uint32_t tokens,
                        uint32_t salt)
{
    if (end->verdict == SEGUE_VERDICT_VALID)
        assert_int_equal(engine_differs(d, blocks, 0, tokens, salt), 0);
    assert_int_equal(engine_stray(d, blocks, 0, tokens, 0x5a), 0);
}

static void serves_the_next(struct engine *d, struct child *p, uint32_t tokens,
                            uint32_t salt)
{
    struct answer a = child_do(p, CHILD_OFFER, tokens, salt, NULL);
    claim(d, &a.ticket, salt, PATIENCE);
    struct end end = collect(d);
    if (end.verdict != SEGUE_VERDICT_VALID)
        fail_msg("%s: %s", segue_verdict_name(end.verdict), end.detail);
    check_bytes(d, &end, tokens, salt);
    child_do(p, CHILD_ENDED, tokens, salt, NULL);
}

static void wrong_end(const struct way *way, const char *when, const struct end *end)
{
    fail_msg("%s, killed %s: %s (%s)", way->path, when, segue_verdict_name(end->verdict),
             end->detail);
}

/* ---- the producer dies ---- */

enum moment { BEFORE_OFFER, BEFORE_CLAIM, MID_COPY };

/* At `share` of the time a hand-off takes; what was done by then may well be valid. */
static enum segue_verdict producer_dies(const struct way *way, enum moment moment,
                                        double share)
{
    struct child p = child_fork(way, true), next = child_fork(way, true);
    struct engine d;
    way_open(&d, way, false);
    uint32_t tokens = moment == MID_COPY ? TOKENS_MAX : 100;
    child_do(&p, CHILD_OPEN, 0, 0, NULL);
    child_do(&next, CHILD_OPEN, 0, 0, NULL);
    serves_the_next(&d, &next, tokens, 6);
    struct held held = held_now(); /* with a link to `next`, which stays */
    struct answer a = child_do(&p, moment == BEFORE_OFFER ? CHILD_MINT : CHILD_OFFER,
                               tokens, 2, NULL);
    if (moment == MID_COPY) { /* one before, to know how long it takes */
        double begin = seconds_now();
        claim(&d, &a.ticket, 2, PATIENCE);
        assert_int_equal(collect(&d).verdict, SEGUE_VERDICT_VALID);
        double took = seconds_now() - begin;
        a = child_do(&p, CHILD_OFFER, tokens, 3, NULL);
        claim(&d, &a.ticket, 3, PATIENCE);
        sleep_for(took * share);
        child_end(&p, SIGKILL);
    } else if (moment == BEFORE_OFFER) {
        claim(&d, &a.ticket, 2, PATIENCE);
        assert_true(engine_quiet(&d, 0.05));
        child_end(&p, SIGKILL);
    } else {
        child_end(&p, SIGKILL);
        claim(&d, &a.ticket, 2, PATIENCE);
    }
    struct end end = collect(&d);
    if (end.verdict != SEGUE_VERDICT_LOST &&
        (moment != MID_COPY || end.verdict != SEGUE_VERDICT_VALID))
        wrong_end(way, moment == MID_COPY ? "while it copied" : "before it copied", &end);
    check_bytes(&d, &end, tokens, moment == MID_COPY ? 3 : 2);
    serves_the_next(&d, &next, tokens, 7);
    held_again(held);
    child_end(&next, 0);
    engine_close(&d);
    return end.verdict;
}

static void a_killed_producer_is_lost(void **state)
{
    int cells = 0, lost = 0;
    for (size_t i = 0; i < n_ways; i++) {
        producer_dies(&ways[i], BEFORE_OFFER, 0);
        producer_dies(&ways[i], BEFORE_CLAIM, 0);
        cells += 2;
        for (double share = 0.0; share < 0.99; share += 0.33, cells++)
            lost += producer_dies(&ways[i], MID_COPY, share) == SEGUE_VERDICT_LOST;
    }
    printf("cells: %d (%d lost under way, slowest verdict after %.2f s)\n", cells, lost,
           slowest_s);
}

/* ---- the consumer dies ---- */

/* A hand-off to `d` in whole; how long it took. */
static double gives(struct engine *p, struct child *d, uint32_t tokens, uint32_t salt)
{
    engine_fill(p, blocks, 0, tokens, salt);
    struct segue_ticket ticket = engine_offer(p, blocks, tokens, salt);
    double begin = seconds_now();
    child_do(d, CHILD_CLAIM, tokens, salt, &ticket);
    engine_event(p, SEGUE_EVENT_OFFER_ENDED, PATIENCE);
    double took = seconds_now() - begin;
    assert_int_equal(child_do(d, CHILD_SETTLE, tokens, salt, NULL).differs, 0);
    return took;
}

/* One that is soon over: nobody is going to end it. */
static struct segue_ticket offer_briefly(struct engine *p, uint32_t tokens, uint32_t salt)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    struct segue_ticket ticket;
    opts.tokens = tokens;
    opts.hash = prompt_of(salt);
    opts.lease_ns = 500000000u;
    assert_ok(segue_offer_mint(p->agent, &opts, &id));
    assert_ok(segue_offer_ticket(p->agent, &id, &ticket));
    assert_ok(
        segue_offer_create(p->cache[0], &id, blocks, engine_needs(p, tokens), NULL));
    return ticket;
}

/* R9: the use of a dead claimant is given back: another engine claims with the same ticket while the offer lives. */
static void a_dead_claimant_gives_its_use_back(void **state)
{
    for (size_t i = 0; i < n_ways; i++) {
        struct child d = child_fork(&ways[i], false), next = child_fork(&ways[i], false);
        struct engine p;
        struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
        struct segue_offer_id id;
        struct segue_ticket ticket;
        way_open(&p, &ways[i], true);
        child_do(&d, CHILD_OPEN, 0, 0, NULL);
        child_do(&next, CHILD_OPEN, 0, 0, NULL);
        opts.tokens = 100;
        opts.hash = prompt_of(4);
        opts.lease_ns = 60000000000u;
        engine_blocks(&p, 1, blocks, engine_needs(&p, 100));
        engine_fill(&p, blocks, 0, 100, 4);
        assert_ok(segue_offer_mint(p.agent, &opts, &id));
        assert_ok(segue_offer_ticket(p.agent, &id, &ticket));
        child_do(&d, CHILD_CLAIM, 100, 4, &ticket); /* parked: no blocks are named yet */
        sleep_for(0.2);
        child_end(&d, SIGKILL);
        sleep_for(0.2);
        child_do(&next, CHILD_CLAIM, 100, 4, &ticket);
        assert_ok(
            segue_offer_create(p.cache[0], &id, blocks, engine_needs(&p, 100), NULL));
        struct answer a = child_do(&next, CHILD_SETTLE, 100, 4, NULL);
        assert_int_equal(a.verdict, SEGUE_VERDICT_VALID);
        assert_int_equal(a.differs, 0);
        engine_event(&p, SEGUE_EVENT_OFFER_ENDED, PATIENCE);
        child_end(&next, 0);
        engine_close(&p);
    }
}

static void consumer_dies(const struct way *way, enum moment moment, double share)
{
    struct child d = child_fork(way, false), next = child_fork(way, false);
    static struct engine p;
    way_open(&p, way, true);
    uint32_t tokens = moment == MID_COPY ? TOKENS_MAX : 100;
    engine_blocks(&p, 1, blocks, engine_needs(&p, tokens));
    child_do(&d, CHILD_OPEN, 0, 0, NULL);
    child_do(&next, CHILD_OPEN, 0, 0, NULL);
    gives(&p, &next, tokens, 1);
    struct held held = held_now();
    double took = moment == MID_COPY ? gives(&p, &d, tokens, 2) : 0;
    struct segue_ticket ticket = offer_briefly(&p, tokens, 2);
    if (moment == BEFORE_CLAIM)
        child_do(&d, CHILD_HOLD, tokens, 2, &ticket);
    if (moment == MID_COPY)
        child_do(&d, CHILD_CLAIM, tokens, 2, &ticket);
    sleep_for(took * share);
    child_end(&d, SIGKILL);
    /* The blocks come back with the lease at the latest, once. */
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, PATIENCE);
    assert_true(engine_quiet(&p, 0.005));
    gives(&p, &next, tokens, 9);
    held_again(held);
    child_end(&next, 0);
    engine_close(&p);
}

static void a_killed_consumer_gives_the_blocks_back(void **state)
{
    int cells = 0;
    for (size_t i = 0; i < n_ways; i++) {
        consumer_dies(&ways[i], BEFORE_OFFER, 0);
        consumer_dies(&ways[i], BEFORE_CLAIM, 0);
        cells += 2;
        for (double share = 0.0; share < 0.99; share += 0.4, cells++)
            consumer_dies(&ways[i], MID_COPY, share);
    }
    printf("cells: %d\n", cells);
}

/* ---- the producer stops, or starts anew ---- */

/* R21b: a stopped process is not dead. Its claim ends at its own deadline, and it serves again when it goes on. */
static void a_stopped_producer_is_timed_out(void **state)
{
    int cells = 0;
    for (size_t i = 0; i < n_ways; i++)
        for (int under_way = 0; under_way < 2; under_way++, cells++) {
            struct child p = child_fork(&ways[i], true);
            struct engine d;
            way_open(&d, &ways[i], false);
            child_do(&p, CHILD_OPEN, 0, 0, NULL);
            serves_the_next(&d, &p, 100, 1); /* there is a link already */
            struct answer a = child_do(&p, CHILD_OFFER, TOKENS_MAX, 2, NULL);
            if (!under_way)
                kill(p.pid, SIGSTOP);
            claim(&d, &a.ticket, 2, 0.4);
            if (under_way) {
                sleep_for(0.001);
                kill(p.pid, SIGSTOP);
            }
            struct end end = collect(&d);
            if (end.verdict != SEGUE_VERDICT_TIMEOUT &&
                !(under_way && end.verdict == SEGUE_VERDICT_VALID))
                wrong_end(&ways[i], "with SIGSTOP", &end);
            check_bytes(&d, &end, TOKENS_MAX, 2);
            kill(p.pid, SIGCONT);
            child_do(&p, CHILD_ENDED, 0, 0, NULL);
            serves_the_next(&d, &p, 100, 3);
            assert_int_equal(engine_stray(&d, blocks, 0, 100, 0x5a), 0);
            child_end(&p, 0);
            engine_close(&d);
        }
    printf("cells: %d\n", cells);
}

/* R1: another start answers where the old one did: what was held from the old one is stale at once. */
static void a_restarted_producer_makes_tickets_stale(void **state)
{
    for (size_t i = 0; i < n_ways; i++) {
        struct child p = child_fork(&ways[i], true), again = child_fork(&ways[i], true);
        struct engine d;
        way_open(&d, &ways[i], false);
        child_do(&p, CHILD_OPEN, 0, 0, NULL);
        serves_the_next(&d, &p, 100, 1);
        struct segue_ticket old = child_do(&p, CHILD_OFFER, 100, 2, NULL).ticket;
        child_end(&p, SIGKILL);
        child_do(&again, CHILD_OPEN, 0, 0, NULL);
        struct answer a = child_do(&again, CHILD_OFFER, 100, 3, NULL);
        memcpy(old.address, a.ticket.address, sizeof old.address);
        engine_prove(&d, &old);
        claim(&d, &old, 2, PATIENCE);
        struct end end = collect(&d);
        if (end.verdict != SEGUE_VERDICT_STALE)
            wrong_end(&ways[i], "and started anew", &end);
        claim(&d, &a.ticket, 3, PATIENCE);
        end = collect(&d);
        assert_int_equal(end.verdict, SEGUE_VERDICT_VALID);
        check_bytes(&d, &end, 100, 3);
        child_end(&again, 0);
        engine_close(&d);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_killed_producer_is_lost),
    cmocka_unit_test(a_killed_consumer_gives_the_blocks_back),
    cmocka_unit_test(a_dead_claimant_gives_its_use_back),
    cmocka_unit_test(a_stopped_producer_is_timed_out),
    cmocka_unit_test(a_restarted_producer_makes_tickets_stale),
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
