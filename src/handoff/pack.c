/* SPDX-License-Identifier: Apache-2.0 */
/* Halves of a plan, one a layer, and their binding to the tokens of one hand-off. */
#include "handoff/pack.h"

#include "base/status.h"
#include "kv/cache.h"

#include <stdlib.h>
#include <string.h>

/* ---- compile ---- */

static uint64_t token_bytes(const struct segue_geometry *g)
{
    return (uint64_t)g->layout.heads * ((uint64_t)g->layout.k.bytes + g->layout.v.bytes);
}

uint32_t segue_pack_tokens(const struct segue_geometry *src,
                           const struct segue_geometry *dst)
{
    uint64_t a = token_bytes(src), b = token_bytes(dst);
    return (uint32_t)(SEGUE_SLOT_BYTES / (a > b ? a : b));
}

/* The scratch has the memory's own order, so that the device's copies stay contiguous: token rows of all heads, or heads
 * of all tokens, as the wire has them. */
static void like_memory(const struct segue_geometry *memory,
                        struct segue_geometry *scratch)
{
    if (memory->layout.k.token <= memory->layout.k.head)
        return;
    uint64_t content = (uint64_t)scratch->layout.k.bytes + scratch->layout.v.bytes;
    scratch->layout.k.head = scratch->layout.v.head = content;
    scratch->layout.k.token = scratch->layout.v.token = content * scratch->layout.heads;
}

/* The copy engine takes no dims: each index becomes a move of its own. */
static enum segue_status flatten(struct segue_plan *plan)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_moves; i++) {
        uint64_t each = 1;
        for (uint32_t d = 0; d < plan->moves[i].dims; d++)
            each *= plan->moves[i].dim[d].count;
        n += each;
    }
    struct segue_move *flat = n < 1 << 20 ? calloc(n ? n : 1, sizeof *flat) : NULL;
    if (!flat)
        return segue_fail(SEGUE_E_MEMORY, "no memory for %llu contiguous moves",
                          (unsigned long long)n);
    uint32_t at = 0;
    for (uint32_t i = 0; i < plan->n_moves; i++) {
        const struct segue_move *m = &plan->moves[i];
        uint32_t index[SEGUE_MOVE_DIMS] = {0};
        for (bool more = true; more;) {
            struct segue_move *f = &flat[at++];
            *f = *m;
            f->dims = f->outer = 0;
            for (uint32_t d = 0; d < m->dims; d++) {
                f->src_offset += index[d] * m->dim[d].src;
                f->dst_offset += index[d] * m->dim[d].dst;
            }
            more = false;
            for (int d = m->dims - 1; d >= 0 && !more; d--) {
                more = ++index[d] < m->dim[d].count;
                if (!more)
                    index[d] = 0;
            }
        }
    }
    free(plan->moves);
    plan->moves = flat;
    plan->n_moves = at;
    return SEGUE_OK;
}

static bool tokens_contiguous(const struct segue_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_moves; i++)
        if (plan->moves[i].src_token != plan->moves[i].run ||
            plan->moves[i].dst_token != plan->moves[i].run)
            return false;
    return true;
}

static enum segue_status build_scratch(struct segue_pack *pack,
                                       const struct segue_geometry *ours, uint32_t layer,
                                       const struct segue_geometry *wire)
{
    struct segue_geometry scratch;
    struct segue_plan *near = &pack->near[layer];
    if (pack->feeds) /* whole tokens, all heads: the host takes the slice out */
        SEGUE_TRY(segue_geometry_wire(ours, ours, wire->layer_first - ours->layer_first,
                                      1, pack->wire_tokens, &scratch));
    else { /* what has come, in our element type */
        scratch = *wire;
        scratch.layout.dtype = ours->layout.dtype;
        scratch.layout.k.bytes = ours->layout.k.bytes;
        scratch.layout.v.bytes = ours->layout.v.bytes;
        uint64_t content = (uint64_t)ours->layout.k.bytes + ours->layout.v.bytes;
        scratch.layout.v.offset = ours->layout.k.bytes;
        scratch.layout.k.token = scratch.layout.v.token = content;
        scratch.layout.k.head = scratch.layout.v.head = content * pack->wire_tokens;
        scratch.layout.k.block = scratch.layout.v.block = content * pack->wire_tokens *
                                                          scratch.layout.heads;
        scratch.layout.k.layer = scratch.layout.v.layer = scratch.layout.k.block;
    }
    like_memory(ours, &scratch);
    if (token_bytes(&scratch) * pack->wire_tokens > SEGUE_SLOT_BYTES)
        return segue_fail(SEGUE_E_RANGE, "%u tokens do not fit in a staging slot of ours",
                          pack->wire_tokens);
    SEGUE_TRY(pack->feeds ? segue_plan_build(ours, &scratch, near)
                          : segue_plan_build(&scratch, ours, near));
    SEGUE_TRY(flatten(near));
    if (layer == 0)
        SEGUE_TRY(pack->feeds ? segue_plan_build(&scratch, wire, &pack->relay)
                              : segue_plan_build(wire, &scratch, &pack->relay));
    pack->per_token |= !tokens_contiguous(near);
    return SEGUE_OK;
}

static enum segue_status build_layer(struct segue_pack *pack,
                                     const struct segue_geometry *src,
                                     const struct segue_geometry *dst, uint32_t layer)
{
    struct segue_geometry wire;
    const struct segue_geometry *ours = pack->feeds ? src : dst;
    SEGUE_TRY(segue_geometry_wire(src, dst, layer, 1, pack->wire_tokens, &wire));
    if (token_bytes(&wire) * pack->wire_tokens > SEGUE_SLOT_BYTES)
        return segue_fail(SEGUE_E_RANGE,
                          "%u tokens of %llu bytes do not fit in a staging slot",
                          pack->wire_tokens, (unsigned long long)token_bytes(&wire));
    uint32_t content = wire.layout.k.bytes + wire.layout.v.bytes;
    uint64_t head = (uint64_t)content * pack->wire_tokens;
    pack->wire = (struct segue_move){.src_token = content,
                                     .dst_token = content,
                                     .run = content,
                                     .dims = 1,
                                     .outer = 1, /* a head's tokens lie side by side */
                                     .dim = {{wire.layout.heads, head, head}}};
    if (pack->scratch)
        return build_scratch(pack, ours, layer, &wire);
    return pack->feeds ? segue_plan_build(src, &wire, &pack->near[layer])
                       : segue_plan_build(&wire, dst, &pack->near[layer]);
}

enum segue_status segue_pack_build(struct segue_cache *cache, bool feeds,
                                   const struct segue_geometry *src,
                                   const struct segue_geometry *dst, uint32_t wire_tokens,
                                   struct segue_pack **out)
{
    uint32_t first = src->layer_first > dst->layer_first ? src->layer_first
                                                         : dst->layer_first;
    uint32_t src_end = src->layer_first + src->layout.layers,
             dst_end = dst->layer_first + dst->layout.layers;
    uint32_t end = src_end < dst_end ? src_end : dst_end;
    if (wire_tokens == 0 || end <= first)
        return segue_fail(
            SEGUE_E_RANGE,
            "not one token of these caches fits in a staging slot of %u bytes",
            SEGUE_SLOT_BYTES);
    struct segue_pack *pack = calloc(1, sizeof *pack);
    if (pack)
        pack->near = calloc(end - first, sizeof *pack->near);
    if (!pack || !pack->near) {
        free(pack);
        return segue_fail(SEGUE_E_MEMORY, "no memory for the plan of %u layers",
                          end - first);
    }
    pack->feeds = feeds;
    pack->scratch = !(cache->device->caps & SEGUE_DEVICE_STRIDED);
    pack->wire_tokens = wire_tokens;
    pack->layers = end - first;
    pack->device = cache->device;
    pack->host = cache->agent->devices[0];
    enum segue_status status = SEGUE_OK;
    for (uint32_t i = 0; i < pack->layers && status >= 0; i++)
        status = build_layer(pack, src, dst, i);
    if (status < 0) {
        segue_pack_free(pack);
        return status;
    }
    *out = pack;
    return SEGUE_OK;
}

void segue_pack_free(struct segue_pack *pack)
{
    if (!pack)
        return;
    for (uint32_t i = 0; i < pack->layers; i++)
        segue_plan_free(&pack->near[i]);
    segue_plan_free(&pack->relay);
    free(pack->near);
    free(pack);
}

/* ---- bind ---- */

static enum segue_status room(void **array, size_t *cap, size_t n, size_t size)
{
    if (n <= *cap)
        return SEGUE_OK;
    void *more = realloc(*array, n * size);
    if (!more)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a hand-off of %zu pieces", n);
    *array = more;
    *cap = n;
    return SEGUE_OK;
}

static enum segue_status groups_room(struct segue_pack_run *run, size_t n)
{
    size_t at_cap = run->groups_cap, whole_cap = run->groups_cap;
    SEGUE_TRY(room((void **)&run->at, &at_cap, n, sizeof *run->at));
    SEGUE_TRY(room((void **)&run->whole, &whole_cap, n, sizeof *run->whole));
    run->groups_cap = whole_cap;
    return SEGUE_OK;
}

/* Splits spans[0..n), which lie at the array's end, into single tokens at its front. */
static size_t split(struct segue_span *spans, const struct segue_span *from, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        struct segue_span whole = from[i];
        for (uint32_t t = 0; t < whole.tokens; t++)
            spans[at++] = (struct segue_span){whole.src_block, whole.src_token + t,
                                              whole.dst_block, whole.dst_token + t, 1};
    }
    return at;
}

static enum segue_status bind_spans(const struct segue_pack *pack,
                                    struct segue_tokens memory, uint32_t tokens,
                                    struct segue_pack_run *run)
{
    size_t n_zeros = (memory.first + tokens) / pack->wire_tokens + 1;
    size_t had = run->zeros_cap;
    SEGUE_TRY(room((void **)&run->zeros, &run->zeros_cap, n_zeros, sizeof *run->zeros));
    if (run->zeros_cap > had)
        memset(run->zeros, 0, run->zeros_cap * sizeof *run->zeros);
    struct segue_tokens wire = {run->zeros, n_zeros, pack->wire_tokens, memory.first};
    const struct segue_tokens *src = pack->feeds ? &memory : &wire,
                              *dst = pack->feeds ? &wire : &memory;
    size_t max = segue_spans_max(src, dst, tokens), front = pack->per_token ? tokens : 0;
    SEGUE_TRY(
        room((void **)&run->spans, &run->spans_cap, front + max, sizeof *run->spans));
    SEGUE_TRY(segue_spans_bind(src, dst, tokens, run->spans + front, max, &run->n_spans));
    if (pack->per_token)
        run->n_spans = split(run->spans, run->spans + front, run->n_spans);
    return SEGUE_OK;
}

/* Spans never cross a piece, and come in token order: each piece's are a stretch of them. */
static void cut(struct segue_pack_run *run, uint32_t first, uint32_t tokens)
{
    uint32_t wire_tokens = run->pack->wire_tokens, token = first;
    size_t span = 0;
    for (uint32_t g = 0; g < run->groups; g++) {
        uint32_t begin = token, end = (token / wire_tokens + 1) * wire_tokens;
        if (end > first + tokens)
            end = first + tokens;
        run->at[g] = (uint32_t)span;
        while (span < run->n_spans && token < end)
            token += run->spans[span++].tokens;
        uint32_t place = begin % wire_tokens;
        run->whole[g] = (struct segue_span){0, place, 0, place, end - begin};
    }
    run->at[run->groups] = (uint32_t)span;
}

static struct segue_transfer transfer(const struct segue_plan *plan,
                                      const struct segue_span *spans, size_t n)
{
    return (struct segue_transfer){
        .moves = plan->moves, .n_moves = plan->n_moves, .spans = spans, .n_spans = n};
}

static void piece(const struct segue_stage_pieces *pieces, uint32_t i,
                  struct segue_stage_piece *out)
{
    const struct segue_pack_run *run = segue_container_of(pieces, struct segue_pack_run,
                                                          pieces);
    const struct segue_pack *pack = run->pack;
    uint32_t layer = i / run->groups, group = i % run->groups;
    struct segue_stage_hop near = {
        .device = pack->device,
        .transfer = transfer(&pack->near[layer], run->spans + run->at[group],
                             run->at[group + 1] - run->at[group])};
    struct segue_stage_hop relay = {
        .device = pack->host, .transfer = transfer(&pack->relay, &run->whole[group], 1)};
    enum segue_stage_place middle = pack->scratch ? SEGUE_PLACE_SCRATCH
                                                  : SEGUE_PLACE_SLOT;
    near.from = pack->feeds ? SEGUE_PLACE_MEMORY : middle;
    near.to = pack->feeds ? middle : SEGUE_PLACE_MEMORY;
    relay.from = pack->feeds ? SEGUE_PLACE_SCRATCH : SEGUE_PLACE_SLOT;
    relay.to = pack->feeds ? SEGUE_PLACE_SLOT : SEGUE_PLACE_SCRATCH;
    *out = (struct segue_stage_piece){
        .n_hops = pack->scratch ? 2 : 1, .wire = pack->wire, .span = run->whole[group]};
    out->hop[0] = pack->scratch && !pack->feeds ? relay : near;
    out->hop[1] = pack->feeds ? relay : near;
}

enum segue_status segue_pack_bind(const struct segue_pack *pack,
                                  const struct segue_geometry *ours,
                                  const struct segue_extent *memory, uint32_t n_memory,
                                  const uint32_t *blocks, size_t n_blocks, uint32_t first,
                                  uint32_t tokens, struct segue_pack_run *run)
{
    struct segue_tokens in_memory = {blocks, n_blocks, ours->layout.block_tokens, first};
    run->pack = pack;
    run->groups = (first + tokens - 1) / pack->wire_tokens - first / pack->wire_tokens +
                  1;
    SEGUE_TRY(groups_room(run, (size_t)run->groups + 1));
    SEGUE_TRY(bind_spans(pack, in_memory, tokens, run));
    cut(run, first, tokens);
    run->pieces = (struct segue_stage_pieces){.count = pack->layers * run->groups,
                                              .scratch = pack->scratch,
                                              .piece = piece,
                                              .memory = memory,
                                              .n_memory = n_memory};
    return SEGUE_OK;
}

void segue_pack_run_free(struct segue_pack_run *run)
{
    free(run->spans);
    free(run->whole);
    free(run->at);
    free(run->zeros);
}
