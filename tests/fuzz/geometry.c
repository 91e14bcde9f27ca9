/* SPDX-License-Identifier: Apache-2.0 */
/* Two descriptions of geometries from any bytes, and a stretch of tokens: what is believed
 * gives a plan that stays inside both sides and carries what it says, each byte once. */
#include "device/relayout.h"
#include "kv/cache.h"
#include "kv/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define MEMORY_MOST (UINT64_C(1) << 16)
#define BLOCKS_MOST 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
    struct segue_geometry geometry;
    struct segue_geometry_room room;
    struct segue_extent region[SEGUE_CACHE_REGIONS_MAX];
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Memory as large as the geometry says, if that is little. */
static bool make_memory(struct side *side, int fill)
{
    const struct segue_geometry *g = &side->geometry;
    struct segue_layout one = g->layout;
    uint64_t len[SEGUE_CACHE_REGIONS_MAX] = {0}, bytes = segue_layout_bytes(&one),
             all = 0;
    if (g->layer) {
        one.layers = 1;
        bytes = segue_layout_bytes(&one);
    } else {
        len[0] = bytes;
    }
    for (uint32_t i = 0; g->layer && i < g->layout.layers * (g->v_layer ? 2 : 1); i++) {
        const struct segue_layer *place = &side->room.layer[i];
        if (place->offset > MEMORY_MOST || bytes > MEMORY_MOST)
            return false;
        if (len[place->region] < place->offset + bytes)
            len[place->region] = place->offset + bytes;
    }
    for (int r = 0; r < SEGUE_CACHE_REGIONS_MAX; r++) {
        if (len[r] > MEMORY_MOST || (all += len[r]) > MEMORY_MOST)
            return false;
        side->region[r] = (struct segue_extent){malloc(len[r] + 1), len[r]};
        memset(side->region[r].base, fill, len[r]);
    }
    return true;
}

static void free_side(struct side *side)
{
    for (int r = 0; r < SEGUE_CACHE_REGIONS_MAX; r++)
        free(side->region[r].base);
}

static bool read_side(struct segue_reader *r, struct side *side, int fill)
{
    memset(side->region, 0, sizeof side->region);
    if (segue_geometry_read(r, &side->geometry, &side->room) == SEGUE_OK &&
        side->geometry.layout.blocks <= BLOCKS_MOST && make_memory(side, fill))
        return true;
    free_side(side);
    return false;
}

static void carry(struct side *src, struct side *dst, const struct segue_plan *plan,
                  uint32_t begin, uint32_t length)
{
    uint32_t ids[BLOCKS_MOST];
    for (uint32_t i = 0; i < BLOCKS_MOST; i++)
        ids[i] = i;
    const struct segue_layout *a = &src->geometry.layout, *b = &dst->geometry.layout;
    uint64_t room_a = (uint64_t)a->blocks * a->block_tokens;
    uint64_t room_b = (uint64_t)b->blocks * b->block_tokens;
    uint64_t room = room_a < room_b ? room_a : room_b, first = begin % room;
    uint64_t tokens = 1 + length % (room - first);
    if (tokens > 4096)
        return;
    struct segue_tokens from = {ids, a->blocks, a->block_tokens, first};
    struct segue_tokens to = {ids, b->blocks, b->block_tokens, first};
    size_t max = segue_spans_max(&from, &to, tokens), n;
    struct segue_span *spans = calloc(max, sizeof *spans);
    must(spans && segue_spans_bind(plan, &from, &to, tokens, spans, max, &n) == SEGUE_OK);
    struct segue_transfer t = {plan->moves, plan->n_moves, spans, n};
    must(segue_transfer_bytes(&t) == plan->bytes_per_token * tokens);
    must(segue_transfer_check(&t, src->region, SEGUE_CACHE_REGIONS_MAX, dst->region,
                              SEGUE_CACHE_REGIONS_MAX) == SEGUE_OK);
    struct segue_relayout copy = {
        .transfer = &t, .src = src->region, .dst = dst->region, .stream = true};
    struct segue_relayout_at at = {0};
    while (segue_relayout_copy(&copy, &at, 4096))
        ;
    free(spans);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct side src, dst;
    struct segue_reader r = segue_reader_make(data, size);
    uint32_t begin = segue_reader_u32(&r), length = segue_reader_u32(&r);
    struct segue_plan plan;
    bool first = read_side(&r, &src, 0x11), second = first && read_side(&r, &dst, 0x22);
    if (second && segue_plan_build(&src.geometry, &dst.geometry, &plan) == SEGUE_OK) {
        carry(&src, &dst, &plan, begin, length);
        segue_plan_free(&plan);
    }
    if (second)
        free_side(&dst);
    if (first)
        free_side(&src);
    return 0;
}
