/* SPDX-License-Identifier: Apache-2.0 */
/* One side of a plan, by itself, and the packed side that lies between two. */
#include "kv/geometry.h"

#include <stdbool.h>
#include "base/status.h"
#include "kv/plan.h"

static enum segue_status check_share(const char *name, const char *what, uint32_t first,
                                     uint32_t count, uint32_t total)
{
    if (total > INT32_MAX || first > total || count > total - first)
        return segue_fail(SEGUE_E_INVALID, "the %s holds %s %u to %llu of %u", name, what,
                          first, (unsigned long long)first + count, total);
    return SEGUE_OK;
}

enum segue_status segue_geometry_check(const struct segue_geometry *geometry,
                                       const char *name)
{
    const struct segue_layout *layout = &geometry->layout;
    SEGUE_TRY(segue_layout_check(layout));
    SEGUE_TRY(check_share(name, "layers", geometry->layer_first, layout->layers,
                          geometry->layers_total));
    SEGUE_TRY(check_share(name, "KV heads", geometry->head_first, layout->heads,
                          geometry->heads_total));
    if (!geometry->layer && layout->layers > 1 && layout->k.layer == 0)
        return segue_fail(SEGUE_E_INVALID,
                          "the %s has %u layers and neither a layer stride nor regions "
                          "for them",
                          name, layout->layers);
    for (uint32_t i = 0; geometry->layer && i < layout->layers; i++)
        if (geometry->layer[i].offset > INT64_MAX)
            return segue_fail(SEGUE_E_RANGE, "the %s has layer %u at offset %llu", name,
                              i, (unsigned long long)geometry->layer[i].offset);
    return SEGUE_OK;
}

struct segue_share segue_share_overlap(uint32_t a_first, uint32_t a_count,
                                       uint32_t b_first, uint32_t b_count)
{
    uint64_t a_end = (uint64_t)a_first + a_count, b_end = (uint64_t)b_first + b_count;
    uint64_t end = a_end < b_end ? a_end : b_end;
    struct segue_share share = {.first = a_first > b_first ? a_first : b_first};
    if (end > share.first)
        share.count = (uint32_t)(end - share.first);
    return share;
}

enum segue_status segue_geometry_wire(const struct segue_geometry *src,
                                      const struct segue_geometry *dst, uint32_t first,
                                      uint32_t layers, uint32_t tokens,
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
    layout.k.token = layout.v.token = token;
    layout.k.head = layout.v.head = heads;
    layout.k.layer = layout.v.layer = all;
    layout.k.block = layout.v.block = end;
    SEGUE_TRY(segue_layout_check(&layout));
    *out = (struct segue_geometry){.layout = layout,
                                   .layer_first = layer.first + first,
                                   .layers_total = src->layers_total,
                                   .head_first = head.first,
                                   .heads_total = src->heads_total};
    return SEGUE_OK;
}
