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
    const struct segue_layer *layer; /* layout.layers entries, or NULL: one region 0,
                                        evenly strided by the layout */
};

#endif
