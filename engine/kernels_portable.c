/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops in plain C: what every processor runs, and what the others must equal.
 */
#include "fp8.h"
#include "kernels.h"
#include <math.h>
#include <string.h>

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             mantissa = half & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent)
        return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float small = (float)mantissa * 0x1p-24f;
    return sign ? -small : small;
}

static uint16_t float_to_half(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
    if (size >= 0x477ff000) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) { /* subnormal: let the float adder round at 2^-24 */
        float shifted = float_of(size) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - 0x3f000000));
    }
    size += 0xfff + (size >> 13 & 1); /* nearest, ties to even */
    return (uint16_t)(sign | ((size - 0x38000000) >> 13));
}

static uint16_t float_to_brain(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float half_at(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, 2);
    return half_to_float(half);
}

static void dequantize(enum tensor_type type, float *to, const uint8_t *from, uint32_t n)
{
    switch (type) {
    case TENSOR_F32:
        memcpy(to, from, n * sizeof *to);
        return;
    case TENSOR_F16:
        for (uint32_t i = 0; i < n; i++)
            to[i] = half_at(from + 2 * i);
        return;
    case TENSOR_Q4_1: /* scale, least, 16 bytes: elements 0..15 low, 16..31 high */
        for (uint32_t b = 0; b < n; b += KERNEL_BLOCK, from += 20, to += KERNEL_BLOCK) {
            float scale = half_at(from), least = half_at(from + 2);
            for (uint32_t i = 0; i < 16; i++) {
                to[i] = scale * (float)(from[4 + i] & 15) + least;
                to[i + 16] = scale * (float)(from[4 + i] >> 4) + least;
            }
        }
        return;
    case TENSOR_Q8_0: /* scale, 32 signed bytes */
        for (uint32_t b = 0; b < n; b += KERNEL_BLOCK, from += 34, to += KERNEL_BLOCK) {
            float scale = half_at(from);
            for (uint32_t i = 0; i < KERNEL_BLOCK; i++)
                to[i] = scale * (float)(int8_t)from[2 + i];
        }
        return;
    }
}

/* Eight sums side by side, so that a compiler may keep them in vectors. */
static float dot(const float *a, const float *b, uint32_t n)
{
    float sum[8] = {0}, rest = 0;
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            sum[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        rest += a[i] * b[i];
    for (uint32_t j = 0; j < 8; j++)
        rest += sum[j];
    return rest;
}

static void multiply_rows(const struct weights *w, uint32_t n, const float *const *x,
                          float *const *y, float *scratch)
{
    for (uint32_t r = 0; r < w->n_rows; r++) {
        dequantize(w->type, scratch, w->data + r * w->row_bytes, w->cols);
        for (uint32_t i = 0; i < n; i++)
            y[i][r] = dot(scratch, x[i], w->cols);
    }
}

static void multiply_panel(uint32_t n, uint32_t depth, uint32_t cols, const float *x,
                           size_t x_stride, const float *panel, size_t panel_stride,
                           float *y, size_t y_stride, bool add)
{
    for (uint32_t t = 0; t < n; t++) {
        float sum[KERNEL_PANEL] = {0}, *to = y + t * y_stride;
        for (uint32_t i = 0; i < depth; i++) {
            float factor = x[t * x_stride + i];
            const float *row = panel + i * panel_stride;
            for (uint32_t c = 0; c < KERNEL_PANEL; c++)
                sum[c] += factor * row[c];
        }
        for (uint32_t c = 0; c < cols; c++)
            to[c] = add ? to[c] + sum[c] : sum[c];
    }
}

static void transpose(float *panel, const float *rows, size_t stride, uint32_t depth)
{
    for (uint32_t i = 0; i < depth; i++)
        for (uint32_t c = 0; c < KERNEL_PANEL; c++)
            panel[(size_t)i * KERNEL_PANEL + c] = rows[c * stride + i];
}

static void encode(enum cache_dtype dtype, void *to, const float *from, uint32_t n)
{
    uint16_t *narrow = to;
    if (dtype == CACHE_FP32)
        memcpy(to, from, n * sizeof *from);
    else if (dtype == CACHE_FP16)
        for (uint32_t i = 0; i < n; i++)
            narrow[i] = float_to_half(from[i]);
    else if (dtype != CACHE_BF16)
        fp8_encode(dtype, to, from, n);
    else
        for (uint32_t i = 0; i < n; i++)
            narrow[i] = float_to_brain(from[i]);
}

static void decode(enum cache_dtype dtype, float *to, const void *from, uint32_t n)
{
    const uint16_t *narrow = from;
    if (dtype == CACHE_FP32)
        memcpy(to, from, n * sizeof *to);
    else if (dtype == CACHE_FP16)
        for (uint32_t i = 0; i < n; i++)
            to[i] = half_to_float(narrow[i]);
    else if (dtype != CACHE_BF16)
        fp8_decode(dtype, to, from, n);
    else
        for (uint32_t i = 0; i < n; i++)
            to[i] = float_of((uint32_t)narrow[i] << 16);
}

static void score(float *scores, const float *q, const float *const *k, uint32_t n,
                  uint32_t dim)
{
    for (uint32_t i = 0; i < n; i++)
        scores[i] = dot(q, k[i], dim);
}

static void mix(float *out, const float *p, const float *const *v, uint32_t n,
                uint32_t dim)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < dim; j++)
            out[j] += p[i] * v[i][j];
}

static float exp_sum(float *x, float most, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - most);
        sum += x[i];
    }
    return sum;
}

static void silu(float *gate, const float *up, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

const struct kernels *kernels_portable(void)
{
    static const struct kernels table = {
        .name = "portable",
        .dequantize = dequantize,
        .multiply_rows = multiply_rows,
        .multiply_panel = multiply_panel,
        .transpose = transpose,
        .encode = encode,
        .decode = decode,
        .score = score,
        .mix = mix,
        .exp_sum = exp_sum,
        .silu = silu,
    };
    return &table;
}

const struct kernels *kernels_best(void)
{
    const struct kernels *fast = kernels_avx2();
    return fast ? fast : kernels_portable();
}
