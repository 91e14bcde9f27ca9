/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of AVX2 kernels; included by kernels_avx2*.c only. */
#ifndef ENGINE_KERNELS_AVX2_H
#define ENGINE_KERNELS_AVX2_H

#include "kernels.h"

#if defined __x86_64__
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))

AVX2 static inline float sum_lanes(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    half = _mm_add_ss(half, _mm_movehdup_ps(half));
    return _mm_cvtss_f32(half);
}

void avx2_dequantize(enum tensor_type type, float *to, const uint8_t *from, uint32_t n);
void avx2_multiply_rows(const struct weights *w, uint32_t n, const float *const *x,
                        float *const *y, float *scratch);
void avx2_multiply_panel(uint32_t n, uint32_t depth, uint32_t cols, const float *x,
                         size_t x_stride, const float *panel, size_t panel_stride,
                         float *y, size_t y_stride, bool add);
void avx2_transpose(float *panel, const float *rows, size_t stride, uint32_t depth);
#endif

#endif
