/* SPDX-License-Identifier: Apache-2.0 */
/* Who converts: the order in which pieces travel, for devices with strides and without. */
#include "test.h"
#include "kv/plan.h"

#include <string.h>

static struct segue_geometry side(const char *order, uint32_t block, uint32_t heads)
{
    struct segue_geometry g = {.layers_total = 4, .heads_total = 8};
    assert_ok(
        segue_layout_named(order, SEGUE_DTYPE_FP16, 4, 10, block, heads, 64, &g.layout));
    return g;
}

static struct segue_cost cost_of(struct segue_geometry src, bool src_strided,
                                 struct segue_geometry dst, bool dst_strided, double link)
{
    struct segue_cost cost;
    struct segue_cost_input in = {.src = &src,
                                  .dst = &dst,
                                  .src_strided = src_strided,
                                  .dst_strided = dst_strided,
                                  .copy_gbps = 10,
                                  .link_gbps = link};
    assert_ok(segue_plan_cost(&in, &cost));
    return cost;
}

static void says(const struct segue_cost *cost, const char *words)
{
    if (!strstr(cost->why, words))
        fail_msg("'%s' does not say '%s'", cost->why, words);
}

/* The side whose engine knows no strides has pieces in its own order. */
static void the_poor_engine_copies_as_it_lies(void **state)
{
    struct segue_cost cost = cost_of(side("nhd", 128, 8), false, side("hnd", 16, 8), true,
                                     10);
    assert_int_equal(cost.order, SEGUE_WIRE_BY_TOKEN);
    says(&cost, "wire by token, the consumer scatters");
    cost = cost_of(side("hnd", 16, 8), true, side("nhd", 128, 8), false, 10);
    assert_int_equal(cost.order, SEGUE_WIRE_BY_TOKEN);
    says(&cost, "the producer gathers");
    cost = cost_of(side("hnd", 16, 8), false, side("nhd", 128, 8), true, 10);
    assert_int_equal(cost.order, SEGUE_WIRE_BY_HEAD);
    says(&cost, "the consumer scatters");
}

static void equal_orders_need_no_conversion(void **state)
{
    struct segue_cost cost = cost_of(side("nhd", 16, 8), true, side("nhd", 64, 8), true,
                                     10);
    assert_int_equal(cost.order, SEGUE_WIRE_BY_TOKEN);
    says(&cost, "both copy as it lies");
    cost = cost_of(side("hnd", 16, 8), true, side("hnd", 64, 8), true, 10);
    assert_int_equal(cost.order, SEGUE_WIRE_BY_HEAD);
}

static void a_slow_link_is_named(void **state)
{
    struct segue_cost cost = cost_of(side("nhd", 16, 8), true, side("hnd", 64, 8), true,
                                     1);
    says(&cost, "the link is slower");
    cost = cost_of(side("nhd", 16, 8), true, side("hnd", 64, 8), true, 10);
    assert_null(strstr(cost.why, "link"));
}

/* Half of the heads are no contiguous tokens: an engine without strides has no good order. */
static void slices_of_heads(void **state)
{
    struct segue_cost cost = cost_of(side("nhd", 128, 8), false, side("hnd", 16, 4), true,
                                     10);
    assert_true(cost.passes[0][SEGUE_WIRE_BY_TOKEN] > 2);
    assert_true(cost.passes[0][SEGUE_WIRE_BY_HEAD] > 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_poor_engine_copies_as_it_lies),
    cmocka_unit_test(equal_orders_need_no_conversion),
    cmocka_unit_test(a_slow_link_is_named),
    cmocka_unit_test(slices_of_heads),
};
TEST_MAIN(tests)
