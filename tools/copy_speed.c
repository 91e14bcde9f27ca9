/* SPDX-License-Identifier: Apache-2.0 */
/* Copies memory in two ways and takes the time. */
#include "copy_speed.h"

#include "bench/reference.h"
#include "bench/stats.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { SAMPLES = 15, LINE = 64 };
/* Two of these are more than the last-level cache of one socket. */
static const uint64_t smallest_room = 64 << 20;

/* Walks through the room, so that no sample finds what an earlier one left in a cache. */
static double median(bench_copy *copy, uint8_t *to, const uint8_t *from, uint64_t bytes,
                     uint64_t room)
{
    double took[SAMPLES];
    uint64_t at = 0, step = (bytes + LINE - 1) / LINE * LINE;
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t begin = bench_now_ns();
        copy(to + at, from + at, bytes);
        took[i] = (double)(bench_now_ns() - begin) / 1e9;
        at += step;
        if (at + bytes > room)
            at = 0;
    }
    return bench_spread(took, SAMPLES).median;
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
        double a = median(bench_copy_memcpy, to, from, bytes, room);
        double b = median(bench_copy_streaming, to, from, bytes, room);
        best = (double)bytes / (a < b ? a : b) / 1e9;
    }
    if (from != MAP_FAILED)
        munmap(from, room);
    if (to != MAP_FAILED)
        munmap(to, room);
    return best;
}
