/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weight rows as stored (Q4_1, Q8_0, F16, F32) times a few rows of floats: what decode
 * spends its time in. Each row of x has its own chain of sums, so its result does not
 * depend on how many rows go together.
 */
#include "kernels_avx2.h"
#include <string.h>

#if defined __x86_64__

enum { TOGETHER = 4, Q4_BYTES = 20, Q8_BYTES = 34 };

AVX2 static inline __m256 half_pair(const uint8_t *at, __m256 *second)
{
    uint32_t both;
    memcpy(&both, at, 4);
    __m128 pair = _mm_cvtph_ps(_mm_cvtsi32_si128((int)both));
    *second = _mm256_broadcastss_ps(_mm_movehdup_ps(pair));
    return _mm256_broadcastss_ps(pair);
}

AVX2 static inline __m256 half_scale(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, 2);
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

/* Bytes 4i..4i+3 of a Q4_1 block hold elements 4i.. in their low and 16+4i.. in their
 * high halves: one broadcast and one shift per lane take out all eight. */
AVX2 static inline __m256 eight_nibbles(const uint8_t *at)
{
    const __m256i places = _mm256_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28);
    int four;
    memcpy(&four, at, 4);
    __m256i shifted = _mm256_srlv_epi32(_mm256_set1_epi32(four), places);
    return _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(15)));
}

/*
 * For products no nibble is moved to the bottom of its lane. The 16 bytes of a block stand
 * twice in a register, the second time shifted by 4 bits; masking byte p of every lane
 * leaves q * 2^8p of elements p, 4+p, 8+p, 12+p and 16+p, 20+p, ..., and x was brought
 * into that order and multiplied by 2^-8p before. Powers of two round nothing.
 */
AVX2 static void prepare_q4(float *to, float *sums, const float *x, uint32_t cols)
{
    const float down[4] = {1, 0x1p-8f, 0x1p-16f, 0x1p-24f};
    for (uint32_t b = 0; b < cols; b += KERNEL_BLOCK, x += KERNEL_BLOCK, sums += 4) {
        float sum[8] = {0};
        for (uint32_t p = 0; p < 4; p++)
            for (uint32_t j = 0; j < 8; j++) {
                float value = x[4 * j + p];
                to[b + 8 * p + j] = value * down[p];
                sum[j] += value;
            }
        /* Beside the scale, which it must not meet, stands the block's offset. */
        sums[0] = sums[2] = sums[3] = 0;
        sums[1] = ((sum[0] + sum[4]) + (sum[1] + sum[5])) +
                  ((sum[2] + sum[6]) + (sum[3] + sum[7]));
    }
}

AVX2 static inline __m256i q4_bytes(const uint8_t *at)
{
    const __m256i places = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    __m256i twice = _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)(const void *)at));
    return _mm256_srlv_epi32(twice, places);
}

__attribute__((always_inline)) AVX2 static inline void
q4_rows(const struct weights *w, const uint32_t n, const float *const *x,
        const float *const *sums, float *const *y)
{
    for (uint32_t r = 0; r < w->n_rows; r++) {
        const uint8_t *at = w->data + r * w->row_bytes;
        __m256 total[TOGETHER];
        __m128 offset[TOGETHER];
        for (uint32_t t = 0; t < n; t++) {
            total[t] = _mm256_setzero_ps();
            offset[t] = _mm_setzero_ps();
        }
        for (uint32_t b = 0; b < w->cols; b += KERNEL_BLOCK, at += Q4_BYTES) {
            int both;
            memcpy(&both, at, 4);
            __m128 pair = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
            __m256 scale = _mm256_broadcastss_ps(pair), part[TOGETHER];
            __m256i bytes = q4_bytes(at + 4);
            for (uint32_t p = 0; p < 4; p++) {
                __m256i kept = _mm256_and_si256(bytes, _mm256_set1_epi32(15 << 8 * p));
                __m256 q = _mm256_cvtepi32_ps(kept);
                for (uint32_t t = 0; t < n; t++) {
                    __m256 eight = _mm256_loadu_ps(x[t] + b + 8 * p);
                    part[t] = p ? _mm256_fmadd_ps(q, eight, part[t])
                                : _mm256_mul_ps(q, eight);
                }
            }
            for (uint32_t t = 0; t < n; t++) {
                total[t] = _mm256_fmadd_ps(scale, part[t], total[t]);
                offset[t] = _mm_fmadd_ps(pair, _mm_loadu_ps(sums[t] + b / 8), offset[t]);
            }
        }
        for (uint32_t t = 0; t < n; t++)
            y[t][r] = sum_lanes(total[t]) + _mm_cvtss_f32(_mm_movehdup_ps(offset[t]));
    }
}

__attribute__((always_inline)) AVX2 static inline void
q8_rows(const struct weights *w, const uint32_t n, const float *const *x, float *const *y)
{
    for (uint32_t r = 0; r < w->n_rows; r++) {
        const uint8_t *at = w->data + r * w->row_bytes;
        __m256 total[TOGETHER];
        for (uint32_t t = 0; t < n; t++)
            total[t] = _mm256_setzero_ps();
        for (uint32_t b = 0; b < w->cols; b += KERNEL_BLOCK, at += Q8_BYTES) {
            __m256 scale = half_scale(at), part[TOGETHER];
            for (uint32_t i = 0; i < 4; i++) {
                __m128i bytes = _mm_loadl_epi64((const __m128i *)(at + 2 + 8 * i));
                __m256 q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
                for (uint32_t t = 0; t < n; t++) {
                    __m256 eight = _mm256_loadu_ps(x[t] + b + 8 * i);
                    part[t] = i ? _mm256_fmadd_ps(q, eight, part[t])
                                : _mm256_mul_ps(q, eight);
                }
            }
            for (uint32_t t = 0; t < n; t++)
                total[t] = _mm256_fmadd_ps(scale, part[t], total[t]);
        }
        for (uint32_t t = 0; t < n; t++)
            y[t][r] = sum_lanes(total[t]);
    }
}

AVX2 static inline __m256 eight_floats(const uint8_t *row, bool half, uint32_t c)
{
    if (half)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(row + 2 * c)));
    return _mm256_loadu_ps((const float *)(const void *)(row + 4 * (size_t)c));
}

AVX2 static inline float one_float(const uint8_t *row, bool half, uint32_t c)
{
    float value;
    if (half)
        return _mm256_cvtss_f32(half_scale(row + 2 * c));
    memcpy(&value, row + 4 * (size_t)c, 4);
    return value;
}

__attribute__((always_inline)) AVX2 static inline void
float_rows(const struct weights *w, const bool half, const uint32_t n,
           const float *const *x, float *const *y)
{
    for (uint32_t r = 0; r < w->n_rows; r++) {
        const uint8_t *row = w->data + r * w->row_bytes;
        __m256 total[TOGETHER];
        uint32_t c = 0;
        for (uint32_t t = 0; t < n; t++)
            total[t] = _mm256_setzero_ps();
        for (; c + 8 <= w->cols; c += 8) {
            __m256 eight = eight_floats(row, half, c);
            for (uint32_t t = 0; t < n; t++)
                total[t] = _mm256_fmadd_ps(eight, _mm256_loadu_ps(x[t] + c), total[t]);
        }
        for (uint32_t t = 0; t < n; t++) {
            float sum = sum_lanes(total[t]);
            for (uint32_t rest = c; rest < w->cols; rest++)
                sum += one_float(row, half, rest) * x[t][rest];
            y[t][r] = sum;
        }
    }
}

/* A constant n lets the compiler keep the n sums in registers. */
__attribute__((always_inline)) AVX2 static inline void
rows_of(const struct weights *w, const uint32_t n, const float *const *x,
        const float *const *sums, float *const *y)
{
    if (w->type == TENSOR_Q4_1)
        q4_rows(w, n, x, sums, y);
    else if (w->type == TENSOR_Q8_0)
        q8_rows(w, n, x, y);
    else
        float_rows(w, w->type == TENSOR_F16, n, x, y);
}

AVX2 static void rows_1(const struct weights *w, const float *const *x,
                        const float *const *sums, float *const *y)
{
    rows_of(w, 1, x, sums, y);
}

AVX2 static void rows_2(const struct weights *w, const float *const *x,
                        const float *const *sums, float *const *y)
{
    rows_of(w, 2, x, sums, y);
}

AVX2 static void rows_4(const struct weights *w, const float *const *x,
                        const float *const *sums, float *const *y)
{
    rows_of(w, 4, x, sums, y);
}

AVX2 void avx2_multiply_rows(const struct weights *w, uint32_t n, const float *const *x,
                             float *const *y, float *scratch)
{
    const float *ready[KERNEL_ROWS], *sums[KERNEL_ROWS];
    for (uint32_t t = 0; t < n; t++) {
        float *copy = scratch + t * kernel_scratch(w->cols) / KERNEL_ROWS;
        ready[t] = x[t];
        sums[t] = copy + w->cols;
        if (w->type == TENSOR_Q4_1) {
            prepare_q4(copy, copy + w->cols, x[t], w->cols);
            ready[t] = copy;
        }
    }
    uint32_t t = 0;
    for (; t + 4 <= n; t += 4)
        rows_4(w, ready + t, sums + t, y + t);
    for (; t + 2 <= n; t += 2)
        rows_2(w, ready + t, sums + t, y + t);
    for (; t < n; t++)
        rows_1(w, ready + t, sums + t, y + t);
}

AVX2 static void q4_floats(float *to, const uint8_t *at, uint32_t n)
{
    for (uint32_t b = 0; b < n; b += KERNEL_BLOCK, at += Q4_BYTES) {
        __m256 least, scale = half_pair(at, &least);
        for (uint32_t i = 0; i < 4; i++) {
            __m256 eight = _mm256_fmadd_ps(scale, eight_nibbles(at + 4 + 4 * i), least);
            _mm_storeu_ps(to + b + 4 * i, _mm256_castps256_ps128(eight));
            _mm_storeu_ps(to + b + 16 + 4 * i, _mm256_extractf128_ps(eight, 1));
        }
    }
}

AVX2 static void q8_floats(float *to, const uint8_t *at, uint32_t n)
{
    for (uint32_t b = 0; b < n; b += KERNEL_BLOCK, at += Q8_BYTES) {
        __m256 scale = half_scale(at);
        for (uint32_t i = 0; i < 4; i++) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(at + 2 + 8 * i));
            __m256 q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
            _mm256_storeu_ps(to + b + 8 * i, _mm256_mul_ps(scale, q));
        }
    }
}

AVX2 void avx2_dequantize(enum tensor_type type, float *to, const uint8_t *from,
                          uint32_t n)
{
    if (type == TENSOR_Q4_1) {
        q4_floats(to, from, n);
    } else if (type == TENSOR_Q8_0) {
        q8_floats(to, from, n);
    } else if (type == TENSOR_F32) {
        memcpy(to, from, n * sizeof *to);
    } else {
        uint32_t i = 0;
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(to + i, eight_floats(from, true, i));
        for (; i < n; i++)
            to[i] = one_float(from, true, i);
    }
}

#endif
