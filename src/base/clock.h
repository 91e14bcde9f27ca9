/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks, in nanoseconds: `now` for timers and durations, `boot` for leases,
 * which also run while the machine is suspended. Neither jumps when the date is set. Any
 * thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define SEGUE_NS_PER_US UINT64_C(1000)
#define SEGUE_NS_PER_MS UINT64_C(1000000)
#define SEGUE_NS_PER_S  UINT64_C(1000000000)

static inline uint64_t segue_clock_read(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * SEGUE_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* CLOCK_MONOTONIC: what loops and timers run on. */
static inline uint64_t segue_now_ns(void)
{
    return segue_clock_read(CLOCK_MONOTONIC);
}

/* CLOCK_BOOTTIME: what leases are measured with (PROTOCOL R5). */
static inline uint64_t segue_boot_ns(void)
{
    return segue_clock_read(CLOCK_BOOTTIME);
}

#endif
