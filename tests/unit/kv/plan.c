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
    assert_ok(segue_spans_bind(&src, &dst, 20, spans, 16, &n));
    const struct segue_span want[] = {
        {7, 3, 1, 3, 5}, {7, 8, 9, 0, 4}, {3, 0, 9, 4, 4}, {3, 4, 4, 0, 7}};
    assert_int_equal(n, 4);
    assert_memory_equal(spans, want, sizeof want);
    assert_true(segue_spans_max(&src, &dst, 20) >= 4);
    assert_status(segue_spans_bind(&src, &dst, 20, spans, 3, &n), SEGUE_E_RANGE);
}

static void short_lists_are_named(void **state)
{
    const uint32_t blocks[] = {0, 1};
    struct segue_tokens src = {blocks, 2, 16, 0}, dst = {blocks, 2, 12, 0};
    struct segue_span spans[8];
    size_t n;
    assert_status(segue_spans_bind(&src, &dst, 25, spans, 8, &n), SEGUE_E_RANGE);
    assert_non_null(strstr(segue_error_detail(), "destination"));
    src.first = UINT64_MAX;
    assert_status(segue_spans_bind(&src, &dst, 2, spans, 8, &n), SEGUE_E_RANGE);
    assert_non_null(strstr(segue_error_detail(), "source"));
    src.first = 0;
    src.block_tokens = 0;
    assert_status(segue_spans_bind(&src, &dst, 2, spans, 8, &n), SEGUE_E_INVALID);
    assert_int_equal(segue_spans_max(&dst, &dst, UINT64_MAX), SIZE_MAX);
    assert_ok(segue_spans_bind(&dst, &dst, 0, NULL, 0, &n));
    assert_int_equal(n, 0);
}

static void wire_is_checked(void **state)
{
    struct segue_geometry src = side("nhd", 128, 0, 8), dst = side("hnd", 16, 2, 3), wire;
    assert_ok(segue_geometry_wire(&src, &dst, 10, 5, 100, &wire));
    assert_int_equal(wire.layer_first, 10);
    assert_int_equal(wire.head_first, 2);
    assert_int_equal(wire.layout.heads, 3);
    assert_int_equal(segue_layout_bytes(&wire.layout), 5 * 3 * 100 * 256);
    assert_status(segue_geometry_wire(&src, &dst, 28, 3, 100, &wire), SEGUE_E_RANGE);
    assert_status(segue_geometry_wire(&src, &dst, 0, 1, 0, &wire), SEGUE_E_INVALID);
    assert_status(segue_geometry_wire(&src, &dst, 0, 0, 1, &wire), SEGUE_E_INVALID);
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
    cmocka_unit_test(short_lists_are_named),
    cmocka_unit_test(wire_is_checked),
};
TEST_MAIN(tests)
