/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hand-offs between two agents of one process: bytes arrive where they belong and nowhere else over every path, and every
 * way a hand-off can end ends as PROTOCOL says. Rules are named as there.
 */
#include "conformance/handoff_pair.h"
#include "test.h"

#include <poll.h>
#include <string.h>

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16};

struct pair {
    struct engine p, d;
    uint32_t from[64], to[64];
};

static void pair_open_leased(struct pair *x, const struct geometry *p,
                             const struct geometry *d, const char *path,
                             uint64_t lease_ns)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = path;
    opts.lease_ns = lease_ns;
    opts.renew_ns = 200000000u;
    memset(x, 0, sizeof *x);
    engine_open(&x->p, p, &opts, NULL);
    engine_open(&x->d, d, &opts, NULL);
}

/* Leases that a slow machine does not end. */
static void pair_open(struct pair *x, const struct geometry *p, const struct geometry *d,
                      const char *path)
{
    pair_open_leased(x, p, d, path, 0);
}

/* Leases whose end a test waits for. */
static void pair_open_brief(struct pair *x)
{
    pair_open_leased(x, &hnd16, &hnd16, NULL, 2000000000u);
}

static void pair_close(struct pair *x)
{
    engine_close(&x->d);
    engine_close(&x->p);
}

/* One hand-off of tokens [first, tokens): every byte right, none besides, both sides' digests equal, P's blocks back. */
static struct segue_event hand_over(struct pair *x, uint32_t first, uint32_t tokens,
                                    uint32_t salt)
{
    engine_blocks(&x->p, salt, x->from, engine_needs(&x->p, tokens));
    engine_blocks(&x->d, salt + 1, x->to, engine_needs(&x->d, tokens));
    engine_fill(&x->p, x->from, 0, tokens, salt);
    engine_paint(&x->d, 0x5a);
    struct segue_ticket ticket = engine_offer(&x->p, x->from, tokens, salt);
    engine_claim(&x->d, &ticket, x->to, first, salt, SEGUE_DIGEST_FULL, NULL);
    struct segue_event event = engine_settled(&x->d, SEGUE_VERDICT_VALID, 20);
    assert_int_equal(engine_differs(&x->d, x->to, first, tokens, salt), 0);
    assert_int_equal(engine_stray(&x->d, x->to, first, tokens, 0x5a), 0);
    struct segue_event ended = engine_event(&x->p, SEGUE_EVENT_OFFER_ENDED, 5);
    assert_int_equal(ended.id, ticket.id.sequence);
    return event;
}

static void same_geometry(struct pair *x, const char *path)
{
    pair_open(x, &hnd16, &hnd16, path);
    struct segue_event e = hand_over(x, 0, 100, 7);
    assert_string_equal(e.report.path, path);
    assert_int_equal(e.report.bytes_expected, 100u * 3 * 4 * 2 * 16 * 2);
    assert_int_equal(e.report.bytes_moved, e.report.bytes_expected);
    assert_true(e.report.digest_producer != 0);
    assert_int_equal(e.report.digest_producer, e.report.digest_consumer);
    hand_over(x, 0, 1, 8);
    hand_over(x, 32, 77, 9); /* the consumer has a prefix: only the tail moves */
    hand_over(x, 33, 77, 10);
    char text[2048];
    assert_ok(segue_path_explain(x->d.cache[0], segue_agent_engine_id(x->p.agent), text,
                                 sizeof text));
    if (!strstr(text, path))
        fail_msg("no %s in: %s", path, text);
    pair_close(x);
}

static void over_shm(void **state)
{
    struct pair x;
    same_geometry(&x, "shm/mapped");
}

static void over_cma(void **state)
{
    struct pair x;
    same_geometry(&x, "cma/direct");
}

static void over_tcp(void **state)
{
    struct pair x;
    same_geometry(&x, "tcp/direct");
}

static void over_ring(void **state)
{
    struct pair x;
    same_geometry(&x, "shm/packed");
}

static void over_tcp_ring(void **state)
{
    struct pair x;
    same_geometry(&x, "tcp/packed");
}

/* Any block size to any other, any order to any other, any split to any other, over every path that can. */
static void any_geometry(void **state)
{
    static const char *const orders[] = {"hnd",   "nhd",   "LHBNC",
                                         "BLHNC", "BLNHC", "BHLNC"};
    static const uint32_t sizes[] = {16, 24, 7, 128, 1}, splits[] = {1, 2, 4};
    static const char *const paths[] = {"shm/mapped", "cma/direct", "tcp/direct",
                                        "shm/packed", "tcp/packed"};
    int cells = 0;
    for (uint32_t i = 0; i < 30; i++) {
        struct geometry p = {orders[i % 6], "host", sizes[i % 5], splits[i % 3],
                             SEGUE_DTYPE_FP16};
        struct geometry d = {orders[(i / 5 + i) % 6], "host", sizes[(i / 3 + 1) % 5],
                             splits[(i / 2) % 3], SEGUE_DTYPE_FP16};
        struct pair x = {0};
        struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
        opts.require = paths[i % 5];
        x.p.blocks = x.d.blocks = 60;
        engine_open(&x.p, &p, &opts, NULL);
        engine_open(&x.d, &d, &opts, NULL);
        struct segue_event e = hand_over(&x, i % 4 ? 0 : 19, 55, i + 1);
        if (strcmp(e.report.path, opts.require) != 0)
            fail_msg("%s instead of %s", e.report.path, opts.require);
        pair_close(&x);
        cells++;
    }
    printf("cells: %d\n", cells);
}

/* Devices whose memory cannot be mapped, or not by a process of another kind, or whose copy engine takes contiguous runs
 * only: the path follows from what they can, and the bytes are right. */
static void across_devices(void **state)
{
    static const struct {
        const char *from, *to, *path, *p_order, *d_order;
        uint32_t p_block, d_block, p_ranks, d_ranks;
    } rows[] = {
        {"sim:gaudi", "sim:cuda", "shm/packed", "nhd", "hnd", 128, 16, 1, 4},
        {"sim:cuda", "sim:gaudi", "shm/packed", "hnd", "nhd", 16, 128, 1, 1},
        {"sim:cuda", "sim:gaudi", "shm/packed", "hnd", "nhd", 16, 128, 4, 1},
        {"sim:cuda", "sim:gaudi", "shm/packed", "BHLNC", "LHBNC", 16, 24, 2, 1},
        {"sim:gaudi", "sim:gaudi", "shm/packed", "nhd", "nhd", 16, 16, 1, 2},
        {"sim:gaudi", "sim:gaudi", "shm/packed", "hnd", "BLHNC", 16, 32, 2, 1},
        {"sim:cuda", "sim:cuda", "ipc/mapped", "nhd", "hnd", 16, 24, 2, 1},
        {"sim:xpu", "sim:cuda", "shm/packed", "nhd", "nhd", 64, 64, 2, 2},
        {"host", "sim:cuda", "shm/mapped", "nhd", "hnd", 32, 16, 1, 2},
        {"sim:cuda", "host", "shm/packed", "nhd", "hnd", 32, 16, 1, 2},
        {"sim:tpu", "sim:cuda", "shm/packed", "nhd", "hnd", 128, 16, 1, 4},
        {"sim:cuda", "sim:tpu", "shm/packed", "hnd", "nhd", 16, 128, 4, 1},
        {"sim:tpu", "sim:tpu", "shm/packed", "BHLNC", "LHBNC", 16, 24, 2, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct geometry p = {rows[i].p_order, rows[i].from, rows[i].p_block,
                             rows[i].p_ranks, SEGUE_DTYPE_BF16};
        struct geometry d = {rows[i].d_order, rows[i].to, rows[i].d_block,
                             rows[i].d_ranks, SEGUE_DTYPE_BF16};
        struct pair x;
        pair_open(&x, &p, &d, NULL);
        struct segue_event e = hand_over(&x, i % 2 ? 16 : 0, 190, 40 + (uint32_t)i);
        if (strcmp(e.report.path, rows[i].path) != 0)
            fail_msg("%s to %s over %s, want %s", rows[i].from, rows[i].to, e.report.path,
                     rows[i].path);
        pair_close(&x);
    }
    printf("cells: %zu\n", sizeof rows / sizeof *rows);
}

/* What was learned of a cache goes with it: another one at the same address is another cache. */
static void caches_come_and_go(void **state)
{
    static const struct geometry nhd32 = {"nhd", "host", 32, 2, SEGUE_DTYPE_FP16};
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    hand_over(&x, 0, 100, 1);
    engine_change(&x.d, &nhd32);
    hand_over(&x, 0, 100, 2);
    engine_change(&x.p, &nhd32);
    hand_over(&x, 0, 100, 3);
    engine_change(&x.d, &hnd16);
    /* Closing ends what is open: a claim that waits for blocks that will never be written, an offer nobody took. */
    uint32_t blocks[] = {3, 4, 5, 6};
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = 20;
    opts.hash = prompt_of(9);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(x.p.agent, &opts, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    engine_claim(&x.d, &ticket, blocks, 0, 9, SEGUE_DIGEST_OFF, NULL);
    assert_true(engine_quiet(&x.d, 0.2));
    engine_offer(&x.p, blocks, 20, 10);
    engine_change(&x.p, &hnd16);
    engine_settled(&x.d, SEGUE_VERDICT_STALE, 5);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 5);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 5);
    hand_over(&x, 0, 100, 4);
    pair_close(&x);
}

/* Slots are smaller than a layer's share: several pieces a layer, and the ring goes round. */
static void many_pieces(void **state)
{
    static const char *const paths[] = {"shm/packed", "tcp/packed"};
    for (int i = 0; i < 2; i++) {
        struct pair x = {0};
        struct geometry p = {"nhd", "host", 128, 1, SEGUE_DTYPE_FP32},
                        d = {"hnd", "host", 16, 2, SEGUE_DTYPE_FP32};
        struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
        opts.require = paths[i];
        opts.ring_bytes = 8 << 20;
        x.p.head_size = x.d.head_size = 128;
        x.p.heads = x.d.heads = 8;
        x.p.blocks = 7;
        x.d.blocks = 50;
        engine_open(&x.p, &p, &opts, NULL);
        engine_open(&x.d, &d, &opts, NULL);
        struct segue_event e = hand_over(&x, 0, 777, 3);
        assert_int_equal(e.report.bytes_staged, 777u * 3 * 4 * 2 * 128 * 4);
        pair_close(&x);
    }
}

/* PROTOCOL section 6: a flipped bit and two swapped blocks are corrupt over every way, never valid. */
static void corruption_is_caught(void **state)
{
    static const char *const paths[] = {"shm/mapped", "cma/direct", "tcp/direct",
                                        "shm/packed", "tcp/packed", "shm/packed"};
    for (uint32_t i = 0; i < 12; i++) {
        struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
        struct pair x = {0};
        struct geometry g = hnd16;
        if (i % 6 == 5)
            g.device = "sim:tpu"; /* the CPU cannot look at what arrived */
        opts.require = paths[i % 6];
        opts.fault = i < 6 ? "* arrived#* flip" : "* named#* swap";
        engine_open(&x.p, &g, &opts, NULL);
        engine_open(&x.d, &g, &opts, NULL);
        engine_blocks(&x.p, i, x.from, 3);
        engine_blocks(&x.d, i + 1, x.to, 3);
        engine_fill(&x.p, x.from, 0, 40, i);
        struct segue_ticket ticket = engine_offer(&x.p, x.from, 40, i);
        engine_claim(&x.d, &ticket, x.to, 0, i, SEGUE_DIGEST_FULL, NULL);
        struct segue_event e = engine_settled(&x.d, SEGUE_VERDICT_CORRUPT, 5);
        assert_true(e.report.digest_producer != e.report.digest_consumer);
        assert_true(engine_differs(&x.d, x.to, 0, 40, i) > 0);
        pair_close(&x);
    }
}

/* R3: another prompt's KV is never delivered. */
static void another_prompt_is_refused(void **state)
{
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    engine_blocks(&x.p, 1, x.from, 2);
    engine_blocks(&x.d, 2, x.to, 2);
    struct segue_ticket ticket = engine_offer(&x.p, x.from, 20, 1);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = 20;
    opts.hash = prompt_of(2);
    uint64_t group;
    assert_status(segue_group_open(x.d.agent, &ticket, &opts, &group), SEGUE_E_MISMATCH);
    ticket.hash = prompt_of(2); /* as if the consumer did not look: the producer judges */
    engine_prove(&x.d, &ticket);
    engine_claim(&x.d, &ticket, x.to, 0, 2, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_REFUSED, 5);
    pair_close(&x);
}

static void another_model_is_refused_by_name(void **state)
{
    struct engine p = {0}, d = {0};
    engine_open(&p, &hnd16, NULL, "llama-8b");
    engine_open(&d, &hnd16, NULL, "qwen-7b");
    uint32_t blocks[] = {3, 4};
    struct segue_ticket ticket = engine_offer(&p, blocks, 20, 1);
    engine_claim(&d, &ticket, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    struct segue_event e = engine_settled(&d, SEGUE_VERDICT_REFUSED, 5);
    if (!strstr(e.detail, "llama-8b") || !strstr(e.detail, "qwen-7b"))
        fail_msg("%s", e.detail);
    engine_close(&d);
    engine_close(&p);
}

/* R1: a ticket of an earlier start is stale at once. R6: so is a revoked one, and one whose lease is over. */
static void past_offers_are_stale(void **state)
{
    struct pair x;
    pair_open_brief(&x);
    uint32_t blocks[] = {3, 4};
    struct segue_ticket ticket = engine_offer(&x.p, blocks, 20, 1), past = ticket;
    past.id.incarnation[0] ^= 1;
    engine_prove(&x.d, &past);
    engine_claim(&x.d, &past, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_STALE, 5);
    assert_ok(segue_offer_revoke(x.p.agent, &ticket.id));
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 10);
    engine_claim(&x.d, &ticket, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_STALE, 5);
    struct segue_ticket expired = engine_offer(&x.p, blocks, 20, 1);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 20);
    engine_claim(&x.d, &expired, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_STALE, 5);
    pair_close(&x);
}

/* R11: a held offer outlives its lease; R10: a group closed without a claim frees the producer's blocks at once. */
static void holds_and_zero_byte_ends(void **state)
{
    struct pair x;
    pair_open_brief(&x);
    uint32_t blocks[] = {3, 4};
    struct segue_ticket ticket = engine_offer(&x.p, blocks, 20, 1);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = 20;
    opts.hash = prompt_of(1);
    uint64_t group;
    assert_ok(segue_group_open(x.d.agent, &ticket, &opts, &group));
    assert_ok(segue_group_hold(x.d.agent, group));
    assert_true(engine_quiet(&x.p, 3));
    assert_ok(segue_group_close(x.d.agent, group));
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 5);
    engine_event(&x.d, SEGUE_EVENT_GROUP, 5);
    assert_status(segue_group_close(x.d.agent, group), SEGUE_E_NOT_FOUND);
    /* Closed while it still dials: the producer hears of it all the same. */
    for (uint32_t i = 0; i < 20; i++) {
        struct engine other = {0};
        engine_open(&other, &hnd16, NULL, NULL);
        ticket = engine_offer(&x.p, blocks, 20, 1);
        assert_ok(segue_group_open(other.agent, &ticket, &opts, &group));
        assert_ok(segue_group_close(other.agent, group));
        engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 10);
        engine_event(&other, SEGUE_EVENT_GROUP, 5);
        engine_close(&other);
    }
    /* Everything is cached already: nothing moves, the verdict is valid. */
    ticket = engine_offer(&x.p, blocks, 20, 1);
    engine_claim(&x.d, &ticket, blocks, 20, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_VALID, 5);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 10);
    pair_close(&x);
}

/* R2, R14: a claim that comes before the blocks are written waits for them. */
static void early_claims_are_parked(void **state)
{
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    uint32_t from[] = {3, 4}, to[] = {7, 6};
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = 20;
    opts.hash = prompt_of(5);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(x.p.agent, &opts, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    engine_claim(&x.d, &ticket, to, 0, 5, SEGUE_DIGEST_FULL, NULL);
    assert_true(engine_quiet(&x.d, 0.3));
    engine_fill(&x.p, from, 0, 20, 5);
    assert_ok(segue_offer_create(x.p.cache[0], &id, from, 2, NULL));
    engine_settled(&x.d, SEGUE_VERDICT_VALID, 5);
    assert_int_equal(engine_differs(&x.d, to, 0, 20, 5), 0);
    pair_close(&x);
}

/* R12: no destination block has two open claims; a cancelled claim has both its ends. */
static void blocks_are_claimed_once(void **state)
{
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    uint32_t blocks[] = {3, 4}, again[] = {9, 3}, beyond[] = {3, 24};
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    offer.tokens = 20;
    offer.hash = prompt_of(1);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(x.p.agent, &offer,
                               &id)); /* never created: the claim stays parked */
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    uint64_t claim, second,
        group = engine_claim(&x.d, &ticket, blocks, 0, 1, SEGUE_DIGEST_OFF, &claim);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = 20;
    opts.hash = prompt_of(1);
    uint64_t other;
    assert_ok(segue_group_open(x.d.agent, &ticket, &opts, &other));
    struct segue_claim_opts c = SEGUE_CLAIM_OPTS_INIT;
    c.n_blocks = 2;
    c.blocks = again;
    assert_status(segue_claim_post(x.d.agent, other, x.d.cache[0], &c, &second),
                  SEGUE_E_BUSY);
    c.blocks = beyond;
    assert_status(segue_claim_post(x.d.agent, other, x.d.cache[0], &c, &second),
                  SEGUE_E_RANGE);
    c.n_blocks = 1;
    assert_status(segue_claim_post(x.d.agent, other, x.d.cache[0], &c, &second),
                  SEGUE_E_RANGE);
    c.blocks = blocks;
    c.n_blocks = 2;
    assert_status(segue_claim_post(x.d.agent, group, x.d.cache[0], &c, &second),
                  SEGUE_E_INVALID);
    assert_ok(segue_claim_cancel(x.d.agent, claim));
    engine_settled(&x.d, SEGUE_VERDICT_CANCELLED, 10);
    assert_status(segue_claim_cancel(x.d.agent, claim), SEGUE_E_NOT_FOUND);
    assert_ok(segue_group_close(x.d.agent, other));
    pair_close(&x);
}

/* The deadline of a claim on an offer that never becomes claimable. */
static void a_claim_has_a_deadline(void **state)
{
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    uint32_t blocks[] = {3, 4};
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    offer.tokens = 20;
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(x.p.agent, &offer, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = 20;
    opts.timeout_ns = 300000000;
    uint64_t group, claim;
    assert_ok(segue_group_open(x.d.agent, &ticket, &opts, &group));
    struct segue_claim_opts c = SEGUE_CLAIM_OPTS_INIT;
    c.blocks = blocks;
    c.n_blocks = 2;
    assert_ok(segue_claim_post(x.d.agent, group, x.d.cache[0], &c, &claim));
    engine_settled(&x.d, SEGUE_VERDICT_TIMEOUT, 10);
    pair_close(&x);
}

/* R7b, R18: the producer's agent goes away: lost at once, and the blocks come back. */
static void a_producer_that_goes_is_lost(void **state)
{
    struct pair x;
    pair_open(&x, &hnd16, &hnd16, NULL);
    uint32_t blocks[] = {3, 4};
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    offer.tokens = 20;
    offer.hash = prompt_of(1);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(x.p.agent, &offer, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    engine_claim(&x.d, &ticket, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    assert_true(engine_quiet(&x.d, 0.2));
    engine_close(&x.p);
    struct segue_event event;
    bool verdict = false, released = false, group = false;
    for (int i = 0; i < 100 && !(verdict && released && group); i++) {
        struct pollfd f = {segue_agent_fd(x.d.agent), POLLIN, 0};
        poll(&f, 1, 20);
        while (segue_event_next(x.d.agent, &event) == SEGUE_OK) {
            if (event.type == SEGUE_EVENT_VERDICT) {
                verdict =
                    true; /* its offer ended before its link did: either word is true */
                assert_true(event.verdict == SEGUE_VERDICT_STALE ||
                            event.verdict == SEGUE_VERDICT_LOST);
            }
            released |= event.type == SEGUE_EVENT_RELEASED;
            group |= event.type == SEGUE_EVENT_GROUP;
        }
    }
    assert_true(verdict && released && group);
    engine_claim(&x.d, &ticket, blocks, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_LOST, 5);
    engine_close(&x.d);
}

/* The consumer goes away with a claim open: the producer's blocks come back with the lease at the latest. */
static void a_consumer_that_goes_frees_the_offer(void **state)
{
    struct pair x;
    pair_open_brief(&x);
    uint32_t blocks[] = {3, 4};
    struct segue_ticket ticket = engine_offer(&x.p, blocks, 20, 1);
    engine_claim(&x.d, &ticket, blocks, 0, 1, SEGUE_DIGEST_FULL, NULL);
    engine_close(&x.d);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 20);
    engine_close(&x.p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(over_shm),
    cmocka_unit_test(over_cma),
    cmocka_unit_test(over_tcp),
    cmocka_unit_test(over_ring),
    cmocka_unit_test(over_tcp_ring),
    cmocka_unit_test(any_geometry),
    cmocka_unit_test(across_devices),
    cmocka_unit_test(caches_come_and_go),
    cmocka_unit_test(many_pieces),
    cmocka_unit_test(corruption_is_caught),
    cmocka_unit_test(another_prompt_is_refused),
    cmocka_unit_test(another_model_is_refused_by_name),
    cmocka_unit_test(past_offers_are_stale),
    cmocka_unit_test(holds_and_zero_byte_ends),
    cmocka_unit_test(early_claims_are_parked),
    cmocka_unit_test(blocks_are_claimed_once),
    cmocka_unit_test(a_claim_has_a_deadline),
    cmocka_unit_test(a_producer_that_goes_is_lost),
    cmocka_unit_test(a_consumer_that_goes_frees_the_offer),
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
