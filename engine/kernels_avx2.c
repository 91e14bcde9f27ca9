/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX2 table: attention, element types, exponentials; products are next door. */
#include "kernels_avx2.h"

#include <math.h>
#include <string.h>

#if defined __x86_64__
#include <cpuid.h>

AVX2 static inline __m256i brain_bits(__m256 v)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits,
                                       _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}

AVX2 static void encode(enum cache_dtype dtype, void *to, const float *from, uint32_t n)
{
    uint16_t *narrow = to;
    uint32_t i = 0;
    if (dtype == CACHE_FP16)
        for (; i + 8 <= n; i += 8)
            _mm_storeu_si128(
                (__m128i *)(narrow + i),
                _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    if (dtype == CACHE_BF16)
        for (; i + 8 <= n; i += 8) {
            __m256i bits = brain_bits(_mm256_loadu_ps(from + i));
            _mm_storeu_si128((__m128i *)(narrow + i),
                             _mm_packus_epi32(_mm256_castsi256_si128(bits),
                                              _mm256_extracti128_si256(bits, 1)));
        }
    kernels_portable()->encode(dtype, (uint8_t *)to + i * cache_dtype_bytes(dtype),
                               from + i, n - i);
}

AVX2 static void decode(enum cache_dtype dtype, float *to, const void *from, uint32_t n)
{
    const uint16_t *narrow = from;
    uint32_t i = 0;
    if (dtype == CACHE_FP16)
        for (; i + 8 <= n; i += 8)
            _mm256_storeu_ps(
                to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(narrow + i))));
    if (dtype == CACHE_BF16)
        for (; i + 8 <= n; i += 8) {
            __m256i wide = _mm256_cvtepu16_epi32(
                _mm_loadu_si128((const __m128i *)(narrow + i)));
            _mm256_storeu_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
        }
    kernels_portable()->decode(
        dtype, to + i, (const uint8_t *)from + i * cache_dtype_bytes(dtype), n - i);
}

/* Four keys share the loads of q and one round of adding lanes. A group that is not full
 * repeats its last key, so that each key's sum is formed alike wherever it stands. */
AVX2 static void score(float *scores, const float *q, const float *const *k, uint32_t n,
                       uint32_t dim)
{
    for (uint32_t i = 0; i < n; i += 4) {
        const float *key[4], *last = k[n - 1];
        __m256 sum[4];
        float four[4];
        uint32_t j = 0;
        for (uint32_t l = 0; l < 4; l++) {
            key[l] = i + l < n ? k[i + l] : last;
            sum[l] = _mm256_setzero_ps();
        }
        for (; j + 8 <= dim; j += 8) {
            __m256 eight = _mm256_loadu_ps(q + j);
            for (uint32_t l = 0; l < 4; l++)
                sum[l] = _mm256_fmadd_ps(eight, _mm256_loadu_ps(key[l] + j), sum[l]);
        }
        __m256 both = _mm256_hadd_ps(_mm256_hadd_ps(sum[0], sum[1]),
                                     _mm256_hadd_ps(sum[2], sum[3]));
        _mm_storeu_ps(four, _mm_add_ps(_mm256_castps256_ps128(both),
                                       _mm256_extractf128_ps(both, 1)));
        for (; j < dim; j++)
            for (uint32_t l = 0; l < 4; l++)
                four[l] += q[j] * key[l][j];
        memcpy(scores + i, four, (n - i < 4 ? n - i : 4) * sizeof *four);
    }
}

/* 64 columns at a time stay in registers over all rows. */
AVX2 static uint32_t mix_64(float *out, const float *p, const float *const *v, uint32_t n,
                            uint32_t dim)
{
    uint32_t j = 0;
    for (; j + 64 <= dim; j += 64) {
        __m256 sum[8];
        for (uint32_t l = 0; l < 8; l++)
            sum[l] = _mm256_loadu_ps(out + j + 8 * l);
        for (uint32_t i = 0; i < n; i++) {
            __m256 weight = _mm256_broadcast_ss(p + i);
            const float *row = v[i] + j;
            for (uint32_t l = 0; l < 8; l++)
                sum[l] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(row + 8 * l), sum[l]);
        }
        for (uint32_t l = 0; l < 8; l++)
            _mm256_storeu_ps(out + j + 8 * l, sum[l]);
    }
    return j;
}

AVX2 static void mix(float *out, const float *p, const float *const *v, uint32_t n,
                     uint32_t dim)
{
    uint32_t j = mix_64(out, p, v, n, dim);
    for (; j + 8 <= dim; j += 8) {
        __m256 sum = _mm256_loadu_ps(out + j);
        for (uint32_t i = 0; i < n; i++)
            sum = _mm256_fmadd_ps(_mm256_broadcast_ss(p + i), _mm256_loadu_ps(v[i] + j),
                                  sum);
        _mm256_storeu_ps(out + j, sum);
    }
    for (; j < dim; j++)
        for (uint32_t i = 0; i < n; i++)
            out[j] += p[i] * v[i][j];
}

/* exp(x) = 2^n * exp(r), r within half of ln 2; a polynomial of degree 6 gives exp(r) to
 * about one unit in the last place. Below -87 the result is 0, as a float's would be. */
AVX2 static inline __m256 exp_8(__m256 x)
{
    const __m256 lowest = _mm256_set1_ps(-87.0f);
    __m256 alive = _mm256_cmp_ps(x, lowest, _CMP_GE_OQ);
    x = _mm256_min_ps(_mm256_max_ps(x, lowest), _mm256_set1_ps(88.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 y = _mm256_set1_ps(1.0f / 720);
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.0f / 120));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.0f / 24));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.0f / 6));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.5f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1));
    __m256i power = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_and_ps(alive, _mm256_mul_ps(y, _mm256_castsi256_ps(power)));
}

/* The last n < 8 floats as a vector, the lanes past them `fill`. */
AVX2 static inline __m256 load_rest(const float *from, uint32_t n, float fill)
{
    float eight[8] = {fill, fill, fill, fill, fill, fill, fill, fill};
    memcpy(eight, from, n * sizeof *eight);
    return _mm256_loadu_ps(eight);
}

AVX2 static inline void store_rest(float *to, uint32_t n, __m256 v)
{
    float eight[8];
    _mm256_storeu_ps(eight, v);
    memcpy(to, eight, n * sizeof *eight);
}

AVX2 static float exp_sum(float *x, float most, uint32_t n)
{
    __m256 sum = _mm256_setzero_ps(), top = _mm256_set1_ps(most);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = exp_8(_mm256_sub_ps(_mm256_loadu_ps(x + i), top));
        _mm256_storeu_ps(x + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i < n) {
        __m256 e = exp_8(_mm256_sub_ps(load_rest(x + i, n - i, -INFINITY), top));
        store_rest(x + i, n - i, e);
        sum = _mm256_add_ps(sum, e);
    }
    return sum_lanes(sum);
}

AVX2 static inline __m256 silu_8(__m256 gate, __m256 up)
{
    __m256 one = _mm256_set1_ps(1);
    __m256 down = exp_8(_mm256_sub_ps(_mm256_setzero_ps(), gate));
    return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, down)), up);
}

AVX2 static void silu(float *gate, const float *up, uint32_t n)
{
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(gate + i,
                         silu_8(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    if (i < n)
        store_rest(gate + i, n - i,
                   silu_8(load_rest(gate + i, n - i, 0), load_rest(up + i, n - i, 0)));
}

/* __builtin_cpu_supports of clang 14 does not know this one. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

const struct kernels *kernels_avx2(void)
{
    static const struct kernels table = {
        .name = "avx2",
        .dequantize = avx2_dequantize,
        .multiply_rows = avx2_multiply_rows,
        .multiply_panel = avx2_multiply_panel,
        .transpose = avx2_transpose,
        .encode = encode,
        .decode = decode,
        .score = score,
        .mix = mix,
        .exp_sum = exp_sum,
        .silu = silu,
    };
    bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               has_f16c();
    return can ? &table : NULL;
}

#else

const struct kernels *kernels_avx2(void)
{
    return NULL;
}

#endif
