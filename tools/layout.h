/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `segue layout` share. */
#ifndef TOOLS_LAYOUT_H
#define TOOLS_LAYOUT_H

#include <segue/plan.h>
#include <stdio.h>

enum { LAYOUT_BLOCKS = 1000 /* in each rank's cache */, LAYOUT_TP_MOST = 4096 };

/* One engine's KV as the command line says it. */
struct layout_side {
    char order[8];  /* "LBNHC", "LB2NHC", ...: with K and V where `kv` puts them */
    const char *kv; /* "token", "halves", "split", "k"; NULL: as the order says */
    uint32_t block, tp, layers, heads, dim, vdim; /* vdim 0 with kv "k" */
    bool vdim_said;
    enum segue_dtype dtype;
    float k_scale, v_scale;
};

/* layout_side.c */

/* What: reads "order=nhd,block=16,tp=2,..." over what `side` has; false with the sentence
 * in `why`. */
bool layout_side_parse(const char *text, struct layout_side *side, char *why,
                       size_t size);

/* What: its order for people: "nhd", "hnd" or the letters. */
const char *layout_side_name(const struct layout_side *side);

/* What: rank's share as the planner takes it; `blocks` in its cache. */
enum segue_status layout_side_rank(const struct layout_side *side, uint32_t rank,
                                   uint32_t blocks, struct segue_plan_side *out);

uint32_t layout_gcd(uint32_t a, uint32_t b);

/* What: calls `each` for every pair of ranks that a plan goes between: for each consumer
 * rank, of the producers that hold the same heads the first. Stops at a status < 0. */
enum segue_status
layout_pairs(const struct layout_side *from, const struct layout_side *to,
             enum segue_status (*each)(void *user, uint32_t src, uint32_t dst,
                                       const struct segue_plan_side *a,
                                       const struct segue_plan_side *b),
             void *user);

/* layout_text.c: the table, the JSON object. */
enum segue_status layout_text(FILE *out, const struct layout_side *from,
                              const struct layout_side *to);
enum segue_status layout_json(FILE *out, const struct layout_side *from,
                              const struct layout_side *to);

/* layout_svg.c: the picture. */
enum segue_status layout_svg(FILE *out, const struct layout_side *from,
                             const struct layout_side *to);

#endif
