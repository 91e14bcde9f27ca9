/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products of many rows: what prefill spends its time in. Six rows of x by sixteen
 * columns stay in twelve registers over the whole depth, so that each sum is one chain of
 * fused multiply-adds whatever stands beside it.
 */
#include "kernels_avx2.h"

#if defined __x86_64__

enum { TOGETHER = 6 };

struct panel {
    const float *at;
    size_t stride;
    uint32_t depth, cols;
    bool add;
};

/* A constant n lets the compiler keep the sums in registers. */
__attribute__((always_inline)) AVX2 static inline void
rows_of(const struct panel *panel, const uint32_t n, const float *x, size_t x_stride,
        float *y, size_t y_stride)
{
    __m256 left[TOGETHER], right[TOGETHER];
    const float *at = panel->at;
    size_t stride = panel->stride;
    for (uint32_t t = 0; t < n; t++)
        left[t] = right[t] = _mm256_setzero_ps();
    for (uint32_t i = 0; i < panel->depth; i++, at += stride) {
        __m256 a = _mm256_loadu_ps(at), b = _mm256_loadu_ps(at + 8);
        for (uint32_t t = 0; t < n; t++) {
            __m256 factor = _mm256_broadcast_ss(x + t * x_stride + i);
            left[t] = _mm256_fmadd_ps(factor, a, left[t]);
            right[t] = _mm256_fmadd_ps(factor, b, right[t]);
        }
    }
    if (panel->cols == KERNEL_PANEL && !panel->add) {
        for (uint32_t t = 0; t < n; t++) {
            _mm256_storeu_ps(y + t * y_stride, left[t]);
            _mm256_storeu_ps(y + t * y_stride + 8, right[t]);
        }
        return;
    }
    float sums[TOGETHER][KERNEL_PANEL];
    for (uint32_t t = 0; t < n; t++) {
        _mm256_storeu_ps(sums[t], left[t]);
        _mm256_storeu_ps(sums[t] + 8, right[t]);
    }
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t c = 0; c < panel->cols; c++)
            y[t * y_stride + c] = sums[t][c] + (panel->add ? y[t * y_stride + c] : 0);
}

AVX2 void avx2_multiply_panel(uint32_t n, uint32_t depth, uint32_t cols, const float *x,
                              size_t x_stride, const float *at, size_t panel_stride,
                              float *y, size_t y_stride, bool add)
{
    const struct panel panel = {at, panel_stride, depth, cols, add};
    while (n >= TOGETHER) {
        rows_of(&panel, TOGETHER, x, x_stride, y, y_stride);
        x += TOGETHER * x_stride;
        y += TOGETHER * y_stride;
        n -= TOGETHER;
    }
    if (n >= 3) {
        rows_of(&panel, 3, x, x_stride, y, y_stride);
        x += 3 * x_stride;
        y += 3 * y_stride;
        n -= 3;
    }
    for (; n; n--, x += x_stride, y += y_stride)
        rows_of(&panel, 1, x, x_stride, y, y_stride);
}

/* Eight rows of eight floats, turned. */
AVX2 static inline void turn_8(float *to, const float *from, size_t stride)
{
    __m256 r[8], s[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(from + (size_t)i * stride);
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(s[i + j], s[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(s[i + j], s[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + (size_t)i * KERNEL_PANEL,
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (size_t)(i + 4) * KERNEL_PANEL,
                         _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

AVX2 void avx2_transpose(float *panel, const float *rows, size_t stride, uint32_t depth)
{
    uint32_t i = 0;
    for (; i + 8 <= depth; i += 8)
        for (size_t c = 0; c < KERNEL_PANEL; c += 8)
            turn_8(panel + (size_t)i * KERNEL_PANEL + c, rows + c * stride + i, stride);
    for (; i < depth; i++)
        for (size_t c = 0; c < KERNEL_PANEL; c++)
            panel[(size_t)i * KERNEL_PANEL + c] = rows[c * stride + i];
}

#endif
