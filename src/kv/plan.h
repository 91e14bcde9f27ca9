/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner: compiles (producer geometry -> consumer geometry) into moves, and binds
 * them to block lists as spans. Pure.
 *
 * A plan covers exactly the layers and heads both sides hold: a consumer rank runs one
 * plan against every producer rank it overlaps (choosing, among replicas of a head, the
 * first that has it), and together they write every byte of the consumer's share once.
 * Heads and K/V parts become dims; K and V, layers and heads that lie evenly spaced on
 * both sides are folded, contiguous ones become one longer run. So a plan has O(layers)
 * moves, often one.
 */
#ifndef KV_PLAN_H
#define KV_PLAN_H

#include "base/move.h"
#include "kv/geometry.h"

struct segue_plan {
    struct segue_move *moves; /* owned: one block, freed by segue_plan_free */
    uint32_t n_moves;
    uint64_t bytes_per_token; /* source bytes one token carries in this plan; 0: the two
                                  sides do not overlap */
    /* Selection reads these. Contiguous bytes, at best, of one block's worth of tokens on
     * each side alone, and of what is contiguous on both at once: what a piece of a
     * cursor carries. */
    uint32_t src_run, dst_run, run;
    bool converts; /* elements change on their way: their type, or by a scale */
    /* Binding reads these. Whether the tokens of each side run on over consecutive blocks,
     * and whether the order of the bytes allows spans to be joined. */
    bool src_linear, dst_linear, spans_join;
};

/* What: the plan from `src` to `dst`. E_MISMATCH, naming both values, when they cannot
 * fit: group, kind, window, layers_total, heads_total, head sizes, element type without a
 * converter. A plan
 * with bytes_per_token 0 is legal: nothing to do between these two. */
enum segue_status segue_plan_build(const struct segue_geometry *src,
                                   const struct segue_geometry *dst,
                                   struct segue_plan *out);
void segue_plan_free(struct segue_plan *plan);

/* The order of a packed piece: (layer, head, token) or (layer, token, head), then K and V. */
enum segue_wire_order { SEGUE_WIRE_BY_HEAD, SEGUE_WIRE_BY_TOKEN, SEGUE_WIRE_ORDERS };

/* What: the geometry of a packed piece in that order for the overlap of `src` and `dst`, `tokens` tokens and layers [first, first + layers) of
 * that overlap: one region, one block, in the producer's dtype. So the producer's half is
 * plan_build(src, wire) and the consumer's half plan_build(wire, dst). */
enum segue_status segue_geometry_wire(const struct segue_geometry *src,
                                      const struct segue_geometry *dst, uint32_t first,
                                      uint32_t layers, uint32_t tokens,
                                      enum segue_wire_order order,
                                      struct segue_geometry *out);

/* Where a stretch of a sequence lies: token i of it is token i % block_tokens of block
 * blocks[i / block_tokens]. The list is borrowed. */
struct segue_tokens {
    const uint32_t *blocks;
    size_t n_blocks;
    uint32_t block_tokens;
    uint64_t first; /* where the stretch begins in the list, in tokens */
};

/* What: spans that carry `tokens` tokens from where `src` begins to where `dst` begins
 * (for a packed slot: the one block 0 of as many tokens as the slot's geometry has, from
 * its token 0). The sequence is cut where a block ends on either side; what follows at
 * even steps is one span, so consecutive blocks need no span each. The plan says how far
 * that may go, and may be NULL. Writes at most `max` entries; segue_spans_max() says how
 * many are needed at most (SIZE_MAX: absurdly many). E_RANGE when a list is too short,
 * naming which, or `max` is. Pure. */
size_t segue_spans_max(const struct segue_tokens *src, const struct segue_tokens *dst,
                       uint64_t tokens);
enum segue_status segue_spans_bind(const struct segue_plan *plan,
                                   const struct segue_tokens *src,
                                   const struct segue_tokens *dst, uint64_t tokens,
                                   struct segue_span *spans, size_t max, size_t *n_spans);

/* ---- who converts (plan_cost.c) ---- */

/* What the two sides of a packed copy, and what lies between them, can do. */
struct segue_cost_input {
    const struct segue_geometry *src, *dst;
    bool src_strided, dst_strided; /* the device copies with strides; else the host has to
                                      make a second pass where the order differs */
    double link_gbps, copy_gbps;   /* gigabytes a second, of the link and of one copy */
};

struct segue_cost {
    enum segue_wire_order order; /* the better one */
    double
        passes[2]
              [SEGUE_WIRE_ORDERS]; /* {producer, consumer}: time of each side's copy, in
                                            passes of a plain copy over the same bytes */
    uint32_t run[2][SEGUE_WIRE_ORDERS]; /* contiguous bytes of each side's copy */
    char why[160]; /* "wire by token: the producer copies as it lies, the consumer ..." */
};

/* What: in which order pieces travel, so that the slowest of gathering, sending and
 * scattering is as fast as it can be, and the least is copied in all where that is equal:
 * in the producer's own order the consumer converts (scatters), in the consumer's the
 * producer does (gathers). Pure. */
enum segue_status segue_plan_cost(const struct segue_cost_input *in,
                                  struct segue_cost *out);

/* What a copy engine takes. */
struct segue_plan_caps {
    uint64_t pitch; /* most bytes from one row to the next; 0: any */
    uint32_t rows;  /* most rows of one dim; 0: any */
    bool strided;   /* false: contiguous runs only, no dims */
};

/* What: splits the moves of `plan` until each dim has a pitch and a count within `caps`.
 * Spans stay as they are. E_RANGE when that takes more than a million moves, E_MEMORY;
 * the plan is as it was then. Pure. */
enum segue_status segue_plan_split(struct segue_plan *plan,
                                   const struct segue_plan_caps *caps);

#endif
