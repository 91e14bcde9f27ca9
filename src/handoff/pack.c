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
                                      1, pack->wire_tokens, SEGUE_WIRE_BY_HEAD,
                                      &scratch));
    else { /* what has come, in our element type */
        scratch = *wire;
        scratch.layout.dtype = ours->layout.dtype;
        scratch.scale = ours->scale ? ours->scale + 2 * (size_t)(wire->layer_first -
                                                                 ours->layer_first)
                                    : NULL;
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
    const struct segue_plan_caps contiguous = {.strided = false};
    SEGUE_TRY(segue_plan_split(near, &contiguous));
    struct segue_plan *relay = &pack->relay[layer];
    SEGUE_TRY(pack->feeds ? segue_plan_build(&scratch, wire, relay)
                          : segue_plan_build(wire, &scratch, relay));
    pack->per_token |= !tokens_contiguous(near);
    return SEGUE_OK;
}

/* From slot to slot: the tokens of a piece, which may be fewer than it has room for. */
static struct segue_move wire_move(const struct segue_geometry *wire, uint32_t content)
{
    uint64_t head = wire->layout.k.head, token = wire->layout.k.token;
    struct segue_move move = {.src_token = token, .dst_token = token, .run = content};
    if (head == content) {
        move.run *= wire->layout.heads; /* the heads of a token lie side by side */
    } else {
        move.dims = move.outer = 1; /* a head's tokens do */
        move.dim[0] = (struct segue_dim){wire->layout.heads, head, head};
    }
    return move;
}

static enum segue_status build_layer(struct segue_pack *pack,
                                     const struct segue_geometry *src,
                                     const struct segue_geometry *dst, uint32_t layer)
{
    struct segue_geometry wire;
    const struct segue_geometry *ours = pack->feeds ? src : dst;
    SEGUE_TRY(
        segue_geometry_wire(src, dst, layer, 1, pack->wire_tokens, pack->order, &wire));
    if (token_bytes(&wire) * pack->wire_tokens > SEGUE_SLOT_BYTES)
        return segue_fail(SEGUE_E_RANGE,
                          "%u tokens of %llu bytes do not fit in a staging slot",
                          pack->wire_tokens, (unsigned long long)token_bytes(&wire));
    uint32_t content = wire.layout.k.bytes + wire.layout.v.bytes;
    pack->wire = wire_move(&wire, content);
    if (pack->scratch)
        return build_scratch(pack, ours, layer, &wire);
    const struct segue_plan_caps caps = {.strided = pack->strided};
    SEGUE_TRY(pack->feeds ? segue_plan_build(src, &wire, &pack->near[layer])
                          : segue_plan_build(&wire, dst, &pack->near[layer]));
    return segue_plan_split(&pack->near[layer], &caps);
}

/* A device without strides needs the host's help, unless the pieces' order is its own. */
static enum segue_status choose_scratch(struct segue_pack *pack,
                                        const struct segue_geometry *src,
                                        const struct segue_geometry *dst)
{
    pack->strided = pack->device->caps & SEGUE_DEVICE_STRIDED;
    if (pack->strided)
        return SEGUE_OK;
    struct segue_geometry wire;
    struct segue_plan near;
    SEGUE_TRY(segue_geometry_wire(src, dst, 0, 1, pack->wire_tokens, pack->order, &wire));
    SEGUE_TRY(pack->feeds ? segue_plan_build(src, &wire, &near)
                          : segue_plan_build(&wire, dst, &near));
    pack->scratch = near.converts || !tokens_contiguous(&near);
    segue_plan_free(&near);
    return SEGUE_OK;
}

enum segue_status segue_pack_build(struct segue_cache *cache, bool feeds,
                                   const struct segue_geometry *src,
                                   const struct segue_geometry *dst, uint32_t wire_tokens,
                                   enum segue_wire_order order, struct segue_pack **out)
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
    if (pack) {
        pack->near = calloc(end - first, sizeof *pack->near);
        pack->relay = calloc(end - first, sizeof *pack->relay);
    }
    if (!pack || !pack->near || !pack->relay) {
        segue_pack_free(pack);
        return segue_fail(SEGUE_E_MEMORY, "no memory for the plan of %u layers",
                          end - first);
    }
    pack->feeds = feeds;
    pack->wire_tokens = wire_tokens;
    pack->order = order;
    pack->layers = end - first;
    pack->device = cache->device;
    pack->host = cache->agent->devices[0];
    enum segue_status status = choose_scratch(pack, src, dst);
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
    for (uint32_t i = 0; i < pack->layers; i++) {
        segue_plan_free(&pack->near[i]);
        segue_plan_free(&pack->relay[i]);
    }
    free(pack->near);
    free(pack->relay);
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

/* Writes spans[0..n) token by token to `out`; returns how many spans that is. */
static size_t singles(struct segue_span *out, const struct segue_span *spans, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        for (uint64_t time = 0; time <= spans[i].more; time++) {
            struct segue_span span = segue_span_at(&spans[i], (uint32_t)time);
            span.more = span.tokens - 1;
            span.tokens = span.src_token_step = span.dst_token_step = 1;
            out[at++] = span;
        }
    return at;
}

/* The spans of one piece: `tokens` tokens of the prompt from `first`. */
static enum segue_status bind_piece(struct segue_pack_run *run,
                                    struct segue_tokens memory, uint32_t first,
                                    uint32_t tokens)
{
    static const uint32_t slot = 0;
    const struct segue_pack *pack = run->pack;
    uint32_t place = first % pack->wire_tokens;
    struct segue_tokens wire = {&slot, 1, pack->wire_tokens, place};
    memory.first = first;
    const struct segue_tokens *src = pack->feeds ? &memory : &wire,
                              *dst = pack->feeds ? &wire : &memory;
    size_t max = segue_spans_max(src, dst, tokens), n;
    /* Single tokens are written in front of the spans they are taken from. */
    size_t at = run->n_spans + (pack->per_token ? max : 0);
    SEGUE_TRY(segue_spans_bind(NULL, src, dst, tokens, run->spans + at, max, &n));
    if (pack->per_token)
        n = singles(run->spans + run->n_spans, run->spans + at, n);
    run->n_spans += n;
    return SEGUE_OK;
}

/* Room for the spans of all pieces, whatever their blocks, with each piece's written twice:
 * so one hand-off finds what one of its size has left. */
static enum segue_status spans_room(struct segue_pack_run *run, uint32_t block_tokens,
                                    uint32_t tokens)
{
    size_t n = (size_t)tokens / block_tokens + 4 * ((size_t)run->groups + 1);
    return room((void **)&run->spans, &run->spans_cap, 2 * n, sizeof *run->spans);
}

static enum segue_status bind_pieces(struct segue_pack_run *run,
                                     struct segue_tokens memory, uint32_t first,
                                     uint32_t tokens)
{
    uint32_t wire_tokens = run->pack->wire_tokens, begin = first;
    run->n_spans = 0;
    SEGUE_TRY(spans_room(run, memory.block_tokens, tokens));
    for (uint32_t g = 0; g < run->groups; g++) {
        uint64_t end = ((uint64_t)begin / wire_tokens + 1) * wire_tokens;
        if (end > (uint64_t)first + tokens)
            end = (uint64_t)first + tokens;
        uint32_t n = (uint32_t)(end - begin), place = begin % wire_tokens;
        run->at[g] = (uint32_t)run->n_spans;
        run->whole[g] = (struct segue_span){
            .src_token = place, .dst_token = place, .tokens = n};
        SEGUE_TRY(bind_piece(run, memory, begin, n));
        begin += n;
    }
    run->at[run->groups] = (uint32_t)run->n_spans;
    return SEGUE_OK;
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
        .device = pack->host,
        .transfer = transfer(&pack->relay[layer], &run->whole[group], 1)};
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
    SEGUE_TRY(bind_pieces(run, in_memory, first, tokens));
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
}
