/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paged KV cache of one tensor-parallel rank, as strides over one allocation.
 *
 * Axes: L(ayer), B(lock), H(ead), N (token in its block), C(ontent). A content row is one
 * token of one head: K then V, 2 * head_dim elements, contiguous. The order of the axes,
 * outermost first, is one of the six that vLLM names. The memory is the caller's: plain
 * memory or the CPU view of a Segue device. Nothing here locks: rows are written by the
 * runner's step and read by it or, between steps, by a transfer.
 */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include <stddef.h>
#include <stdint.h>

enum cache_dtype {
    CACHE_FP32,
    CACHE_FP16,
    CACHE_BF16,
    CACHE_FP8_E4M3,
    CACHE_FP8_E5M2,
    CACHE_DTYPES
};

enum cache_order {
    CACHE_LBHNC, /* "hnd" */
    CACHE_LBNHC, /* "nhd" */
    CACHE_LHBNC,
    CACHE_BLHNC,
    CACHE_BLNHC,
    CACHE_BHLNC,
    CACHE_ORDERS
};

struct cache_shape {
    uint32_t layers;
    uint32_t blocks;       /* block ids are 0..blocks-1 */
    uint32_t block_tokens; /* any number >= 1 */
    uint32_t kv_heads;     /* of this rank: the model's divided by TP */
    uint32_t head_dim;
    enum cache_dtype dtype;
    enum cache_order order;
};

struct cache {
    struct cache_shape shape;
    /* bytes from one to the next */
    size_t layer_stride, block_stride, head_stride, token_stride;
    size_t row_bytes; /* of one content row: K and V */
    size_t size;      /* of the whole cache */
    uint8_t *base;    /* NULL until the caller sets it; aligned to 4 bytes at least */
};

/* Computes strides and size; base stays NULL. -1 when a number is 0, head_dim is odd, or
 * the size does not fit; the sentence names it. */
int cache_plan(struct cache *out, const struct cache_shape *shape);

/* Where the row of (layer, block, head, token in block) begins. Not checked. */
static inline uint8_t *cache_row(const struct cache *cache, uint32_t layer,
                                 uint32_t block, uint32_t head, uint32_t token)
{
    return cache->base + layer * cache->layer_stride + block * cache->block_stride +
           head * cache->head_stride + token * cache->token_stride;
}

/* Elements <-> floats, n of them, round to nearest even. Any thread. */
void cache_encode(enum cache_dtype dtype, void *to, const float *from, uint32_t n);
void cache_decode(enum cache_dtype dtype, float *to, const void *from, uint32_t n);

uint32_t cache_dtype_bytes(enum cache_dtype dtype);

/* Names for people: "fp32" "fp16" "bf16" "fp8_e4m3" "fp8_e5m2"; "LBHNC" ... The parsers
 * also take "fp8" (fp8_e4m3), "hnd", "nhd"
 * and lower case; -1 with a sentence that lists the names. */
const char *cache_dtype_name(enum cache_dtype dtype);
const char *cache_order_name(enum cache_order order);
int cache_dtype_parse(enum cache_dtype *out, const char *name);
int cache_order_parse(enum cache_order *out, const char *name);

#endif
