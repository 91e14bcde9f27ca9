/* SPDX-License-Identifier: Apache-2.0 */
/* Strides of a paged KV cache and the names of its orders and element types. */
#include "cache.h"
#include "fail.h"
#include "kernels.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const char *const order_names[CACHE_ORDERS] = {
    [CACHE_LBHNC] = "LBHNC", [CACHE_LBNHC] = "LBNHC", [CACHE_LHBNC] = "LHBNC",
    [CACHE_BLHNC] = "BLHNC", [CACHE_BLNHC] = "BLNHC", [CACHE_BHLNC] = "BHLNC",
};
static const char *const dtype_names[CACHE_DTYPES] = {
    [CACHE_FP32] = "fp32",         [CACHE_FP16] = "fp16",         [CACHE_BF16] = "bf16",
    [CACHE_FP8_E4M3] = "fp8_e4m3", [CACHE_FP8_E5M2] = "fp8_e5m2",
};

uint32_t cache_dtype_bytes(enum cache_dtype dtype)
{
    if (dtype == CACHE_FP32)
        return 4;
    return dtype == CACHE_FP16 || dtype == CACHE_BF16 ? 2 : 1;
}

static int check_shape(const struct cache_shape *shape)
{
    if (!shape->layers || !shape->blocks || !shape->block_tokens || !shape->kv_heads)
        return engine_fail(
            "a KV cache needs at least one layer, block, token and head, not "
            "%u, %u, %u and %u",
            shape->layers, shape->blocks, shape->block_tokens, shape->kv_heads);
    if (!shape->head_dim || shape->head_dim % 2)
        return engine_fail("head dimension %u is not even", shape->head_dim);
    if ((unsigned)shape->dtype >= CACHE_DTYPES || (unsigned)shape->order >= CACHE_ORDERS)
        return engine_fail("unknown KV dtype %d or order %d", shape->dtype, shape->order);
    return 0;
}

int cache_plan(struct cache *out, const struct cache_shape *shape)
{
    if (check_shape(shape))
        return -1;
    struct cache cache = {.shape = *shape};
    struct {
        char axis;
        uint32_t count;
        size_t *stride;
    } axes[] = {
        {'L', shape->layers, &cache.layer_stride},
        {'B', shape->blocks, &cache.block_stride},
        {'H', shape->kv_heads, &cache.head_stride},
        {'N', shape->block_tokens, &cache.token_stride},
    };
    cache.row_bytes = (size_t)2 * shape->head_dim * cache_dtype_bytes(shape->dtype);
    size_t size = cache.row_bytes;
    const char *order = order_names[shape->order];
    for (int place = 3; place >= 0; place--) /* from the inside out; C is place 4 */
        for (int i = 0; i < 4; i++) {
            if (axes[i].axis != order[place])
                continue;
            *axes[i].stride = size;
            if (__builtin_mul_overflow(size, (size_t)axes[i].count, &size) ||
                size > PTRDIFF_MAX)
                return engine_fail("a KV cache of %u blocks of %u tokens is larger than "
                                   "memory can be",
                                   shape->blocks, shape->block_tokens);
        }
    cache.size = size;
    *out = cache;
    return 0;
}

void cache_encode(enum cache_dtype dtype, void *to, const float *from, uint32_t n)
{
    kernels_best()->encode(dtype, to, from, n);
}

void cache_decode(enum cache_dtype dtype, float *to, const void *from, uint32_t n)
{
    kernels_best()->decode(dtype, to, from, n);
}

const char *cache_dtype_name(enum cache_dtype dtype)
{
    return (unsigned)dtype < CACHE_DTYPES ? dtype_names[dtype] : "?";
}

const char *cache_order_name(enum cache_order order)
{
    return (unsigned)order < CACHE_ORDERS ? order_names[order] : "?";
}

int cache_dtype_parse(enum cache_dtype *out, const char *name)
{
    if (!strcasecmp(name, "fp8"))
        name = dtype_names[CACHE_FP8_E4M3];
    for (int i = 0; i < CACHE_DTYPES; i++)
        if (!strcasecmp(name, dtype_names[i])) {
            *out = (enum cache_dtype)i;
            return 0;
        }
    return engine_fail(
        "unknown KV dtype %.32s: fp32, fp16, bf16, fp8 (fp8_e4m3) or fp8_e5m2", name);
}

int cache_order_parse(enum cache_order *out, const char *name)
{
    const char *want = !strcasecmp(name, "hnd")   ? "LBHNC"
                       : !strcasecmp(name, "nhd") ? "LBNHC"
                                                  : name;
    for (int i = 0; i < CACHE_ORDERS; i++)
        if (!strcasecmp(want, order_names[i])) {
            *out = (enum cache_order)i;
            return 0;
        }
    return engine_fail("unknown KV layout %.32s: hnd (LBHNC), nhd (LBNHC), LHBNC, BLHNC, "
                       "BLNHC or BHLNC",
                       name);
}
