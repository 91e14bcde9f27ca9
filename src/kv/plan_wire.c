/* SPDX-License-Identifier: Apache-2.0 */
/* The packed side that lies between two geometries. */
#include "kv/plan.h"

#include "base/status.h"

enum segue_status segue_geometry_wire(const struct segue_geometry *src,
                                      const struct segue_geometry *dst, uint32_t first,
                                      uint32_t layers, uint32_t tokens,
                                      enum segue_wire_order order,
                                      struct segue_geometry *out)
{
    const struct segue_layout *from = &src->layout, *to = &dst->layout;
    struct segue_share layer = segue_share_overlap(src->layer_first, from->layers,
                                                   dst->layer_first, to->layers);
    struct segue_share head = segue_share_overlap(src->head_first, from->heads,
                                                  dst->head_first, to->heads);
    if (first > layer.count || layers > layer.count - first)
        return segue_fail(SEGUE_E_RANGE,
                          "layers %u to %llu of the %u that both sides hold", first,
                          (unsigned long long)first + layers, layer.count);
    size_t at = layer.first + first - src->layer_first; /* in the producer's tables */
    struct segue_layout layout = SEGUE_LAYOUT_INIT;
    layout.dtype = from->dtype;
    layout.layers = layers;
    layout.blocks = 1;
    layout.block_tokens = tokens;
    layout.heads = head.count;
    layout.k.bytes = from->k.bytes;
    layout.v.bytes = from->v.bytes;
    layout.v.offset = from->k.bytes;
    uint64_t token = (uint64_t)from->k.bytes + from->v.bytes, heads, all, end;
    if (__builtin_mul_overflow(token, tokens, &heads) ||
        __builtin_mul_overflow(heads, head.count, &all) ||
        __builtin_mul_overflow(all, layers, &end))
        return segue_fail(SEGUE_E_RANGE, "%u layers x %u heads x %u tokens overflow",
                          layers, head.count, tokens);
    bool by_head = order == SEGUE_WIRE_BY_HEAD;
    layout.k.token = layout.v.token = by_head ? token : token * head.count;
    layout.k.head = layout.v.head = by_head ? heads : token;
    layout.k.layer = layout.v.layer = all;
    layout.k.block = layout.v.block = end;
    SEGUE_TRY(segue_layout_check(&layout));
    *out = (struct segue_geometry){.layout = layout,
                                   .layer_first = layer.first + first,
                                   .layers_total = src->layers_total,
                                   .head_first = head.first,
                                   .heads_total = src->heads_total,
                                   .group = src->group,
                                   .kind = src->kind,
                                   .window = src->window,
                                   .scale = src->scale ? src->scale + 2 * at : NULL};
    return SEGUE_OK;
}
