/* SPDX-License-Identifier: Apache-2.0 */
/* Rows with AVX-512: one store a line. Elements are converted as with AVX2. */
#include "device/rows_x86.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f")))
#define INLINE __attribute__((target("avx512f"), always_inline)) static inline

typedef __m512i vector;

INLINE vector load(const char *src)
{
    return _mm512_loadu_si512((const void *)src);
}

INLINE void store(char *dst, vector value)
{
    _mm512_storeu_si512((void *)dst, value);
}

INLINE void stream_store(char *dst, vector value)
{
    _mm512_stream_si512((__m512i *)(void *)dst, value);
}

#include "device/rows_vector.h"

const struct segue_rows_ops segue_rows_avx512 = {
    .name = "avx512",
    .copy = copy,
    .stream = stream,
    .turn = turn,
    .fence = fence,
    .half_to_float = segue_avx2_half_to_float,
    .float_to_half = segue_avx2_float_to_half,
    .brain_to_float = segue_avx2_brain_to_float,
    .float_to_brain = segue_avx2_float_to_brain,
};
