/* SPDX-License-Identifier: Apache-2.0 */
/* fp8 with integers: both types are a float's top bits, but for the exponent's bias. */
#include "fp8.h"
#include <math.h>
#include <string.h>

struct kind {
    uint32_t mantissa; /* bits */
    uint32_t rebias;   /* 127 less this type's bias */
    uint32_t most;     /* the largest number; NaN is 0x7f */
    uint32_t infinity; /* 0x80: there is none */
};

static const struct kind kinds[] = {{3, 120, 0x7e, 0x80}, {2, 112, 0x7b, 0x7c}};

static const struct kind *kind_of(enum cache_dtype dtype)
{
    return &kinds[dtype == CACHE_FP8_E5M2];
}

static uint8_t encode(const struct kind *kind, float value)
{
    uint32_t bits, drop = 23 - kind->mantissa, out;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 24 & 0x80, size = bits & 0x7fffffff, exponent = size >> 23;
    if (size > 0x7f800000)
        return (uint8_t)(sign | 0x7f);
    if (exponent > kind->rebias) {
        size -= kind->rebias << 23;
    } else { /* below the least normal number: the leading 1 is written out */
        drop += kind->rebias + 1 - exponent;
        size = (size & 0x7fffff) | 0x800000;
    }
    if (drop > 24)
        return (uint8_t)sign;
    out = (size + (1U << (drop - 1)) - 1 + (size >> drop & 1)) >> drop;
    return (uint8_t)(sign | (out < kind->most ? out : kind->most));
}

void fp8_encode(enum cache_dtype dtype, uint8_t *to, const float *from, uint32_t n)
{
    const struct kind *kind = kind_of(dtype);
    for (uint32_t i = 0; i < n; i++)
        to[i] = encode(kind, from[i]);
}

void fp8_decode(enum cache_dtype dtype, float *to, const uint8_t *from, uint32_t n)
{
    const struct kind *kind = kind_of(dtype);
    float factor = ldexpf(1, (int)kind->rebias);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = from[i] & 0x7f, bits = size << (23 - kind->mantissa);
        float value;
        memcpy(&value, &bits, sizeof value);
        value *= factor; /* exact, for subnormals too */
        if (size == 0x7f || size > kind->infinity)
            value = NAN;
        else if (size == kind->infinity)
            value = INFINITY;
        to[i] = from[i] & 0x80 ? -value : value;
    }
}
