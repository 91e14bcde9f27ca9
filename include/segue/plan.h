/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner makes of two layouts, to look at: which strided moves carry KV from one
 * to the other. Hand-offs plan for themselves; tools and tests ask here.
 *
 * A move copies, for every token t of block b and every index of its dims, `src_run` bytes
 * from src_offset + b * src_block + t * src_token + index * dim.src to the same with dst.
 */
#ifndef SEGUE_PLAN_H
#define SEGUE_PLAN_H

#include <segue/layout.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct segue_plan segue_plan;

/* One rank's share of a model's KV. */
struct segue_plan_side {
    size_t size; /* sizeof, set by SEGUE_PLAN_SIDE_INIT */
    struct segue_layout layout;
    uint32_t layer_first, layers_total; /* zero total: layout.layers */
    uint32_t head_first, heads_total;   /* KV heads; zero total: layout.heads */
    float k_scale, v_scale;             /* what stored elements are multiplied by; 0: 1 */
};
#define SEGUE_PLAN_SIDE_INIT                                                             \
    {                                                                                    \
        .size = sizeof(struct segue_plan_side), .layout = SEGUE_LAYOUT_INIT              \
    }

/* What: the KV heads of rank `rank` of `ranks`: an equal share, or one head that several
 * ranks have. E_INVALID naming both numbers when neither divides the other. Pure. */
SEGUE_API enum segue_status segue_plan_heads(uint32_t heads, uint32_t rank,
                                             uint32_t ranks, uint32_t *first,
                                             uint32_t *count);

/* What: the plan from `src`, the producer's side, to `dst`. E_MISMATCH naming both sides'
 * values when it cannot be; E_INVALID or E_RANGE for a side that is unsound by itself.
 * Owned: segue_plan_destroy. Pure; any thread. */
SEGUE_API enum segue_status segue_plan_create(const struct segue_plan_side *src,
                                              const struct segue_plan_side *dst,
                                              segue_plan **out);
SEGUE_API void segue_plan_destroy(segue_plan *plan);

struct segue_plan_info {
    uint32_t moves;
    uint64_t bytes_per_token; /* of the source; 0: the sides have nothing in common */
    uint32_t run, src_run,
        dst_run;                 /* contiguous bytes, at best: on both sides at once, of
                                        one block's tokens on each */
    bool converts;               /* elements change on their way */
    bool src_linear, dst_linear; /* tokens run on over consecutive blocks */
};
SEGUE_API void segue_plan_about(const segue_plan *plan, struct segue_plan_info *out);

struct segue_plan_dim {
    uint32_t count;
    uint64_t src, dst; /* bytes from one index to the next */
};

struct segue_plan_move {
    uint64_t src_offset, dst_offset, src_block, dst_block, src_token, dst_token;
    uint32_t src_run, dst_run; /* bytes; they differ where elements are converted */
    enum segue_dtype from, to;
    float scale;          /* each element is multiplied by it; 0: it is not */
    uint32_t dims, outer; /* used of dim[]; how many of those step further than a block */
    struct segue_plan_dim dim[4];
};

/* What: move number `index` < moves. */
SEGUE_API void segue_plan_move_at(const segue_plan *plan, uint32_t index,
                                  struct segue_plan_move *out);

#ifdef __cplusplus
}
#endif
#endif
