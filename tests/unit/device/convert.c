/* SPDX-License-Identifier: Apache-2.0 */
/* fp8 against a table made the slow way, and scales. The 16-bit types are relayout's. */
#include "test.h"
#include "device/convert.h"

#include <math.h>
#include <segue/layout.h>
#include <string.h>

/* The value of one byte, from the definition of the type. */
static double value_of(int type, unsigned byte)
{
    unsigned mantissa = type == SEGUE_DTYPE_FP8_E4M3 ? 3 : 2;
    int bias = type == SEGUE_DTYPE_FP8_E4M3 ? 7 : 15;
    int exponent = (int)(byte >> mantissa & (0x7fU >> mantissa));
    double part = (double)(byte & ((1U << mantissa) - 1)) / (1 << mantissa);
    double size = exponent ? ldexp(1 + part, exponent - bias) : ldexp(part, 1 - bias);
    if (type == SEGUE_DTYPE_FP8_E4M3 && (byte & 0x7f) == 0x7f)
        size = NAN;
    if (type == SEGUE_DTYPE_FP8_E5M2 && exponent == 31)
        size = part > 0 ? NAN : INFINITY;
    return byte & 0x80 ? -size : size;
}

/* The byte nearest to a value, even where two are; the largest for what lies beyond. */
static unsigned nearest(int type, double value)
{
    unsigned best = 0, sign = signbit(value) ? 0x80 : 0;
    double gap = INFINITY,
           most = value_of(type, type == SEGUE_DTYPE_FP8_E4M3 ? 0x7e : 0x7b);
    double size = fmin(fabs(value), most);
    for (unsigned byte = 0; byte < 0x80; byte++) {
        double off = fabs(value_of(type, byte) - size);
        if (isfinite(value_of(type, byte)) &&
            (off < gap || (off == gap && byte % 2 == 0))) {
            gap = off;
            best = byte;
        }
    }
    return sign | best;
}

static const int types[] = {SEGUE_DTYPE_FP8_E4M3, SEGUE_DTYPE_FP8_E5M2};

static void every_byte_has_its_value(void **state)
{
    for (int t = 0; t < 2; t++)
        for (unsigned i = 0; i < 256; i++) {
            uint8_t byte = (uint8_t)i;
            float got;
            double want = value_of(types[t], i);
            segue_convert(segue_rows_pick(), (char *)&got, SEGUE_DTYPE_FP32,
                          (char *)&byte, types[t], 1, 0);
            if (isnan(want))
                assert_true(isnan(got));
            else
                assert_true((double)got == want && !signbit(got) == !signbit(want));
        }
}

static void check_nearest(int type, float value)
{
    uint8_t byte;
    segue_convert(segue_rows_pick(), (char *)&byte, type, (char *)&value,
                  SEGUE_DTYPE_FP32, 1, 0);
    if (isnan(value))
        assert_int_equal(byte & 0x7f, 0x7f);
    else if (byte != nearest(type, value))
        fail_msg("%a became %02x, %02x is nearest", (double)value, byte,
                 nearest(type, value));
}

/* Every fp16 number, and around every value and every tie of both types. */
static void narrowing_takes_the_nearest(void **state)
{
    for (int t = 0; t < 2; t++) {
        for (unsigned i = 0; i < 0x10000; i++) {
            uint16_t half = (uint16_t)i;
            float value;
            segue_convert(&segue_rows_portable, (char *)&value, SEGUE_DTYPE_FP32,
                          (char *)&half, SEGUE_DTYPE_FP16, 1, 0);
            check_nearest(types[t], value);
        }
        for (unsigned i = 0; i < 0x7b; i++) {
            double low = value_of(types[t], i), high = value_of(types[t], i + 1);
            float tie = (float)((low + high) / 2);
            check_nearest(types[t], tie);
            check_nearest(types[t], nextafterf(tie, 0));
            check_nearest(types[t], -nextafterf(tie, INFINITY));
        }
        check_nearest(types[t], INFINITY);
        check_nearest(types[t], -1e30F);
        check_nearest(types[t], 1e-30F);
        check_nearest(types[t], 0x1p-149F);
    }
}

static void all_pairs_of_types_meet(void **state)
{
    static const int all[] = {SEGUE_DTYPE_FP32, SEGUE_DTYPE_FP16, SEGUE_DTYPE_BF16,
                              SEGUE_DTYPE_FP8_E4M3, SEGUE_DTYPE_FP8_E5M2};
    enum { N = 600 };
    float values[N], seen[N];
    char a[4 * N + 1], b[4 * N + 1];
    for (int i = 0; i < N; i++)
        values[i] = (float)(i % 8 - 4) * (i % 3 ? 0.5F : 8); /* exact in every type */
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++) {
            segue_convert(segue_rows_pick(), a + 1, all[i], (char *)values,
                          SEGUE_DTYPE_FP32, N, 0.5F);
            segue_convert(segue_rows_pick(), b + 1, all[k], a + 1, all[i], N, 4);
            segue_convert(segue_rows_pick(), (char *)seen, SEGUE_DTYPE_FP32, b + 1,
                          all[k], N, 0);
            for (int n = 0; n < N; n++)
                assert_true(seen[n] == 2 * values[n]);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_byte_has_its_value),
    cmocka_unit_test(narrowing_takes_the_nearest),
    cmocka_unit_test(all_pairs_of_types_meet),
};
TEST_MAIN(tests)
