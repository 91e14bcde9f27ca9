/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relayouts that vLLM's NIXL connector makes after a transfer (its unit tests for
 * kv_postprocess_layout_on_receive, _blksize_on_receive and
 * _blksize_and_layout_on_receive), restated: what those helpers make of received blocks in
 * place, a plan makes on the way. Same sizes and values: 3 blocks, 4 heads, 16 tokens, 8
 * elements of 64 bits that count up over (head, token, element). Two of the six are
 * refusals there, of targets other than nhd and of blocks that are not contiguous; here
 * they are plans like any other.
 */
#include "test.h"

#include "device/relayout.h"
#include "kv/plan.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 3, HEADS = 4, TOKENS = 16, DIM = 8, BLOCK = HEADS * TOKENS * DIM };

static struct segue_geometry side(const char *order, uint32_t blocks, uint32_t tokens)
{
    struct segue_geometry g = {.layers_total = 1, .heads_total = HEADS};
    assert_ok(segue_layout_sized(order, SEGUE_DTYPE_BYTES, 1, blocks, tokens, HEADS,
                                 DIM * sizeof(int64_t), 0, &g.layout));
    return g;
}

static int64_t *element(const struct segue_geometry *g, char *memory, uint32_t block,
                        uint32_t head, uint32_t token, uint32_t i)
{
    const struct segue_layout_part *k = &g->layout.k;
    return (int64_t *)(void *)(memory + block * k->block + head * k->head +
                               token * k->token + i * sizeof(int64_t));
}

static int64_t truth(uint32_t head, uint32_t token, uint32_t i)
{
    return (head * TOKENS + token) * DIM + i;
}

/* The producer's prompt of 16 tokens in blocks 0, 1, ... */
static char *fill(const struct segue_geometry *src)
{
    char *memory = calloc(1, segue_layout_bytes(&src->layout));
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t i = 0; i < DIM; i++)
                *element(src, memory, t / src->layout.block_tokens, h,
                         t % src->layout.block_tokens, i) = truth(h, t, i);
    return memory;
}

/* Into block `block` of the consumer's three; the other two, and gaps, stay -1. */
static void relay(const struct segue_geometry *src, const struct segue_geometry *dst,
                  uint32_t block)
{
    const uint32_t from[TOKENS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct segue_tokens a = {from, TOKENS, src->layout.block_tokens, 0};
    struct segue_tokens b = {&block, 1, TOKENS, 0};
    struct segue_span spans[2 * TOKENS];
    struct segue_plan plan;
    size_t n, len = segue_layout_bytes(&dst->layout);
    assert_ok(segue_plan_build(src, dst, &plan));
    assert_ok(segue_spans_bind(&plan, &a, &b, TOKENS, spans, 2 * TOKENS, &n));
    struct segue_transfer t = {plan.moves, plan.n_moves, spans, n};
    char *in = fill(src), *out = malloc(len);
    struct segue_extent src_at = {in, segue_layout_bytes(&src->layout)},
                        dst_at = {out, len};
    assert_ok(segue_transfer_check(&t, &src_at, 1, &dst_at, 1));
    memset(out, 0xff, len);
    struct segue_relayout r = {.transfer = &t, .src = &src_at, .dst = &dst_at};
    struct segue_relayout_at at = {0};
    segue_relayout_copy(&r, &at, UINT64_MAX);
    uint64_t written = 0;
    for (uint64_t i = 0; i < len / sizeof(int64_t); i++)
        written += ((int64_t *)(void *)out)[i] != -1;
    assert_int_equal(written, BLOCK);
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t k = 0; k < TOKENS; k++)
            for (uint32_t i = 0; i < DIM; i++)
                assert_int_equal(*element(dst, out, block, h, k, i), truth(h, k, i));
    free(in);
    free(out);
    segue_plan_free(&plan);
}

static void relay_named(const char *from, uint32_t tokens, const char *to)
{
    struct segue_geometry src = side(from, TOKENS / tokens, tokens);
    struct segue_geometry dst = side(to, BLOCKS, TOKENS);
    for (uint32_t block = 0; block < BLOCKS; block++)
        relay(&src, &dst, block);
}

static void hnd_blocks_into_nhd(void **state)
{
    relay_named("hnd", 16, "nhd");
}

static void sub_blocks_into_the_same_order(void **state)
{
    static const char *const orders[] = {"LBHNC", "BLHNC", "LBNHC", "BLNHC", "LHBNC"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        relay_named(orders[i], 4, orders[i]);
}

static void blocks_and_not_heads_are_chosen(void **state)
{
    relay_named("LHBNC", 16, "LHBNC");
    relay_named("LHBNC", 8, "LHBNC");
}

static void hnd_sub_blocks_into_nhd(void **state)
{
    relay_named("hnd", 4, "nhd");
}

static void nhd_into_others(void **state)
{
    static const char *const orders[] = {"LBHNC", "LHBNC", "BHLNC"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        relay_named("nhd", 16, orders[i]);
        relay_named("nhd", 8, orders[i]);
    }
}

/* Every other head of a cache with twice as many. */
static void blocks_with_gaps(void **state)
{
    struct segue_geometry src = side("hnd", 1, 16), dst = side("nhd", BLOCKS, TOKENS);
    dst.layout.k.head *= 2;
    dst.layout.k.token *= 2;
    dst.layout.k.block *= 2;
    dst.layout.k.layer *= 2;
    relay(&src, &dst, 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hnd_blocks_into_nhd),
    cmocka_unit_test(sub_blocks_into_the_same_order),
    cmocka_unit_test(blocks_and_not_heads_are_chosen),
    cmocka_unit_test(hnd_sub_blocks_into_nhd),
    cmocka_unit_test(nhd_into_others),
    cmocka_unit_test(blocks_with_gaps),
};
TEST_MAIN(tests)
