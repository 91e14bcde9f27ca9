/* SPDX-License-Identifier: Apache-2.0 */
/* Strides of the six orders, and every element of 16 bits there and back. */
#include "device/convert.h"
#include "test.h"
#include "cache.h"
#include "fail.h"
#include "kernels.h"
#include <math.h>
#include <segue/layout.h>
#include <string.h>

static struct cache plan(enum cache_order order, enum cache_dtype dtype)
{
    const struct cache_shape shape = {.layers = 3,
                                      .blocks = 5,
                                      .block_tokens = 7,
                                      .kv_heads = 2,
                                      .head_dim = 8,
                                      .dtype = dtype,
                                      .order = order};
    struct cache cache;
    assert_int_equal(cache_plan(&cache, &shape), 0);
    return cache;
}

static void strides_follow_the_order(void **state)
{
    struct cache c = plan(CACHE_LBHNC, CACHE_FP32); /* row 64 */
    assert_int_equal(c.row_bytes, 64);
    assert_int_equal(c.token_stride, 64);
    assert_int_equal(c.head_stride, 7 * 64);
    assert_int_equal(c.block_stride, 2 * 7 * 64);
    assert_int_equal(c.layer_stride, 5 * 2 * 7 * 64);
    assert_int_equal(c.size, 3 * 5 * 2 * 7 * 64);
    c = plan(CACHE_LBNHC, CACHE_BF16); /* row 32 */
    assert_int_equal(c.head_stride, 32);
    assert_int_equal(c.token_stride, 2 * 32);
    assert_int_equal(c.block_stride, 7 * 2 * 32);
    c = plan(CACHE_BHLNC, CACHE_FP16);
    assert_int_equal(c.token_stride, 32);
    assert_int_equal(c.layer_stride, 7 * 32);
    assert_int_equal(c.head_stride, 3 * 7 * 32);
    assert_int_equal(c.block_stride, 2 * 3 * 7 * 32);
}

/* Each row of each order has a place of its own, and together they fill the cache. */
static void rows_tile_the_cache(void **state)
{
    static uint8_t bytes[3 * 5 * 7 * 2 * 64];
    for (int order = 0; order < CACHE_ORDERS; order++) {
        struct cache c = plan((enum cache_order)order, CACHE_FP32);
        assert_int_equal(c.size, sizeof bytes);
        memset(bytes, 0, sizeof bytes);
        c.base = bytes;
        for (uint32_t l = 0; l < 3; l++)
            for (uint32_t b = 0; b < 5; b++)
                for (uint32_t h = 0; h < 2; h++)
                    for (uint32_t t = 0; t < 7; t++) {
                        uint8_t *row = cache_row(&c, l, b, h, t);
                        assert_in_range(row - bytes, 0, sizeof bytes - c.row_bytes);
                        for (size_t i = 0; i < c.row_bytes; i++)
                            assert_int_equal(row[i]++, 0);
                    }
        for (size_t i = 0; i < sizeof bytes; i++)
            assert_int_equal(bytes[i], 1);
    }
}

static void shapes_that_cannot_be(void **state)
{
    struct cache out;
    const struct cache_shape good = {1, 1, 1, 1, 2, CACHE_FP32, CACHE_LBHNC};
    struct cache_shape shape = good;
    assert_int_equal(cache_plan(&out, &good), 0);
    shape.blocks = 0;
    assert_int_equal(cache_plan(&out, &shape), -1);
    shape = good;
    shape.head_dim = 3;
    assert_int_equal(cache_plan(&out, &shape), -1);
    shape = good;
    shape.dtype = CACHE_DTYPES;
    assert_int_equal(cache_plan(&out, &shape), -1);
    shape = (struct cache_shape){UINT32_MAX, UINT32_MAX, UINT32_MAX, 1,
                                 2,          CACHE_FP32, CACHE_LBHNC};
    assert_int_equal(cache_plan(&out, &shape), -1);
    assert_non_null(strstr(engine_error(), "larger than memory"));
}

static void names(void **state)
{
    enum cache_order order;
    enum cache_dtype dtype;
    for (int i = 0; i < CACHE_ORDERS; i++) {
        assert_int_equal(cache_order_parse(&order, cache_order_name((enum cache_order)i)),
                         0);
        assert_int_equal(order, i);
    }
    for (int i = 0; i < CACHE_DTYPES; i++) {
        assert_int_equal(cache_dtype_parse(&dtype, cache_dtype_name((enum cache_dtype)i)),
                         0);
        assert_int_equal(dtype, i);
    }
    assert_int_equal(cache_order_parse(&order, "nhd"), 0);
    assert_int_equal(order, CACHE_LBNHC);
    assert_int_equal(cache_order_parse(&order, "HND"), 0);
    assert_int_equal(order, CACHE_LBHNC);
    assert_int_equal(cache_order_parse(&order, "LBH"), -1);
    assert_int_equal(cache_dtype_parse(&dtype, "int8"), -1);
}

/* Nearest representable value, ties to even: checked against its two neighbours. */
static void rounding(const struct kernels *k, enum cache_dtype dtype)
{
    uint16_t codes[2], got;
    float around[2];
    uint32_t last = dtype == CACHE_FP16 ? 0x7bff : 0x7f7f; /* the largest finite one */
    for (uint32_t code = 0; code < last; code++) {
        codes[0] = (uint16_t)code;
        codes[1] = (uint16_t)(code + 1);
        k->decode(dtype, around, codes, 2);
        float middle = around[0] + (around[1] - around[0]) / 2;
        const struct {
            float value;
            uint32_t want;
        } cases[] = {{around[0], code},
                     {nextafterf(middle, 0), code},
                     {middle, code % 2 ? code + 1 : code},
                     {nextafterf(middle, INFINITY), code + 1},
                     {-around[1], (code + 1) | 0x8000}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            k->encode(dtype, &got, &cases[i].value, 1);
            if (got != cases[i].want && around[0] < middle && middle < around[1])
                fail_msg("%s: %a becomes %04x, not %04x", k->name, (double)cases[i].value,
                         got, cases[i].want);
        }
    }
    const float odd[] = {INFINITY, -INFINITY, 1e38f, -0.0f};
    uint16_t to[4];
    const uint16_t fp16[] = {0x7c00, 0xfc00, 0x7c00, 0x8000};
    k->encode(dtype, to, odd, 4);
    if (dtype == CACHE_FP16)
        assert_memory_equal(to, fp16, sizeof fp16);
    float nan = NAN, back;
    k->encode(dtype, &got, &nan, 1);
    k->decode(dtype, &back, &got, 1);
    assert_true(isnan(back));
}

static void sixteen_bits_in_c(void **state)
{
    rounding(kernels_portable(), CACHE_FP16);
    rounding(kernels_portable(), CACHE_BF16);
}

/* The vector code takes eight at a time: same bits as plain C, in any number. */
static void sixteen_bits_in_vectors(void **state)
{
    const struct kernels *fast = kernels_avx2(), *plain = kernels_portable();
    uint16_t a[19], b[19];
    float x[19], y[19];
    if (!fast)
        skip_because("this processor has no AVX2");
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t n = round % 19 + 1;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t bits = (round * 19 + i) * 2654435761u;
            memcpy(&x[i], &bits, 4);
            if (isnan(x[i]))
                x[i] = 1;
        }
        for (int dtype = CACHE_FP16; dtype <= CACHE_BF16; dtype++) {
            fast->encode((enum cache_dtype)dtype, a, x, n);
            plain->encode((enum cache_dtype)dtype, b, x, n);
            assert_memory_equal(a, b, n * 2);
            fast->decode((enum cache_dtype)dtype, x, a, n);
            plain->decode((enum cache_dtype)dtype, y, a, n);
            assert_memory_equal(x, y, n * 4);
        }
    }
}

/* The engine's fp8 is the library's, so that a hand-off between types rounds as the engine
 * would have. */
static void eight_bits_as_the_library(void **state)
{
    static const int types[] = {SEGUE_DTYPE_FP8_E4M3, SEGUE_DTYPE_FP8_E5M2};
    for (int t = 0; t < 2; t++)
        for (uint32_t i = 0; i < 1 << 16; i++) {
            enum cache_dtype dtype = (enum cache_dtype)(CACHE_FP8_E4M3 + t);
            uint32_t bits = i * 65551;
            uint8_t ours, theirs;
            float value, a, b;
            memcpy(&value, &bits, sizeof value);
            cache_encode(dtype, &ours, &value, 1);
            segue_convert(&segue_rows_portable, (char *)&theirs, types[t], (char *)&value,
                          SEGUE_DTYPE_FP32, 1, 0);
            assert_int_equal(ours, theirs);
            cache_decode(dtype, &a, &ours, 1);
            segue_convert(&segue_rows_portable, (char *)&b, SEGUE_DTYPE_FP32,
                          (char *)&theirs, types[t], 1, 0);
            assert_true(a == b || (isnan(a) && isnan(b)));
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(strides_follow_the_order),  cmocka_unit_test(rows_tile_the_cache),
    cmocka_unit_test(shapes_that_cannot_be),     cmocka_unit_test(names),
    cmocka_unit_test(eight_bits_as_the_library), cmocka_unit_test(sixteen_bits_in_c),
    cmocka_unit_test(sixteen_bits_in_vectors),
};
TEST_MAIN(tests)
