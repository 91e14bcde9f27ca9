/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How one rank's share of a KV cache lies in memory, as strided axes.
 *
 * The keys and values of (layer, block, head, token) are two runs of bytes, K and V. Each
 * has an offset and a stride per axis, so that every arrangement in use is the same
 * struct: K and V side by side per token, in halves per block, or tensors apart; MLA is K
 * alone with one head. Strides are bytes. The memory itself, and which layers and heads
 * of the model this rank holds, are said when the cache is opened (segue/cache.h).
 */
#ifndef SEGUE_LAYOUT_H
#define SEGUE_LAYOUT_H

#include <segue/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum segue_dtype {
    SEGUE_DTYPE_BYTES = 0, /* opaque: never converted, must be equal on both sides */
    SEGUE_DTYPE_FP32 = 1,
    SEGUE_DTYPE_FP16 = 2,
    SEGUE_DTYPE_BF16 = 3,
    SEGUE_DTYPE_FP8_E4M3 =
        4, /* 4 exponent bits, 3 of mantissa; up to 448, no infinities */
    SEGUE_DTYPE_FP8_E5M2 = 5, /* 5 and 2; up to 57344, infinities */
};

/* What a cache keeps of a sequence. */
enum segue_state {
    SEGUE_STATE_ALL = 0,    /* K and V of every token: full attention */
    SEGUE_STATE_WINDOW = 1, /* of the last `window` tokens: sliding-window attention */
    SEGUE_STATE_PAGES = 2,  /* nothing per token: opaque pages (SSM), copied whole */
};

/* K or V of every (layer, block, head, token): `bytes` at offset + layer*l + block*b +
 * head*h + token*t. */
struct segue_layout_part {
    uint32_t
        bytes; /* head size x element size; 0: this part does not exist (MLA has no V) */
    uint64_t offset;                    /* bytes from the start of the layer's memory */
    uint64_t layer, block, head, token; /* strides, bytes; `layer` is unused when layers
                                           have regions of their own */
};

struct segue_layout {
    size_t size;           /* sizeof(struct segue_layout), set by SEGUE_LAYOUT_INIT */
    uint32_t dtype;        /* enum segue_dtype */
    uint32_t layers;       /* layers this rank holds */
    uint32_t blocks;       /* blocks in the cache */
    uint32_t block_tokens; /* tokens a block */
    uint32_t heads;        /* KV heads this rank holds */
    struct segue_layout_part k, v;
};
#define SEGUE_LAYOUT_INIT                                                                \
    {                                                                                    \
        .size = sizeof(struct segue_layout)                                              \
    }

/* What: fills `out` for an order of axes, outermost first, no padding between them.
 *
 * The letters: L(ayer) B(lock) H(ead) N (token in its block) in any order, then C: the
 * elements of one head and token. Without more, C is K then V of that token; a `2` says
 * at which place K and V part instead:
 *
 *     LBNHC    nhd    K and V side by side for every token       [L, B, N, H, K V]
 *     LBHNC    hnd                                               [L, B, H, N, K V]
 *     LBH2NC          halves of every (block, head)              [L, B, H, 2, N, D]
 *     LB2NHC          halves of every block                      [L, B, 2, N, H, D]
 *     L2BNHC          tensors of their own; B and N side by side [L, 2, B, N, H, D]
 *                     are Gaudi's fused axis [B * N, H, D], and, with blocks of one
 *                     token, token rows
 *
 * Six orders without a 2 are those vLLM names in KVCacheLayout: LBHNC (alias "hnd"), LBNHC
 * (alias "nhd"), LHBNC, BLHNC, BLNHC, BHLNC. Units: head_size in elements. Errors: E_INVALID
 * naming the order or the number; E_RANGE when the product overflows 63 bits. Pure; any
 * thread. */
SEGUE_API enum segue_status segue_layout_named(const char *order, enum segue_dtype dtype,
                                               uint32_t layers, uint32_t blocks,
                                               uint32_t block_tokens, uint32_t heads,
                                               uint32_t head_size,
                                               struct segue_layout *out);

/* What: the same for heads whose K and V differ in size, both in elements. v_size 0: there
 * is K alone (an MLA latent: one head, whole on every rank). */
SEGUE_API enum segue_status segue_layout_sized(const char *order, enum segue_dtype dtype,
                                               uint32_t layers, uint32_t blocks,
                                               uint32_t block_tokens, uint32_t heads,
                                               uint32_t k_size, uint32_t v_size,
                                               struct segue_layout *out);

/* What: fills `out` for opaque pages of `page_bytes` each (SEGUE_STATE_PAGES): a block is a
 * page of one "token", side by side within a layer. Errors as above. Pure. */
SEGUE_API enum segue_status segue_layout_pages(uint32_t layers, uint32_t pages,
                                               uint32_t page_bytes,
                                               struct segue_layout *out);

/* What: bytes from the start of the memory to just past the last byte the layout touches.
 * 0 when it overflows 63 bits. Pure. */
SEGUE_API uint64_t segue_layout_bytes(const struct segue_layout *layout);

/* What: whether the layout is sound: sizes positive, no overflow, no two (layer, block,
 * head, token) sharing a byte. Axes must nest: a stride is at least what the smaller
 * strides span. A layer stride of 0 in both parts says that layers have regions of their
 * own. Errors: E_INVALID or E_RANGE with the sentence. Pure; any thread. */
SEGUE_API enum segue_status segue_layout_check(const struct segue_layout *layout);

/* What: "nhd", "hnd", "LHBNC", ..., or one of the six with K and V in halves or apart
 * ("LBH2NC", "L2BNHC", ...), when the strides are those of that order, else "strided".
 * Static storage. Pure. */
SEGUE_API const char *segue_layout_name(const struct segue_layout *layout);

/* What: bytes of one element, 1 for SEGUE_DTYPE_BYTES, 0 for a number that is no type;
 * "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "bytes" ("?"), and back ("fp8" is
 * fp8_e4m3; E_INVALID). Pure; any thread. */
SEGUE_API uint32_t segue_dtype_size(enum segue_dtype dtype);
SEGUE_API const char *segue_dtype_name(enum segue_dtype dtype);
SEGUE_API enum segue_status segue_dtype_find(const char *name, enum segue_dtype *out);

#ifdef __cplusplus
}
#endif
#endif
