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
    const struct segue_layer *places = v && g->v_layer ? g->v_layer : g->layer;
    if (places) {
        place.region = places[l].region;
        place.offset += places[l].offset;
    } else {
        place.offset += l * part->layer;
    }
    place.offset += block * part->block + (head - g->head_first) * part->head +
                    token * part->token;
    return place;
}

/* One run of elements: where it lies on both sides, and what it is multiplied by. */
struct naive_run {
    struct naive_place src, dst;
    uint32_t bytes; /* at the source */
    float scale;    /* 0: by nothing */
};

static inline float naive_scale(const struct segue_geometry *src,
                                const struct segue_geometry *dst, bool v, uint32_t layer)
{
    uint32_t s = 2 * (layer - src->layer_first) + v,
             d = 2 * (layer - dst->layer_first) + v;
    float from = src->scale ? src->scale[s] : 1, to = dst->scale ? dst->scale[d] : 1;
    return from == to ? 0 : from / to;
}

static inline bool naive_holds(const struct segue_geometry *g, uint32_t layer,
                               uint32_t head)
{
    return layer >= g->layer_first && layer - g->layer_first < g->layout.layers &&
           head >= g->head_first && head - g->head_first < g->layout.heads;
}

/* Calls `each` for the K, then the V, of every (layer, head, token) both sides hold. */
static inline void naive_walk(const struct segue_geometry *src,
                              const struct segue_tokens *from,
                              const struct segue_geometry *dst,
                              const struct segue_tokens *to, uint64_t tokens,
                              void (*each)(void *user, const struct naive_run *run),
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
                    struct naive_run run = {
                        naive_find(src, v, l, h, from->blocks[s / sn],
                                   (uint32_t)(s % sn)),
                        naive_find(dst, v, l, h, to->blocks[d / dn], (uint32_t)(d % dn)),
                        v ? src->layout.v.bytes : src->layout.k.bytes,
                        naive_scale(src, dst, v, l)};
                    if (run.bytes > 0)
                        each(user, &run);
                }
        }
}

/* Calls `each` for every run of a transfer, as move.h writes it down. */
static inline void naive_expand(const struct segue_transfer *t,
                                void (*each)(void *user, const struct segue_move *move,
                                             uint64_t src, uint64_t dst),
                                void *user)
{
    for (size_t m = 0; m < t->n_moves; m++) {
        const struct segue_move *move = &t->moves[m];
        uint64_t outer = 1, inner = 1;
        for (unsigned d = 0; d < move->dims; d++)
            *(d < move->outer ? &outer : &inner) *= move->dim[d].count;
        for (uint64_t o = 0; o < outer; o++)
            for (size_t s = 0; s < t->n_spans; s++)
                for (uint64_t n = 0; n <= t->spans[s].more; n++)
                    for (uint64_t i = 0; i < inner; i++)
                        for (uint32_t k = 0; k < t->spans[s].tokens; k++) {
                            struct segue_span span = segue_span_at(&t->spans[s],
                                                                   (uint32_t)n);
                            uint64_t src = move->src_offset +
                                           span.src_block * move->src_block +
                                           (span.src_token + k) * move->src_token;
                            uint64_t dst = move->dst_offset +
                                           span.dst_block * move->dst_block +
                                           (span.dst_token + k) * move->dst_token;
                            uint64_t left[2] = {o, i};
                            for (unsigned d = move->dims; d-- > 0;) {
                                uint64_t *in = &left[d >= move->outer];
                                src += *in % move->dim[d].count * move->dim[d].src;
                                dst += *in % move->dim[d].count * move->dim[d].dst;
                                *in /= move->dim[d].count;
                            }
                            each(user, move, src, dst);
                        }
    }
}

#endif
