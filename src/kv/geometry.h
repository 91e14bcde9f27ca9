/* SPDX-License-Identifier: Apache-2.0 */
/* One side of a plan: a layout, where its layers lie, and which layers and KV heads of
 * the model it holds. */
#ifndef KV_GEOMETRY_H
#define KV_GEOMETRY_H

#include <segue/layout.h>

/* Where one layer's memory starts. */
struct segue_layer {
    uint32_t region; /* index into the cache's regions */
    uint64_t offset; /* bytes into it; the layout's part offsets come on top (and its
                        layer strides do not) */
};

struct segue_geometry {
    struct segue_layout layout;
    uint32_t layer_first, layers_total; /* this rank holds layers [layer_first,
                                           layer_first + layout.layers) of the model */
    uint32_t head_first,
        heads_total; /* and KV heads [head_first, head_first + layout.heads) */
    const struct segue_layer *layer; /* layout.layers entries, borrowed; or NULL: one
                                        region 0, evenly strided by the layout */
};

/* What: whether the geometry is sound by itself: the layout is, layers and heads lie
 * inside the model's, no offset is beyond 63 bits. E_INVALID or E_RANGE with the sentence,
 * which calls it `name`. Whether it fits its regions is decided at each copy. Pure. */
enum segue_status segue_geometry_check(const struct segue_geometry *geometry,
                                       const char *name);

/* Layers or heads [first, first + count) of the model. */
struct segue_share {
    uint32_t first, count;
};

/* What: what two shares have in common; count 0: nothing. Pure. */
struct segue_share segue_share_overlap(uint32_t a_first, uint32_t a_count,
                                       uint32_t b_first, uint32_t b_count);

#endif
