/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hand-off must do, index by index: the oracle the planner and every copy are held
 * against. It knows nothing of moves, only where one element of a geometry lies.
 */
#ifndef TESTS_NAIVE_H
#define TESTS_NAIVE_H

#include <string.h>
#include "kv/plan.h"

/* Where the V or K of (layer and head of the model, block, token) lies. */
struct naive_place {
    uint32_t region;
    uint64_t offset;
};

static inline struct naive_place naive_find(const struct segue_geometry *g, bool v,
                                            uint32_t layer, uint32_t head, uint32_t block,
                                            uint32_t token)
{
    const struct segue_layout_part *part = v ? &g->layout.v : &g->layout.k;
    uint32_t l = layer - g->layer_first;
    struct naive_place place = {0, part->offset};
    if (g->layer) {
        place.region = g->layer[l].region;
        place.offset += g->layer[l].offset;
    } else {
        place.offset += l * part->layer;
    }
    place.offset += block * part->block + (head - g->head_first) * part->head +
                    token * part->token;
    return place;
}

static inline bool naive_holds(const struct segue_geometry *g, uint32_t layer,
                               uint32_t head)
{
    return layer >= g->layer_first && layer - g->layer_first < g->layout.layers &&
           head >= g->head_first && head - g->head_first < g->layout.heads;
}

/* Calls `each` for the K, then the V, of every (layer, head, token) both sides hold. */
static inline void naive_walk(
    const struct segue_geometry *src, const struct segue_tokens *from,
    const struct segue_geometry *dst, const struct segue_tokens *to, uint64_t tokens,
    void (*each)(void *user, struct naive_place a, struct naive_place b, uint32_t bytes),
    void *user)
{
    for (uint32_t l = 0; l < src->layers_total; l++)
        for (uint32_t h = 0; h < src->heads_total; h++) {
            if (!naive_holds(src, l, h) || !naive_holds(dst, l, h))
                continue;
            for (uint64_t t = 0; t < tokens; t++)
                for (int v = 0; v < 2; v++) {
                    uint64_t s = from->first + t, d = to->first + t;
                    uint32_t sn = from->block_tokens, dn = to->block_tokens;
                    uint32_t bytes = v ? src->layout.v.bytes : src->layout.k.bytes;
                    if (bytes > 0)
                        each(user,
                             naive_find(src, v, l, h, from->blocks[s / sn],
                                        (uint32_t)(s % sn)),
                             naive_find(dst, v, l, h, to->blocks[d / dn],
                                        (uint32_t)(d % dn)),
                             bytes);
                }
        }
}

#endif
