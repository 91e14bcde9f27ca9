/* SPDX-License-Identifier: Apache-2.0 */
/* `copy`, the speed that hand-offs are held against. */
#ifndef TOOLS_COPY_SPEED_H
#define TOOLS_COPY_SPEED_H

#include <stdint.h>

/* What: GB/s (1e9 bytes) at which one thread copies `bytes` bytes that no cache holds, by
 * the faster of memcpy and a loop of streaming stores; the median of 15 each. 0 when there
 * is nothing to copy or no memory. Takes about 0.3 s. */
double copy_speed(uint64_t bytes);

#endif
