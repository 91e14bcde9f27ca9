/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in portable C, and 16-bit elements. */
#include "device/rows.h"

#include <string.h>

static void copy(const struct segue_rows *rows)
{
    for (uint64_t o = 0; o < rows->outer.count; o++) {
        char *dst = rows->dst + o * rows->outer.dst;
        const char *src = rows->src + o * rows->outer.src;
        for (uint64_t i = 0; i < rows->inner.count; i++) {
            memcpy(dst, src, rows->run);
            dst += rows->inner.dst;
            src += rows->inner.src;
        }
    }
}

static void stream(const struct segue_rows *sets, unsigned n, uint64_t inner,
                   uint64_t outer)
{
    for (unsigned k = 0; k < n; k++) {
        struct segue_rows rows = sets[k];
        rows.inner.count = inner;
        rows.outer.count = outer;
        copy(&rows);
    }
}

static void turn(const struct segue_turn *t)
{
    for (uint64_t l = 0; l < t->lead; l++) {
        struct segue_rows rows = {.dst = t->dst + l * t->run,
                                  .src = t->src + l * t->lead_src,
                                  .run = t->run,
                                  .inner = {t->near, t->near_src, t->run * t->lead},
                                  .outer = {t->far, t->far_src, t->far_dst}};
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

static float widen_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) /* infinity or NaN; a NaN comes out quiet */
        return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13 |
                        (rest > 0x7c00 ? 0x400000 : 0));
    if (rest >= 0x400)
        return float_of(sign | ((rest << 13) + ((127 - 15) << 23)));
    return float_of(sign | bits_of((float)rest * 0x1p-24F));
}

static uint16_t narrow_half(float value)
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

static float widen_brain(uint16_t brain)
{
    return float_of((uint32_t)brain << 16);
}

static uint16_t narrow_brain(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)round_off(bits, 16);
}

static void widen(void *dst, const void *src, size_t n, float (*one)(uint16_t))
{
    for (size_t i = 0; i < n; i++) {
        uint16_t narrow;
        memcpy(&narrow, (const char *)src + 2 * i, 2);
        float wide = one(narrow);
        memcpy((char *)dst + 4 * i, &wide, 4);
    }
}

static void narrow(void *dst, const void *src, size_t n, uint16_t (*one)(float))
{
    for (size_t i = 0; i < n; i++) {
        float wide;
        memcpy(&wide, (const char *)src + 4 * i, 4);
        uint16_t narrow = one(wide);
        memcpy((char *)dst + 2 * i, &narrow, 2);
    }
}

static void half_to_float(void *dst, const void *src, size_t n)
{
    widen(dst, src, n, widen_half);
}

static void float_to_half(void *dst, const void *src, size_t n)
{
    narrow(dst, src, n, narrow_half);
}

static void brain_to_float(void *dst, const void *src, size_t n)
{
    widen(dst, src, n, widen_brain);
}

static void float_to_brain(void *dst, const void *src, size_t n)
{
    narrow(dst, src, n, narrow_brain);
}

const struct segue_rows_ops segue_rows_portable = {
    .name = "portable",
    .copy = copy,
    .stream = stream,
    .turn = turn,
    .fence = fence,
    .half_to_float = half_to_float,
    .float_to_half = float_to_half,
    .brain_to_float = brain_to_float,
    .float_to_brain = float_to_brain,
};
