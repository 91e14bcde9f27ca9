/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the packed way needs to know of a hand-off: each layer's half of the plan, and the pieces.
 *
 * A piece is one layer's share of up to `wire_tokens` consecutive tokens, by head or by token (segue_plan_cost), content K then
 * V, and the producer's element type. Token t of the prompt lies at place t % wire_tokens of its piece, so the halves of a
 * plan are compiled once for a pair of caches, whatever tokens travel.
 */
#ifndef HANDOFF_PACK_H
#define HANDOFF_PACK_H

#include "agent/stage.h"
#include "kv/plan.h"

struct segue_cache;

/* One side's compiled half; kept with its route. */
struct segue_pack {
    bool feeds;   /* memory -> slot; else slot -> memory */
    bool strided; /* the device copies with strides */
    bool scratch; /* the device copies contiguous runs only: the host does the relayout */
    bool per_token;       /* and not even tokens are contiguous: one copy a token */
    uint32_t wire_tokens; /* tokens of a piece */
    enum segue_wire_order order;
    uint32_t layers; /* of the overlap */
    struct segue_device *device, *host;
    struct segue_plan *near;  /* layers entries: memory <-> slot, or memory <-> scratch */
    struct segue_plan *relay; /* layers entries: scratch <-> slot */
    struct segue_move wire;   /* slot <-> slot */
};

/* What: how many tokens of any layer a slot holds for these two caches. 0: not one. */
uint32_t segue_pack_tokens(const struct segue_geometry *src,
                           const struct segue_geometry *dst);

/* What: compiles one side: `src` is the producer's geometry, `dst` the consumer's; `cache` is ours, on the side `feeds`
 * says. E_RANGE when `wire_tokens` do not fit in a slot. Owned: segue_pack_free. */
enum segue_status segue_pack_build(struct segue_cache *cache, bool feeds,
                                   const struct segue_geometry *src,
                                   const struct segue_geometry *dst, uint32_t wire_tokens,
                                   enum segue_wire_order order, struct segue_pack **out);
void segue_pack_free(struct segue_pack *pack);

/* One hand-off over a pack. Lives in its caller's object; its arrays are kept from use to use. */
struct segue_pack_run {
    struct segue_stage_pieces pieces; /* what the stage reads */
    const struct segue_pack *pack;
    uint32_t groups;          /* pieces a layer */
    struct segue_span *spans; /* memory <-> wire, in token order */
    struct segue_span *whole; /* groups entries: the tokens of each piece in a slot */
    uint32_t *at;             /* groups + 1 entries: where each piece's spans begin */
    size_t n_spans, spans_cap, groups_cap;
};

/* What: makes `run` ready for tokens [first, first + tokens) that lie in `blocks`. `memory` is borrowed until the run is
 * over: the cache's regions as its device addresses them. */
enum segue_status segue_pack_bind(const struct segue_pack *pack,
                                  const struct segue_geometry *ours,
                                  const struct segue_extent *memory, uint32_t n_memory,
                                  const uint32_t *blocks, size_t n_blocks, uint32_t first,
                                  uint32_t tokens, struct segue_pack_run *run);
void segue_pack_run_free(struct segue_pack_run *run);

#endif
