/* SPDX-License-Identifier: Apache-2.0 */
/* Named orders, their names back, and strides that cannot be. */
#include "test.h"

#include <segue/layout.h>
#include <string.h>

static struct segue_layout named(const char *order)
{
    struct segue_layout layout;
    assert_ok(segue_layout_named(order, SEGUE_DTYPE_BF16, 3, 10, 16, 4, 64, &layout));
    return layout;
}

static void orders_and_their_names(void **state)
{
    static const char *const rows[][2] = {
        {"LBHNC", "hnd"},   {"hnd", "hnd"},     {"LBNHC", "nhd"},   {"nhd", "nhd"},
        {"LHBNC", "LHBNC"}, {"BLHNC", "BLHNC"}, {"BLNHC", "BLNHC"}, {"BHLNC", "BHLNC"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_layout layout = named(rows[i][0]);
        assert_ok(segue_layout_check(&layout));
        assert_string_equal(segue_layout_name(&layout), rows[i][1]);
        assert_int_equal(segue_layout_bytes(&layout), 3 * 10 * 16 * 4 * 64 * 2 * 2);
        assert_int_equal(layout.v.offset, 128);
    }
    struct segue_layout hnd = named("hnd");
    assert_int_equal(hnd.k.token, 256);
    assert_int_equal(hnd.k.head, 16 * 256);
    assert_int_equal(hnd.k.block, 4 * 16 * 256);
    assert_int_equal(hnd.k.layer, 10 * 4 * 16 * 256);
    hnd.k.block = hnd.v.block = hnd.k.block + 64;
    hnd.k.layer = hnd.v.layer = hnd.k.block * 10;
    assert_ok(segue_layout_check(&hnd));
    assert_string_equal(segue_layout_name(&hnd), "strided");
}

/* A 2 says where K and V part; see the table in segue/layout.h. */
static void k_and_v_part_anywhere(void **state)
{
    struct segue_layout halves = named("LBH2NC"), blocks = named("LB2NHC");
    struct segue_layout apart = named("L2BNHC"), token = named("LBNH2C"), unequal;
    assert_int_equal(halves.v.offset, 16 * 128);
    assert_int_equal(halves.k.token, 128);
    assert_int_equal(halves.k.head, 2 * 16 * 128);
    assert_string_equal(segue_layout_name(&halves), "LBH2NC");
    assert_int_equal(blocks.v.offset, 16 * 4 * 128);
    assert_int_equal(blocks.k.block, 2 * 16 * 4 * 128);
    assert_string_equal(segue_layout_name(&blocks), "LB2NHC");
    assert_int_equal(apart.v.offset, 10 * 16 * 4 * 128);
    assert_int_equal(apart.k.block, 16 * apart.k.token); /* [B * N, H, D] */
    assert_string_equal(segue_layout_name(&apart), "L2BNHC");
    assert_string_equal(segue_layout_name(&token), "nhd");
    assert_ok(
        segue_layout_sized("LBH2NC", SEGUE_DTYPE_BF16, 3, 10, 16, 4, 192, 128, &unequal));
    assert_ok(segue_layout_check(&unequal));
    assert_int_equal(unequal.k.token, 384);
    assert_int_equal(unequal.v.token, 256);
    assert_int_equal(unequal.v.offset, 16 * 384);
    assert_int_equal(unequal.k.head, 16 * (384 + 256));
    assert_ok(
        segue_layout_sized("nhd", SEGUE_DTYPE_BF16, 3, 10, 16, 1, 576, 0, &unequal));
    assert_ok(segue_layout_check(&unequal));
    assert_int_equal(segue_layout_bytes(&unequal), 3 * 10 * 16 * 576 * 2);
    static const char *const bad[] = {"LBHN",  "LBHNC2", "LBNC",  "LLBHNC", "2LBH2NC",
                                      "LBHNX", "",       "LBHCN", "lbhnc"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_status(
            segue_layout_named(bad[i], SEGUE_DTYPE_BF16, 1, 1, 1, 1, 8, &unequal),
            SEGUE_E_INVALID);
}

static void bad_numbers_are_named(void **state)
{
    struct segue_layout out;
    assert_status(segue_layout_named("BHND", SEGUE_DTYPE_BF16, 1, 1, 1, 1, 1, &out),
                  SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "'BHND'"));
    assert_status(segue_layout_named(NULL, SEGUE_DTYPE_BF16, 1, 1, 1, 1, 1, &out),
                  SEGUE_E_INVALID);
    assert_status(segue_layout_named("hnd", SEGUE_DTYPE_BF16, 1, 1, 0, 1, 1, &out),
                  SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "tokens"));
    assert_status(segue_layout_named("hnd", (enum segue_dtype)7, 1, 1, 1, 1, 1, &out),
                  SEGUE_E_INVALID);
    assert_status(segue_layout_named("hnd", SEGUE_DTYPE_FP32, INT32_MAX, INT32_MAX,
                                     INT32_MAX, INT32_MAX, INT32_MAX, &out),
                  SEGUE_E_INVALID);
    assert_status(segue_layout_named("hnd", SEGUE_DTYPE_FP32, INT32_MAX, INT32_MAX,
                                     INT32_MAX, INT32_MAX, 64, &out),
                  SEGUE_E_RANGE);
}

static void shared_bytes_are_refused(void **state)
{
    struct segue_layout layout = named("hnd");
    layout.k.head -= 1;
    layout.v.head -= 1;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("hnd");
    layout.v.offset = 64;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("nhd");
    layout.v.offset = 0;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("nhd");
    layout.v.offset = 256 + 128; /* the V of the next head's room */
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("nhd");
    layout.k.block = 0;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
}

/* What a peer may send: nothing of it may pass, or hang. */
static void hostile_numbers_are_refused(void **state)
{
    struct segue_layout layout = named("hnd");
    layout.k.layer = UINT64_MAX;
    assert_status(segue_layout_check(&layout), SEGUE_E_RANGE);
    layout = named("hnd");
    layout.k.offset = UINT64_MAX - 8;
    assert_status(segue_layout_check(&layout), SEGUE_E_RANGE);
    assert_int_equal(segue_layout_bytes(&layout), 0);
    layout = named("hnd");
    layout.layers = UINT32_MAX;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("hnd");
    layout.k.bytes = layout.v.bytes = UINT32_MAX - 1;
    assert_true(segue_layout_check(&layout) < 0);
    layout = named("hnd");
    layout.k.bytes = 127;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("hnd");
    layout.size = 8;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    layout = named("hnd");
    layout.heads = 0;
    assert_int_equal(segue_layout_bytes(&layout), 0);
}

static void parts_may_lie_apart(void **state)
{
    struct segue_layout layout = named("hnd");
    /* [2, B, H, N, D]: tensors of their own */
    struct segue_layout_part part = {.bytes = 128, .token = 128, .head = 16 * 128};
    part.block = 4 * part.head;
    part.layer = 20 * part.block;
    layout.k = layout.v = part;
    layout.v.offset = 10 * part.block;
    assert_ok(segue_layout_check(&layout));
    layout.v.offset -= 1;
    assert_status(segue_layout_check(&layout), SEGUE_E_INVALID);
    /* V first, and layers in regions of their own */
    layout.v.offset = 0;
    layout.k.offset = 10 * part.block;
    layout.k.layer = layout.v.layer = 0;
    assert_ok(segue_layout_check(&layout));
    /* MLA: no V at all */
    layout.v = (struct segue_layout_part){0};
    layout.heads = 1;
    assert_ok(segue_layout_check(&layout));
}

static void types_have_sizes_and_names(void **state)
{
    static const enum segue_dtype types[] = {SEGUE_DTYPE_BYTES,    SEGUE_DTYPE_FP32,
                                             SEGUE_DTYPE_FP16,     SEGUE_DTYPE_BF16,
                                             SEGUE_DTYPE_FP8_E4M3, SEGUE_DTYPE_FP8_E5M2};
    static const uint32_t sizes[] = {1, 4, 2, 2, 1, 1};
    for (int i = 0; i < 6; i++) {
        enum segue_dtype found;
        assert_int_equal(segue_dtype_size(types[i]), sizes[i]);
        assert_ok(segue_dtype_find(segue_dtype_name(types[i]), &found));
        assert_int_equal(found, types[i]);
    }
    enum segue_dtype found;
    assert_ok(segue_dtype_find("fp8", &found));
    assert_int_equal(found, SEGUE_DTYPE_FP8_E4M3);
    assert_status(segue_dtype_find("int8", &found), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "'int8'"));
    assert_int_equal(segue_dtype_size((enum segue_dtype)99), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(orders_and_their_names),
    cmocka_unit_test(k_and_v_part_anywhere),
    cmocka_unit_test(bad_numbers_are_named),
    cmocka_unit_test(shared_bytes_are_refused),
    cmocka_unit_test(hostile_numbers_are_refused),
    cmocka_unit_test(parts_may_lie_apart),
    cmocka_unit_test(types_have_sizes_and_names),
};
TEST_MAIN(tests)
