/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in portable C, and the conversion of elements. */
#include "device/rows.h"

#include <segue/layout.h>
#include <string.h>

static void copy(const struct segue_rows *rows)
{
    char *dst = rows->dst;
    const char *src = rows->src;
    for (uint64_t i = 0; i < rows->n; i++) {
        memcpy(dst, src, rows->run);
        dst += rows->dst_step;
        src += rows->src_step;
    }
}

static void turn(const struct segue_turn *t)
{
    for (uint64_t f = 0; f < t->far; f++) {
        struct segue_rows rows = {t->dst + f * t->far_dst,
                                  t->src + f * t->far_src,
                                  t->run,
                                  t->near_src,
                                  t->run,
                                  t->near};
        copy(&rows);
    }
}

static void fence(void)
{
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Drops `shift` low bits, rounding to nearest, ties to even. */
static uint32_t round_off(uint32_t bits, unsigned shift)
{
    uint32_t odd = bits >> shift & 1;
    return (bits + (UINT32_C(1) << (shift - 1)) - 1 + odd) >> shift;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) /* infinity or NaN; a NaN comes out quiet */
        return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13 |
                        (rest > 0x7c00 ? 0x400000 : 0));
    if (rest >= 0x400)
        return float_of(sign | ((rest << 13) + ((127 - 15) << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-24F));
}

static uint16_t float_to_half(float value)
{
    uint32_t bits = bits_of(value), rest = bits & 0x7fffffff;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (rest > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x1ff));
    if (rest >= 0x47800000) /* 65536 and more, infinity */
        return sign | 0x7c00;
    if (rest >= 0x38800000) /* normal in 16 bits; rounding may carry into infinity */
        return (uint16_t)(sign | round_off(rest - ((127 - 15) << 23), 13));
    if (rest < 0x33000000) /* below half of the least subnormal */
        return sign;
    uint32_t mantissa = (rest & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | round_off(mantissa, 126 - (rest >> 23)));
}

static void widen(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = half_to_float(src[i]);
}

static void narrow(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = float_to_half(src[i]);
}

const struct segue_rows_ops segue_rows_portable = {copy,  copy,  turn,
                                                   fence, widen, narrow};

static void widen_brain(float *dst, const uint16_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = float_of((uint32_t)src[i] << 16);
}

static void narrow_brain(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(src[i]);
        uint32_t nan = bits >> 16 | 0x40;
        dst[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : round_off(bits, 16));
    }
}

/* A stack's worth of elements at a time, each side copied in and out so that neither need
 * be aligned. */
void segue_rows_convert(const struct segue_rows_ops *ops, char *dst, int to,
                        const char *src, int from, uint64_t n)
{
    float wide[256];
    uint16_t half[256];
    while (n > 0) {
        size_t some = n < 256 ? (size_t)n : 256;
        size_t src_bytes = some * (from == SEGUE_DTYPE_FP32 ? 4 : 2);
        size_t dst_bytes = some * (to == SEGUE_DTYPE_FP32 ? 4 : 2);
        memcpy(from == SEGUE_DTYPE_FP32 ? (void *)wide : half, src, src_bytes);
        if (from == SEGUE_DTYPE_FP16)
            ops->widen(wide, half, some);
        else if (from == SEGUE_DTYPE_BF16)
            widen_brain(wide, half, some);
        if (to == SEGUE_DTYPE_FP16)
            ops->narrow(half, wide, some);
        else if (to == SEGUE_DTYPE_BF16)
            narrow_brain(half, wide, some);
        memcpy(dst, to == SEGUE_DTYPE_FP32 ? (void *)wide : half, dst_bytes);
        src += src_bytes;
        dst += dst_bytes;
        n -= some;
    }
}
