/* SPDX-License-Identifier: Apache-2.0 */
/* How short plans get, what selection reads from them, and pairs that do not fit.
 * Whether plans are right is held by the property suite. */
#include "test.h"
#include "kv/plan.h"

#include <string.h>

static struct segue_geometry side(const char *order, uint32_t block_tokens,
                                  uint32_t head_first, uint32_t heads)
{
    struct segue_geometry g = {
        .layers_total = 30, .head_first = head_first, .heads_total = 8};
    assert_ok(segue_layout_named(order, SEGUE_DTYPE_BF16, 30, 1000, block_tokens, heads,
                                 64, &g.layout));
    return g;
}

static struct segue_plan plan_of(struct segue_geometry src, struct segue_geometry dst)
{
    struct segue_plan plan;
    assert_ok(segue_plan_build(&src, &dst, &plan));
    return plan;
}

static void equal_layouts_are_one_move(void **state)
{
    struct segue_plan plan = plan_of(side("nhd", 16, 0, 8), side("nhd", 16, 0, 8));
    assert_int_equal(plan.n_moves, 1);
    assert_int_equal(plan.moves[0].dims, 1);
    assert_int_equal(plan.moves[0].outer, 1);
    assert_int_equal(plan.moves[0].run, 8 * 256);
    assert_int_equal(plan.run, 16 * 8 * 256);
    assert_int_equal(plan.src_run, 16 * 8 * 256);
    assert_int_equal(plan.bytes_per_token, 30 * 8 * 256);
    assert_false(plan.converts);
    segue_plan_free(&plan);
    plan = plan_of(side("hnd", 16, 0, 8), side("hnd", 16, 0, 8));
    assert_int_equal(plan.run, 16 * 8 * 256);
    segue_plan_free(&plan);
}

static void heterogeneous_pairs_are_one_move_too(void **state)
{
    struct segue_plan plan = plan_of(side("nhd", 128, 0, 8), side("hnd", 16, 0, 4));
    assert_int_equal(plan.n_moves, 1);
    assert_int_equal(plan.run, 256);
    assert_int_equal(plan.src_run, 4 * 256);
    assert_int_equal(plan.dst_run, 16 * 4 * 256);
    assert_int_equal(plan.bytes_per_token, 30 * 4 * 256);
    segue_plan_free(&plan);
}

static void layers_of_their_own_are_a_move_each(void **state)
{
    struct segue_layer layer[30];
    for (uint32_t i = 0; i < 30; i++)
        layer[i] = (struct segue_layer){i, 0};
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = src;
    src.layer = layer;
    src.layout.k.layer = src.layout.v.layer = 0;
    struct segue_plan plan = plan_of(src, dst);
    assert_int_equal(plan.n_moves, 30);
    assert_int_equal(plan.moves[7].src_region, 7);
    assert_int_equal(plan.moves[7].dst_offset, 7 * dst.layout.k.layer);
    segue_plan_free(&plan);
}

static void no_overlap_is_an_empty_plan(void **state)
{
    struct segue_plan plan = plan_of(side("nhd", 16, 0, 4), side("nhd", 16, 4, 4));
    assert_int_equal(plan.n_moves, 0);
    assert_int_equal(plan.bytes_per_token, 0);
    segue_plan_free(&plan);
}

static void refuse(struct segue_geometry src, struct segue_geometry dst, const char *a,
                   const char *b)
{
    struct segue_plan plan;
    assert_status(segue_plan_build(&src, &dst, &plan), SEGUE_E_MISMATCH);
    assert_non_null(strstr(segue_error_detail(), a));
    assert_non_null(strstr(segue_error_detail(), b));
}

static void mismatches_name_both_values(void **state)
{
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = side("hnd", 16, 0, 8);
    struct segue_geometry other = dst;
    other.layers_total = 32;
    refuse(src, other, "30 layers", "32");
    other = dst;
    other.heads_total = 9;
    refuse(src, other, "8 KV heads", "9");
    other = dst;
    assert_ok(
        segue_layout_named("hnd", SEGUE_DTYPE_BF16, 30, 10, 16, 8, 128, &other.layout));
    refuse(src, other, "64 elements", "128");
    other = dst;
    other.layout.v.bytes = 0;
    refuse(src, other, "64 elements in a head of V", "0");
    other = dst;
    other.layout.dtype = SEGUE_DTYPE_BYTES;
    refuse(src, other, "bf16", "bytes");
}

static void unsound_sides_are_refused(void **state)
{
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = side("hnd", 16, 0, 8);
    struct segue_plan plan;
    src.head_first = 1;
    assert_status(segue_plan_build(&src, &dst, &plan), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "producer"));
    src = side("nhd", 16, 0, 8);
    dst.layer_first = UINT32_MAX;
    assert_status(segue_plan_build(&src, &dst, &plan), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "consumer"));
    dst = side("hnd", 16, 0, 8);
    dst.layout.k.layer = dst.layout.v.layer = 0;
    assert_status(segue_plan_build(&src, &dst, &plan), SEGUE_E_INVALID);
    struct segue_layer layer[30] = {{0, UINT64_MAX}};
    dst.layer = layer;
    assert_status(segue_plan_build(&src, &dst, &plan), SEGUE_E_RANGE);
}

static void conversion_is_recorded(void **state)
{
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = src;
    assert_ok(
        segue_layout_named("nhd", SEGUE_DTYPE_FP32, 30, 10, 16, 8, 64, &dst.layout));
    struct segue_plan plan = plan_of(src, dst);
    assert_true(plan.converts);
    assert_int_equal(plan.moves[0].from, SEGUE_DTYPE_BF16);
    assert_int_equal(plan.moves[0].to, SEGUE_DTYPE_FP32);
    assert_int_equal(plan.moves[0].run, 8 * 256);
    segue_plan_free(&plan);
}

static void spans_stop_at_both_sides_blocks(void **state)
{
    const uint32_t from[] = {7, 3}, to[] = {1, 9, 4};
    struct segue_tokens src = {from, 2, 12, 3}, dst = {to, 3, 8, 3};
    struct segue_span spans[16];
    size_t n;
    assert_ok(segue_spans_bind(NULL, &src, &dst, 20, spans, 16, &n));
    const struct segue_span want[] = {
        {.src_block = 7, .src_token = 3, .dst_block = 1, .dst_token = 3, .tokens = 5},
        {.src_block = 7, .src_token = 8, .dst_block = 9, .dst_token = 0, .tokens = 4},
        {.src_block = 3, .src_token = 0, .dst_block = 9, .dst_token = 4, .tokens = 4},
        {.src_block = 3, .src_token = 4, .dst_block = 4, .dst_token = 0, .tokens = 7}};
    assert_int_equal(n, 4);
    assert_memory_equal(spans, want, sizeof want);
    assert_true(segue_spans_max(&src, &dst, 20) >= 4);
    assert_status(segue_spans_bind(NULL, &src, &dst, 20, spans, 3, &n), SEGUE_E_RANGE);
}

/* How many spans 1,000 tokens need whose blocks are 0, 1, 2, ... on both sides. */
static size_t spans_of(const char *src_order, uint32_t src_block, const char *dst_order,
                       uint32_t dst_block, struct segue_span *first)
{
    static struct segue_span spans[2000];
    static uint32_t ids[1000];
    struct segue_plan plan = plan_of(side(src_order, src_block, 0, 8),
                                     side(dst_order, dst_block, 0, 8));
    struct segue_tokens src = {ids, 1000, src_block, 0}, dst = {ids, 1000, dst_block, 0};
    size_t n;
    for (uint32_t i = 0; i < 1000; i++)
        ids[i] = i;
    assert_ok(segue_spans_bind(&plan, &src, &dst, 1000, spans, 2000, &n));
    const struct segue_transfer t = {NULL, 0, spans, n};
    assert_int_equal(segue_transfer_bytes(&t), 0);
    *first = spans[0];
    segue_plan_free(&plan);
    return n;
}

static void consecutive_blocks_need_no_span_each(void **state)
{
    struct segue_span span;
    assert_int_equal(spans_of("nhd", 16, "nhd", 128, &span), 1);
    assert_int_equal(span.tokens, 1000);
    assert_int_equal(spans_of("hnd", 20, "hnd", 20, &span), 1);
    assert_int_equal(span.tokens, 20);
    assert_int_equal(span.more, 49);
    assert_int_equal(span.src_block_step, 1);
    assert_int_equal(span.dst_block_step, 1);
    /* The linear side helps the other to even steps; where 128 does not end on 20 there
     * are two shorter spans between them. */
    assert_int_equal(spans_of("nhd", 128, "hnd", 20, &span), 19);
    assert_int_equal(spans_of("nhd", 120, "hnd", 20, &span), 1);
    assert_int_equal(span.src_token_step, 20);
    assert_int_equal(spans_of("hnd", 16, "nhd", 128, &span), 2);
    assert_int_equal(span.more, 61);
    /* Neither linear: one a larger block. */
    assert_int_equal(spans_of("hnd", 125, "hnd", 25, &span), 8);
}

static void groups_must_agree(void **state)
{
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = src;
    dst.group = 1;
    refuse(src, dst, "group 0", "group 1");
    dst = src;
    dst.kind = SEGUE_STATE_WINDOW;
    dst.window = 512;
    refuse(src, dst, "every token", "a sliding window");
    src.kind = SEGUE_STATE_WINDOW;
    src.window = 256;
    refuse(src, dst, "256", "512");
}

/* fp8 with scales of its own in each layer: a move for each that differs. */
static void scales_are_carried_over(void **state)
{
    struct segue_geometry src = side("nhd", 16, 0, 8), dst = src;
    float scale[60];
    for (int i = 0; i < 60; i++)
        scale[i] = 0.5F;
    src.scale = scale;
    struct segue_plan plan = plan_of(src, dst);
    assert_int_equal(plan.n_moves, 1);
    assert_true(plan.converts && plan.moves[0].scale == 0.5F);
    segue_plan_free(&plan);
    dst.scale = scale;
    plan = plan_of(src, dst);
    assert_false(plan.converts);
    segue_plan_free(&plan);
    dst.scale = NULL;
    scale[2 * 7] = 2; /* K of layer 7 */
    plan = plan_of(src, dst);
    assert_int_equal(plan.n_moves, 4);
    assert_true(plan.moves[1].scale == 2 && plan.moves[3].scale == 0.5F);
    segue_plan_free(&plan);
}

static void short_lists_are_named(void **state)
{
    const uint32_t blocks[] = {0, 1};
    struct segue_tokens src = {blocks, 2, 16, 0}, dst = {blocks, 2, 12, 0};
    struct segue_span spans[8];
    size_t n;
    assert_status(segue_spans_bind(NULL, &src, &dst, 25, spans, 8, &n), SEGUE_E_RANGE);
    assert_non_null(strstr(segue_error_detail(), "destination"));
    src.first = UINT64_MAX;
    assert_status(segue_spans_bind(NULL, &src, &dst, 2, spans, 8, &n), SEGUE_E_RANGE);
    assert_non_null(strstr(segue_error_detail(), "source"));
    src.first = 0;
    src.block_tokens = 0;
    assert_status(segue_spans_bind(NULL, &src, &dst, 2, spans, 8, &n), SEGUE_E_INVALID);
    assert_int_equal(segue_spans_max(&dst, &dst, UINT64_MAX), SIZE_MAX);
    assert_ok(segue_spans_bind(NULL, &dst, &dst, 0, NULL, 0, &n));
    assert_int_equal(n, 0);
}

static void wire_is_checked(void **state)
{
    struct segue_geometry src = side("nhd", 128, 0, 8), dst = side("hnd", 16, 2, 3), wire;
    assert_ok(segue_geometry_wire(&src, &dst, 10, 5, 100, SEGUE_WIRE_BY_HEAD, &wire));
    assert_int_equal(wire.layer_first, 10);
    assert_int_equal(wire.head_first, 2);
    assert_int_equal(wire.layout.heads, 3);
    assert_int_equal(segue_layout_bytes(&wire.layout), 5 * 3 * 100 * 256);
    assert_status(segue_geometry_wire(&src, &dst, 28, 3, 100, SEGUE_WIRE_BY_HEAD, &wire),
                  SEGUE_E_RANGE);
    assert_status(segue_geometry_wire(&src, &dst, 0, 1, 0, SEGUE_WIRE_BY_HEAD, &wire),
                  SEGUE_E_INVALID);
    assert_status(segue_geometry_wire(&src, &dst, 0, 0, 1, SEGUE_WIRE_BY_HEAD, &wire),
                  SEGUE_E_INVALID);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_layouts_are_one_move),
    cmocka_unit_test(heterogeneous_pairs_are_one_move_too),
    cmocka_unit_test(layers_of_their_own_are_a_move_each),
    cmocka_unit_test(no_overlap_is_an_empty_plan),
    cmocka_unit_test(mismatches_name_both_values),
    cmocka_unit_test(unsound_sides_are_refused),
    cmocka_unit_test(conversion_is_recorded),
    cmocka_unit_test(spans_stop_at_both_sides_blocks),
    cmocka_unit_test(consecutive_blocks_need_no_span_each),
    cmocka_unit_test(groups_must_agree),
    cmocka_unit_test(scales_are_carried_over),
    cmocka_unit_test(short_lists_are_named),
    cmocka_unit_test(wire_is_checked),
};
TEST_MAIN(tests)
