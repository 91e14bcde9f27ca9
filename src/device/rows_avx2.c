/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows with AVX2 and F16C. Streaming stores must fill whole lines of the destination, or
 * each costs a read as well; so a row is aligned to the destination's lines first, and
 * the source is read however it lies.
 */
#include "device/rows.h"

#include <immintrin.h>
#include <string.h>

#define LINE 64
/* Below this, what hangs over the first and last line is too much of the row. */
#define LONG 512

#define AVX2   __attribute__((target("avx2,f16c")))
#define INLINE __attribute__((target("avx2,f16c"), always_inline)) static inline

INLINE __m256i load(const char *src)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)src);
}

INLINE void store(char *dst, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)dst, value);
}

INLINE void stream_store(char *dst, __m256i value)
{
    _mm256_stream_si256((__m256i *)(void *)dst, value);
}

/* dst and n are whole lines. */
INLINE void stream_lines(char *dst, const char *src, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 4 * LINE <= n; i += 4 * LINE) {
        __m256i a = load(src + i), b = load(src + i + 32), c = load(src + i + 64);
        __m256i d = load(src + i + 96), e = load(src + i + 128), f = load(src + i + 160);
        __m256i g = load(src + i + 192), h = load(src + i + 224);
        stream_store(dst + i, a);
        stream_store(dst + i + 32, b);
        stream_store(dst + i + 64, c);
        stream_store(dst + i + 96, d);
        stream_store(dst + i + 128, e);
        stream_store(dst + i + 160, f);
        stream_store(dst + i + 192, g);
        stream_store(dst + i + 224, h);
    }
    for (; i < n; i += LINE) {
        __m256i a = load(src + i), b = load(src + i + 32);
        stream_store(dst + i, a);
        stream_store(dst + i + 32, b);
    }
}

INLINE void stream_long(char *dst, const char *src, uint64_t n)
{
    uint64_t head = -(uintptr_t)dst % LINE;
    memcpy(dst, src, head);
    uint64_t lines = (n - head) & ~(uint64_t)(LINE - 1);
    stream_lines(dst + head, src + head, lines);
    memcpy(dst + head + lines, src + head + lines, n - head - lines);
}

/* Rows of a few vectors: the last one overlaps the one before. */
INLINE void copy_short(char *dst, const char *src, uint64_t n)
{
    if (n < 32) {
        memcpy(dst, src, n);
        return;
    }
    for (uint64_t i = 0; i + 32 < n; i += 32)
        store(dst + i, load(src + i));
    store(dst + n - 32, load(src + n - 32));
}

AVX2 static void copy(const struct segue_rows *rows)
{
    char *dst = rows->dst;
    const char *src = rows->src;
    for (uint64_t i = 0; i < rows->n; i++) {
        if (rows->run <= LONG)
            copy_short(dst, src, rows->run);
        else
            memcpy(dst, src, rows->run);
        dst += rows->dst_step;
        src += rows->src_step;
    }
}

AVX2 static void stream(const struct segue_rows *rows)
{
    char *dst = rows->dst;
    const char *src = rows->src;
    uint64_t lies = (uintptr_t)dst | rows->run | (rows->n > 1 ? rows->dst_step : 0);
    if (lies % LINE == 0) {
        for (uint64_t i = 0; i < rows->n; i++) {
            stream_lines(dst, src, rows->run);
            dst += rows->dst_step;
            src += rows->src_step;
        }
    } else if (rows->run >= LONG) {
        for (uint64_t i = 0; i < rows->n; i++) {
            stream_long(dst, src, rows->run);
            dst += rows->dst_step;
            src += rows->src_step;
        }
    } else {
        copy(rows);
    }
}

/* Walks the next source in its own order, a row at a time, and fetches it. */
struct ahead {
    uintptr_t row; /* a number, as it may lead out of the memory */
    uint64_t index;
};

INLINE void fetch_row(struct ahead *ahead, const struct segue_turn *t, uint64_t lead,
                      uint64_t fetch)
{
    if (!t->next)
        return;
    for (uint64_t l = 0; l < lead; l++)
        for (uint64_t i = 0; i < fetch; i += LINE)
            _mm_prefetch((const char *)(ahead->row + l * t->lead_src + i), _MM_HINT_T0);
    ahead->row += t->far_src;
    if (++ahead->index == t->far) {
        ahead->index = 0;
        ahead->row += t->near_src - t->far * t->far_src;
    }
}

/* Whole vectors: neighbours in a line are stored right after each other. */
INLINE void turn_vectors(const struct segue_turn *t, uint64_t run, uint64_t lead,
                         uint64_t fetch)
{
    struct ahead ahead = {(uintptr_t)t->next, 0};
    char *dst = t->dst;
    for (uint64_t f = 0; f < t->far; f++, dst += t->far_dst) {
        const char *src = t->src + f * t->far_src;
        char *to = dst;
        for (uint64_t n = 0; n < t->near; n++, src += t->near_src) {
            fetch_row(&ahead, t, lead, fetch);
            for (uint64_t l = 0; l < lead; l++, to += run)
                for (uint64_t i = 0; i < run; i += 32)
                    stream_store(to + i, load(src + l * t->lead_src + i));
        }
    }
}

/* Any run and alignment: rows are gathered in the L1 first. */
AVX2 static void turn_gathered(const struct segue_turn *t)
{
    char room[4096] __attribute__((aligned(LINE)));
    struct ahead ahead = {(uintptr_t)t->next, 0};
    uint64_t unit = t->lead * t->run;
    for (uint64_t f = 0; f < t->far; f++) {
        const char *src = t->src + f * t->far_src;
        char *dst = t->dst + f * t->far_dst;
        for (uint64_t n = 0; n < t->near;) {
            uint64_t len = 0;
            for (; n < t->near && len + unit <= sizeof room; n++) {
                fetch_row(&ahead, t, t->lead, t->fetch);
                for (uint64_t l = 0; l < t->lead; l++, len += t->run)
                    copy_short(room + len, src + l * t->lead_src, t->run);
                src += t->near_src;
            }
            if (len >= 2 * LINE)
                stream_long(dst, room, len);
            else
                memcpy(dst, room, len);
            dst += len;
        }
    }
}

AVX2 static void turn(const struct segue_turn *t)
{
    if (((uintptr_t)t->dst | t->run | (t->far > 1 ? t->far_dst : 0)) % 32 != 0)
        turn_gathered(t);
    else if (t->run == 256 && t->lead == 1 && t->fetch == 256)
        turn_vectors(t, 256, 1, 256);
    else if (t->run == 128 && t->lead == 1 && t->fetch == 128)
        turn_vectors(t, 128, 1, 128);
    else if (t->run == 32 && t->lead == 1 && t->fetch == 32)
        turn_vectors(t, 32, 1, 32);
    else
        turn_vectors(t, t->run, t->lead, t->fetch);
}

static void fence(void)
{
    _mm_sfence();
}

INLINE __m128i load_half(const char *src)
{
    return _mm_loadu_si128((const __m128i *)(const void *)src);
}

AVX2 static void half_to_float(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 8; n -= 8, to += 32, from += 16)
        _mm256_storeu_ps((float *)(void *)to, _mm256_cvtph_ps(load_half(from)));
    segue_rows_portable.half_to_float(to, from, n);
}

AVX2 static void float_to_half(void *dst, const void *src, size_t n)
{
    char *to = dst;
    const char *from = src;
    for (; n >= 8; n -= 8, to += 16, from += 32)
        _mm_storeu_si128((__m128i *)(void *)to,
                         _mm256_cvtps_ph(_mm256_castsi256_ps(load(from)),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    segue_rows_portable.float_to_half(to, from, n);
}

AVX2 static void brain_to_float(void *dst, const void *src, size_t n)
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

AVX2 static void float_to_brain(void *dst, const void *src, size_t n)
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

static const struct segue_rows_ops avx2 = {
    .copy = copy,
    .stream = stream,
    .turn = turn,
    .fence = fence,
    .half_to_float = half_to_float,
    .float_to_half = float_to_half,
    .brain_to_float = brain_to_float,
    .float_to_brain = float_to_brain,
};

/* Every CPU with AVX2 has F16C; asking for that by name would cost a cpuid each time, which
 * a virtual machine has to emulate. */
const struct segue_rows_ops *segue_rows_pick(void)
{
    return __builtin_cpu_supports("avx2") ? &avx2 : &segue_rows_portable;
}
