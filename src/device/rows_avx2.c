/* SPDX-License-Identifier: Apache-2.0 */
/* Rows with AVX2 and F16C. */
#include "device/rows_x86.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,f16c")))
#define INLINE __attribute__((target("avx2,f16c"), always_inline)) static inline

typedef __m256i vector;

INLINE vector load(const char *src)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)src);
}

INLINE void store(char *dst, vector value)
{
    _mm256_storeu_si256((__m256i *)(void *)dst, value);
}

INLINE void stream_store(char *dst, vector value)
{
    _mm256_stream_si256((__m256i *)(void *)dst, value);
}

#include "device/rows_vector.h"

INLINE __m128i load_half(const char *src)
{
    return _mm_loadu_si128((const __m128i *)(const void *)src);
}

TARGET void segue_avx2_half_to_float(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 8; n -= 8, to += 32, from += 16)
        _mm256_storeu_ps((float *)(void *)to, _mm256_cvtph_ps(load_half(from)));
    segue_rows_portable.half_to_float(to, from, n);
}

TARGET void segue_avx2_float_to_half(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 8; n -= 8, to += 16, from += 32)
        _mm_storeu_si128((__m128i *)(void *)to,
                         _mm256_cvtps_ph(_mm256_castsi256_ps(load(from)),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    segue_rows_portable.float_to_half(to, from, n);
}

TARGET void segue_avx2_brain_to_float(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 8; n -= 8, to += 32, from += 16)
        store(to, _mm256_slli_epi32(_mm256_cvtepu16_epi32(load_half(from)), 16));
    segue_rows_portable.brain_to_float(to, from, n);
}

/* Eight floats as the low halves of eight numbers of 32 bits. */
INLINE __m256i narrow_brain(__m256i bits)
{
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    __m256i nan = _mm256_cmpgt_epi32(size, _mm256_set1_epi32(0x7f800000));
    return _mm256_blendv_epi8(rounded, quiet, nan);
}

TARGET void segue_avx2_float_to_brain(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 16; n -= 16, to += 32, from += 64) {
        /* The pack works within lanes of 128 bits; the permutation puts them in order. */
        __m256i pair = _mm256_packus_epi32(narrow_brain(load(from)),
                                           narrow_brain(load(from + 32)));
        store(to, _mm256_permute4x64_epi64(pair, 0xd8));
    }
    segue_rows_portable.float_to_brain(to, from, n);
}

const struct segue_rows_ops segue_rows_avx2 = {
    .name = "avx2",
    .copy = copy,
    .stream = stream,
    .turn = turn,
    .fence = fence,
    .half_to_float = segue_avx2_half_to_float,
    .float_to_half = segue_avx2_float_to_half,
    .brain_to_float = segue_avx2_brain_to_float,
    .float_to_brain = segue_avx2_float_to_brain,
};
