/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of a plan: a layout, where its layers lie, which layers and KV heads of the
 * model it holds, and which tokens.
 *
 * A model whose layers keep different state has a cache for each group of them, with a
 * layout and a block size of its own; layers are counted within their group:
 *
 *     group 0  ALL     full attention: every token of the prompt
 *     group 1  WINDOW  sliding window: a hand-off is clipped to the last `window` tokens
 *     group 2  PAGES   state that is not per token (SSM): "blocks" are opaque pages, so
 *                      many a request, copied whole; a "token" is a page
 */
#ifndef KV_GEOMETRY_H
#define KV_GEOMETRY_H

#include <segue/layout.h>
#include <stdbool.h>

#define SEGUE_GEOMETRY_LAYERS_MAX 4096 /* layers of one cache */

/* Where one layer's memory starts. */
struct segue_layer {
    uint32_t region; /* index into the cache's regions */
    uint64_t offset; /* bytes into it; the layout's part offsets come on top (and its
                        layer strides do not) */
};

struct segue_geometry {
    struct segue_layout layout;
    uint32_t layer_first, layers_total; /* this rank holds layers [layer_first,
                                           layer_first + layout.layers) of the group */
    uint32_t head_first,
        heads_total; /* and KV heads [head_first, head_first + layout.heads) */
    uint32_t group;  /* number in the model */
    uint32_t kind;   /* enum segue_state */
    uint32_t window; /* tokens; WINDOW only */
    const struct segue_layer *layer;   /* layout.layers entries, borrowed; or NULL: one
                                        region 0, evenly strided by the layout */
    const struct segue_layer *v_layer; /* the same for V where it has tensors of its own;
                                          NULL: V lies with K. Needs `layer` */
    const float *scale; /* {K, V} of each layer: what a stored element is multiplied by to
                           be its value; NULL: 1 */
};

/* Room for the tables of any geometry that may come from a peer. */
struct segue_geometry_room {
    struct segue_layer layer[2 * SEGUE_GEOMETRY_LAYERS_MAX];
    float scale[2 * SEGUE_GEOMETRY_LAYERS_MAX];
};

/* What: whether the geometry is sound by itself: the layout is, layers and heads lie
 * inside the model's, no offset is beyond 63 bits, scales are positive numbers. E_INVALID
 * or E_RANGE with the sentence, which calls it `name`. Whether it fits its regions is
 * decided at each copy. Pure. */
enum segue_status segue_geometry_check(const struct segue_geometry *geometry,
                                       const char *name);

/* What: a copy with tables of its own. Owned: segue_geometry_drop. E_MEMORY. */
enum segue_status segue_geometry_copy(const struct segue_geometry *from,
                                      struct segue_geometry *to);
void segue_geometry_drop(struct segue_geometry *geometry);

/* What: whether both say the same, tables included. Pure. */
bool segue_geometry_equal(const struct segue_geometry *a, const struct segue_geometry *b);

/* What: where layer `index` of the rank (counted from layer_first) begins, for K or V,
 * without the part's offset. Pure. */
struct segue_layer segue_geometry_layer(const struct segue_geometry *geometry,
                                        uint32_t index, bool v);

/* What: which of a request's first `tokens` tokens a hand-off of this geometry carries when
 * the consumer has the first `have` already: [*first, tokens) for ALL and WINDOW. PAGES
 * knows no tokens: all pages, whatever is there. Pure. */
uint32_t segue_geometry_first(const struct segue_geometry *geometry, uint32_t tokens,
                              uint32_t have);

/* Layers or heads [first, first + count) of the model. */
struct segue_share {
    uint32_t first, count;
};

/* What: what two shares have in common; count 0: nothing. Pure. */
struct segue_share segue_share_overlap(uint32_t a_first, uint32_t a_count,
                                       uint32_t b_first, uint32_t b_count);

/* What: rank `rank` of `ranks` tensor-parallel ranks' share of `heads` KV heads: an equal
 * slice, or, where there are more ranks than heads, the one head it shares with its
 * neighbours (GQA; for an MLA latent `heads` is 1, so every rank has it whole). E_INVALID
 * naming both when neither divides the other. Pure. */
enum segue_status segue_share_heads(uint32_t heads, uint32_t rank, uint32_t ranks,
                                    struct segue_share *out);

#endif
