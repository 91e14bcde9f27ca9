/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-off's messages: golden bytes of docs/wire.md, and every truncation refused. */
#include "test.h"
#include "handoff/wire.h"

#include <segue/layout.h>
#include <string.h>

static struct segue_geometry_room room;

static void accept_is_runs(void **state)
{
    static const uint8_t golden[] = {0x11, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xc8, 0x17, 0xa8,
                                     4,    0, 0, 0, 2, 0, 0, 0, 5,    0,    0,    0,
                                     3,    0, 0, 0, 2, 0, 0, 0, 1,    0,    0,    0};
    const uint32_t blocks[] = {5, 6, 7, 2};
    uint8_t body[128];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    assert_ok(segue_accept_write(&w, 0x11, 20000000000u, blocks, 4));
    assert_int_equal(w.len, sizeof golden);
    assert_memory_equal(body, golden, sizeof golden);
    struct segue_msg_accept m;
    struct segue_reader r = segue_reader_make(body, w.len);
    assert_ok(segue_accept_read(&r, &m));
    assert_int_equal(m.n_runs, 2);
    assert_int_equal(segue_run_at(&m, 1).start, 2);
    assert_int_equal(segue_run_at(&m, 0).count, 3);
    for (size_t cut = 0; cut < w.len; cut++) {
        r = segue_reader_make(body, cut);
        assert_status(segue_accept_read(&r, &m), SEGUE_E_PROTOCOL);
    }
    memset(body + 16, 0xff, 4); /* four thousand million runs */
    r = segue_reader_make(body, w.len);
    assert_status(segue_accept_read(&r, &m), SEGUE_E_PROTOCOL);
}

static void verdict_is_judged(void **state)
{
    static const uint8_t golden[] = {0x11, 0, 0, 0, 0, 0, 0, 0,   2,   0,   0,  0,
                                     0,    0, 0, 0, 0, 4, 0, 'g', 'o', 'n', 'e'};
    struct segue_msg_verdict m = {.pair = 0x11,
                                  .verdict = SEGUE_VERDICT_STALE,
                                  .why = "gone"},
                             back;
    uint8_t body[512];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_verdict_write(&w, &m);
    assert_int_equal(w.len, sizeof golden);
    assert_memory_equal(body, golden, sizeof golden);
    struct segue_reader r = segue_reader_make(body, w.len);
    assert_ok(segue_verdict_read(&r, &back));
    assert_string_equal(back.why, "gone");
    for (size_t cut = 0; cut < w.len; cut++) {
        r = segue_reader_make(body, cut);
        assert_status(segue_verdict_read(&r, &back), SEGUE_E_PROTOCOL);
    }
    for (int verdict = 0; verdict < 256; verdict++) {
        body[8] = (uint8_t)verdict;
        r = segue_reader_make(body, w.len);
        bool good = verdict >= SEGUE_VERDICT_VALID && verdict <= SEGUE_VERDICT_CANCELLED;
        assert_int_equal(segue_verdict_read(&r, &back) >= 0, good);
    }
}

static struct segue_msg_claim sample(void)
{
    struct segue_msg_claim m = {.pair = 7,
                                .tag = 8,
                                .offer.sequence = 3,
                                .tokens = 100,
                                .first = 16,
                                .cache = 2,
                                .digest = SEGUE_DIGEST_FULL,
                                .row = 1,
                                .way = 2,
                                .wire_tokens = 64,
                                .credits = 4,
                                .use = 21,
                                .counts = 3,
                                .from = 5,
                                .model = "m",
                                .convention = "rope:half"};
    m.geometry = (struct segue_geometry){
        .layers_total = 2, .heads_total = 4, .head_first = 2};
    m.geometry.layout = (struct segue_layout)SEGUE_LAYOUT_INIT;
    assert_ok(
        segue_layout_named("nhd", SEGUE_DTYPE_FP16, 2, 8, 16, 2, 32, &m.geometry.layout));
    return m;
}

static void claim_round_trip(void **state)
{
    struct segue_msg_claim m = sample(), back;
    uint8_t body[2048];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_claim_write(&w, &m);
    assert_false(w.failed);
    struct segue_reader r = segue_reader_make(body, w.len);
    assert_ok(segue_claim_read(&r, &back, &room));
    assert_int_equal(back.tag, 8);
    assert_int_equal(back.first, 16);
    assert_int_equal(back.wire_tokens, 64);
    assert_string_equal(back.convention, "rope:half");
    assert_int_equal(back.geometry.head_first, 2);
    assert_int_equal(back.geometry.layout.block_tokens, 16);
    assert_int_equal(back.use, 21);
    assert_int_equal(back.counts, 3);
    assert_int_equal(back.from, 5);
    for (size_t cut = 0; cut < w.len; cut++) {
        r = segue_reader_make(body, cut);
        if (segue_claim_read(&r, &back, &room) >= 0)
            fail_msg("a claim of %zu of %zu bytes was taken", cut, w.len);
    }
    body[w.len] = 1; /* a later version's field is skipped (R21) */
    r = segue_reader_make(body, w.len + 1);
    assert_ok(segue_claim_read(&r, &back, &room));
}

static void claims_out_of_range(void **state)
{
    struct segue_msg_claim back;
    for (int i = 0; i < 6; i++) {
        struct segue_msg_claim m = sample();
        uint8_t body[2048];
        m.first = i == 0 ? 101 : m.first;
        m.first = i == 4 ? 100 : m.first; /* nothing is wanted */
        m.digest = i == 1 ? 3 : m.digest;
        m.row = i == 2 ? 8 : m.row;
        m.way = i == 3 ? 4 : m.way;
        m.counts = i == 5 ? 0 : m.counts;
        struct segue_writer w = segue_writer_make(body, sizeof body);
        segue_claim_write(&w, &m);
        struct segue_reader r = segue_reader_make(body, w.len);
        assert_status(segue_claim_read(&r, &back, &room), SEGUE_E_PROTOCOL);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(accept_is_runs),
    cmocka_unit_test(verdict_is_judged),
    cmocka_unit_test(claim_round_trip),
    cmocka_unit_test(claims_out_of_range),
};
TEST_MAIN(tests)
