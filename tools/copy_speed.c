/* SPDX-License-Identifier: Apache-2.0 */
/* Copies memory in two ways and takes the time. */
#include "copy_speed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { SAMPLES = 15, LINE = 64 };
/* Two of these are more than the last-level cache of one socket. */
static const uint64_t smallest_room = 64 << 20;

static void copy_memcpy(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    memcpy(to, from, bytes);
}

static void copy_streaming(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
#ifdef __SSE2__
    uint64_t lines = bytes / LINE;
    for (uint64_t i = 0; i < lines; i++)
        for (unsigned j = 0; j < LINE; j += 16)
            _mm_stream_si128((__m128i *)(to + i * LINE + j),
                             _mm_load_si128((const __m128i *)(from + i * LINE + j)));
    memcpy(to + lines * LINE, from + lines * LINE, bytes - lines * LINE);
    _mm_sfence();
#else
    memcpy(to, from, bytes);
#endif
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Walks through the room, so that no sample finds what an earlier one left in a cache. */
static double median(void (*copy)(uint8_t *, const uint8_t *, uint64_t), uint8_t *to,
                     const uint8_t *from, uint64_t bytes, uint64_t room)
{
    double took[SAMPLES];
    uint64_t at = 0, step = (bytes + LINE - 1) / LINE * LINE;
    for (int i = 0; i < SAMPLES; i++) {
        double begin = seconds();
        copy(to + at, from + at, bytes);
        took[i] = seconds() - begin;
        at += step;
        if (at + bytes > room)
            at = 0;
    }
    qsort(took, SAMPLES, sizeof *took, ascending);
    return took[SAMPLES / 2];
}

double copy_speed(uint64_t bytes)
{
    uint64_t room = bytes > smallest_room ? bytes : smallest_room;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    if (!bytes || room > SIZE_MAX / 2)
        return 0;
    uint8_t *from = mmap(NULL, room, PROT_READ | PROT_WRITE, how, -1, 0);
    uint8_t *to = mmap(NULL, room, PROT_READ | PROT_WRITE, how, -1, 0);
    double best = 0;
    if (from != MAP_FAILED && to != MAP_FAILED) {
        memset(from, 1, room); /* untouched pages would all be the one zero page */
        double a = median(copy_memcpy, to, from, bytes, room);
        double b = median(copy_streaming, to, from, bytes, room);
        best = (double)bytes / (a < b ? a : b) / 1e9;
    }
    if (from != MAP_FAILED)
        munmap(from, room);
    if (to != MAP_FAILED)
        munmap(to, room);
    return best;
}
