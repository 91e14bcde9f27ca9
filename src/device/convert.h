/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of one type become elements of another on their way. Pure; any thread. */
#ifndef DEVICE_CONVERT_H
#define DEVICE_CONVERT_H

#include "device/rows.h"

/* What: converts n elements of any alignment between fp32, fp16, bf16 and the two fp8
 * types (enum segue_dtype), each multiplied by `scale` in between; 0: by nothing.
 * Narrowing rounds to nearest even and keeps NaN; what is too large becomes infinity, in
 * fp8 the largest number there is, as accelerators' caches have it. */
void segue_convert(const struct segue_rows_ops *ops, char *dst, int to, const char *src,
                   int from, uint64_t n, float scale);

#endif
