/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two 8-bit floating-point types of KV caches: e4m3 (up to 448, no infinities) and e5m2
 * (up to 57344). The scale of every tensor is 1, as engines have it for models that come
 * without measured ones.
 */
#ifndef ENGINE_FP8_H
#define ENGINE_FP8_H

#include "cache.h"

/* n elements, rounded to nearest even; what is too large becomes the largest number, NaN
 * stays NaN. `dtype` is one of the two. Any thread. */
void fp8_encode(enum cache_dtype dtype, uint8_t *to, const float *from, uint32_t n);
void fp8_decode(enum cache_dtype dtype, float *to, const uint8_t *from, uint32_t n);

#endif
