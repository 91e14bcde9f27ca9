/* SPDX-License-Identifier: Apache-2.0 */
/* Conversion of elements: fp8 in portable C, the 16-bit types by the table of the CPU. */
#include "device/convert.h"

#include <segue/layout.h>
#include <string.h>

enum { TILE = 256 }; /* elements that are floats at one time */

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

/* One of the fp8 types: sign, exponent, mantissa. */
struct small {
    unsigned mantissa; /* bits */
    unsigned bias;
    uint32_t most, infinity; /* the largest number; what lies above it is no number */
};

static const struct small e4m3 = {3, 7, 0x7e, 0x80};
static const struct small e5m2 = {2, 15, 0x7b, 0x7c};

/* The bits stand where a float has its own; what is missing in the exponent is a factor,
 * which is exact for subnormals too. */
static float widen(const struct small *kind, uint8_t byte)
{
    uint32_t rest = byte & 0x7f, sign = (uint32_t)(byte & 0x80) << 24;
    float factor = float_of((127 + 127 - kind->bias) << 23);
    if (rest == 0x7f || rest > kind->infinity)
        return float_of(sign | 0x7fc00000);
    if (rest == kind->infinity)
        return float_of(sign | 0x7f800000);
    return float_of(sign | bits_of(float_of(rest << (23 - kind->mantissa)) * factor));
}

/* Drops `shift` low bits, rounding to nearest, ties to even. */
static uint32_t round_off(uint32_t bits, unsigned shift)
{
    uint32_t odd = bits >> shift & 1;
    return (bits + (UINT32_C(1) << (shift - 1)) - 1 + odd) >> shift;
}

static uint8_t narrow(const struct small *kind, float value)
{
    uint32_t bits = bits_of(value), rest = bits & 0x7fffffff;
    uint32_t sign = bits >> 24 & 0x80, least = 128 - kind->bias, exponent = rest >> 23;
    unsigned shift = 23 - kind->mantissa;
    uint32_t out = 0;
    if (rest > 0x7f800000)
        return (uint8_t)(sign | 0x7f);
    if (exponent >= least)
        out = round_off(rest - ((127 - kind->bias) << 23), shift);
    else if (shift + least - exponent <= 24) /* subnormal, or rounded up to the least */
        out = round_off((rest & 0x7fffff) | 0x800000, shift + least - exponent);
    return (uint8_t)(sign | (out < kind->most ? out : kind->most));
}

static void to_float(const struct segue_rows_ops *ops, float *dst, const char *src,
                     int from, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)src;
    switch (from) {
    case SEGUE_DTYPE_FP32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case SEGUE_DTYPE_FP16:
        ops->half_to_float(dst, src, n);
        break;
    case SEGUE_DTYPE_BF16:
        ops->brain_to_float(dst, src, n);
        break;
    case SEGUE_DTYPE_FP8_E4M3:
        for (size_t i = 0; i < n; i++)
            dst[i] = widen(&e4m3, bytes[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            dst[i] = widen(&e5m2, bytes[i]);
    }
}

static void from_float(const struct segue_rows_ops *ops, char *dst, int to,
                       const float *src, size_t n)
{
    uint8_t *bytes = (uint8_t *)dst;
    switch (to) {
    case SEGUE_DTYPE_FP32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case SEGUE_DTYPE_FP16:
        ops->float_to_half(dst, src, n);
        break;
    case SEGUE_DTYPE_BF16:
        ops->float_to_brain(dst, src, n);
        break;
    case SEGUE_DTYPE_FP8_E4M3:
        for (size_t i = 0; i < n; i++)
            bytes[i] = narrow(&e4m3, src[i]);
        break;
    default:
        for (size_t i = 0; i < n; i++)
            bytes[i] = narrow(&e5m2, src[i]);
    }
}

void segue_convert(const struct segue_rows_ops *ops, char *dst, int to, const char *src,
                   int from, uint64_t n, float scale)
{
    size_t src_size = segue_dtype_size((enum segue_dtype)from);
    size_t dst_size = segue_dtype_size((enum segue_dtype)to);
    float wide[TILE];
    for (uint64_t i = 0; i < n; i += TILE) {
        size_t some = n - i < TILE ? (size_t)(n - i) : TILE;
        to_float(ops, wide, src + i * src_size, from, some);
        for (size_t k = 0; scale != 0 && k < some; k++)
            wide[k] *= scale;
        from_float(ops, dst + i * dst_size, to, wide, some);
    }
}
