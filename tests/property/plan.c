/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random pairs of geometries, random block lists and stretches: every byte the naive walk
 * writes is written once by the plan, none besides; the kernel, its chunks, the cursor, a
 * plan split for a poor copy engine and a trip through the wire order all end with the
 * same bytes; gathered and scattered back, memory is what it was.
 */
#include "naive.h"
#include "property/sides.h"
#include "test.h"

#include "device/convert.h"
#include "device/relayout.h"

#include <stdlib.h>
#include <time.h>

static uint64_t cases_wanted(void)
{
    const char *text = getenv("SEGUE_TEST_CASES");
    if (text)
        return strtoull(text, NULL, 10);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 5000;
#else
    return 100000;
#endif
}

/* Copies of a side's regions: what each way of copying made of them. */
struct image {
    struct segue_extent extent[REGIONS];
};

static void image_take(struct image *image, const struct side *side)
{
    for (size_t r = 0; r < side->n_regions; r++) {
        image->extent[r].len = side->extent[r].len;
        image->extent[r].base = malloc(side->extent[r].len);
        memcpy(image->extent[r].base, side->extent[r].base, side->extent[r].len);
    }
}

static void image_check(struct image *image, const struct side *side, const char *what)
{
    for (size_t r = 0; r < side->n_regions; r++) {
        if (memcmp(image->extent[r].base, side->extent[r].base, side->extent[r].len) != 0)
            fail_msg("%s: region %zu differs from the naive copy", what, r);
        free(image->extent[r].base);
    }
}

struct oracle {
    struct side *src, *dst;
    uint64_t bytes;
};

static void naive_copy(void *user, const struct naive_run *run)
{
    struct oracle *o = user;
    const struct segue_extent *a = &o->src->extent[run->src.region];
    const struct segue_extent *b = &o->dst->extent[run->dst.region];
    uint32_t from = o->src->geometry.layout.dtype, to = o->dst->geometry.layout.dtype;
    uint32_t n = run->bytes / segue_dtype_size(from);
    assert_true(run->src.offset + run->bytes <= a->len);
    assert_true(run->dst.offset + n * segue_dtype_size(to) <= b->len);
    if (from == to && run->scale == 0)
        memcpy(b->base + run->dst.offset, a->base + run->src.offset, run->bytes);
    for (uint32_t i = 0; (from != to || run->scale != 0) && i < n; i++)
        segue_convert(&segue_rows_portable,
                      b->base + run->dst.offset + i * segue_dtype_size(to), to,
                      a->base + run->src.offset + i * segue_dtype_size(from), from, 1,
                      run->scale);
    o->bytes += run->bytes;
}

static void copy_all(const struct segue_transfer *t, const struct segue_extent *src,
                     const struct segue_extent *dst, bool stream)
{
    struct segue_relayout r = {.transfer = t, .src = src, .dst = dst, .stream = stream};
    struct segue_relayout_at at = {0}, skipped = {0};
    uint64_t chunk = pick(3) == 0 ? UINT64_MAX : 1 + pick(4000);
    bool more = true;
    while (more) {
        bool left = segue_relayout_skip(&r, &skipped, chunk);
        more = segue_relayout_copy(&r, &at, chunk);
        assert_int_equal(left, more);
        assert_memory_equal(&at, &skipped, sizeof at);
    }
}

static void copy_pieces(const struct segue_transfer *t, const struct segue_extent *src,
                        const struct segue_extent *dst)
{
    struct segue_cursor c;
    struct segue_piece piece;
    uint64_t max = pick(2) ? 0 : 1 + pick(300), bytes = 0;
    segue_cursor_init(&c, t);
    while (segue_cursor_next(&c, max, &piece)) {
        assert_true(piece.len > 0 && (max == 0 || piece.len <= max));
        memcpy(dst[piece.dst_region].base + piece.dst_offset,
               src[piece.src_region].base + piece.src_offset, piece.len);
        bytes += piece.len;
    }
    assert_int_equal(bytes, segue_transfer_bytes(t));
}

static struct segue_transfer bind(const struct segue_plan *plan,
                                  const struct segue_tokens *from,
                                  const struct segue_tokens *to, uint64_t tokens)
{
    size_t max = segue_spans_max(from, to, tokens), n;
    struct segue_span *spans = malloc((max + 1) * sizeof *spans);
    assert_ok(segue_spans_bind(plan, from, to, tokens, spans, max, &n));
    return (struct segue_transfer){plan->moves, plan->n_moves, spans, n};
}

/* One half of a packed copy, checked and carried out. */
static void copy_half(const struct segue_geometry *src, const struct segue_tokens *from,
                      const struct segue_extent *a, size_t n_a,
                      const struct segue_geometry *dst, const struct segue_tokens *to,
                      const struct segue_extent *b, size_t n_b, uint32_t tokens)
{
    struct segue_plan half;
    assert_ok(segue_plan_build(src, dst, &half));
    struct segue_transfer t = bind(&half, from, to, tokens);
    assert_ok(segue_transfer_check(&t, a, n_a, b, n_b));
    copy_all(&t, a, b, pick(2));
    free((void *)t.spans);
    segue_plan_free(&half);
}

/* src -> packed slot -> dst, and back into `again`, in a few steps of layers and tokens. */
static void copy_packed(struct side *src, struct side *dst, uint64_t tokens,
                        const struct segue_extent *into, const struct segue_extent *again)
{
    struct segue_share both = segue_share_overlap(
        src->geometry.layer_first, src->geometry.layout.layers, dst->geometry.layer_first,
        dst->geometry.layout.layers);
    uint32_t layers = 1 + pick(both.count);
    uint32_t step = 1 + pick((uint32_t)tokens);
    for (uint32_t l = 0; l < both.count; l += layers)
        for (uint64_t t = 0; t < tokens; t += step) {
            uint32_t n_layers = both.count - l < layers ? both.count - l : layers;
            uint32_t n = tokens - t < step ? (uint32_t)(tokens - t) : step;
            struct segue_geometry wire;
            assert_ok(segue_geometry_wire(&src->geometry, &dst->geometry, l, n_layers, n,
                                          pick(SEGUE_WIRE_ORDERS), &wire));
            struct segue_tokens slot = {(uint32_t[]){0}, 1, n, 0};
            struct segue_tokens from = src->tokens, to = dst->tokens;
            from.first += t;
            to.first += t;
            struct segue_extent packed = {.len = segue_layout_bytes(&wire.layout)};
            packed.base = malloc(packed.len);
            copy_half(&src->geometry, &from, src->extent, src->n_regions, &wire, &slot,
                      &packed, 1, n);
            copy_half(&wire, &slot, &packed, 1, &dst->geometry, &to, into, dst->n_regions,
                      n);
            copy_half(&wire, &slot, &packed, 1, &src->geometry, &from, again,
                      src->n_regions, n);
            free(packed.base);
        }
}

struct writes {
    unsigned char *counts[REGIONS];
    uint64_t total;
};

static void count_run(void *user, const struct segue_move *move, uint64_t src,
                      uint64_t dst)
{
    struct writes *w = user;
    uint64_t run = segue_move_scale(move, move->run);
    for (uint64_t i = 0; i < run; i++)
        if (w->counts[move->dst_region][dst + i]++ > 0)
            fail_msg("byte %llu of region %u is written twice",
                     (unsigned long long)(dst + i), move->dst_region);
    w->total += move->run;
}

/* Counts how often the moves as written in move.h write each destination byte. */
static void count_writes(const struct segue_transfer *t, const struct side *dst,
                         uint64_t expected)
{
    struct writes w = {.total = 0};
    for (size_t r = 0; r < dst->n_regions; r++)
        w.counts[r] = calloc(1, dst->extent[r].len);
    naive_expand(t, count_run, &w);
    for (size_t r = 0; r < dst->n_regions; r++)
        free(w.counts[r]);
    assert_int_equal(w.total, expected);
}

/* As the plan, for an engine that takes little. */
static struct segue_plan poor_plan(const struct side *src, const struct side *dst)
{
    struct segue_plan plan;
    struct segue_plan_caps caps = {pick(2) ? 1 + pick(5000) : 0, pick(4), pick(4) != 0};
    assert_ok(segue_plan_build(&src->geometry, &dst->geometry, &plan));
    assert_ok(segue_plan_split(&plan, &caps));
    for (uint32_t i = 0; i < plan.n_moves; i++)
        for (unsigned d = 0; d < plan.moves[i].dims; d++) {
            const struct segue_dim *dim = &plan.moves[i].dim[d];
            assert_true(caps.strided && dim->count > 1);
            assert_true(caps.rows == 0 || dim->count <= caps.rows);
            assert_true(caps.pitch == 0 ||
                        (dim->src <= caps.pitch && dim->dst <= caps.pitch));
        }
    return plan;
}

static uint64_t room_of(const struct side *side)
{
    return (uint64_t)side->tokens.n_blocks * side->tokens.block_tokens;
}

static void one_pair(void)
{
    struct common common = common_make();
    struct side src, dst;
    side_make(&src, &common, common.dtype[0]);
    side_make(&dst, &common, common.dtype[1]);
    uint64_t room = room_of(&src) < room_of(&dst) ? room_of(&src) : room_of(&dst);
    uint64_t first = pick(2) ? pick((uint32_t)room) : 0;
    uint64_t tokens = pick(3) ? 1 + pick((uint32_t)(room - first)) : room - first;
    src.tokens.first = dst.tokens.first = first;

    struct segue_plan plan, poor = poor_plan(&src, &dst);
    assert_ok(segue_plan_build(&src.geometry, &dst.geometry, &plan));
    struct segue_transfer t = bind(&plan, &src.tokens, &dst.tokens, tokens), split = t;
    split.moves = poor.moves;
    split.n_moves = poor.n_moves;
    assert_true(plan.n_moves <= 2 * common.layers);
    assert_ok(
        segue_transfer_check(&t, src.extent, src.n_regions, dst.extent, dst.n_regions));

    struct image plain, streamed, pieces, parts, packed, again;
    image_take(&plain, &dst);
    image_take(&streamed, &dst);
    image_take(&pieces, &dst);
    image_take(&parts, &dst);
    image_take(&packed, &dst);
    image_take(&again, &src);
    copy_all(&t, src.extent, plain.extent, false);
    copy_all(&t, src.extent, streamed.extent, true);
    copy_all(&split, src.extent, parts.extent, false);
    if (plan.converts)
        copy_all(&t, src.extent, pieces.extent, false);
    else
        copy_pieces(&t, src.extent, pieces.extent);
    if (plan.bytes_per_token > 0)
        copy_packed(&src, &dst, tokens, packed.extent, again.extent);
    struct oracle oracle = {&src, &dst, 0};
    naive_walk(&src.geometry, &src.tokens, &dst.geometry, &dst.tokens, tokens, naive_copy,
               &oracle);
    assert_int_equal(oracle.bytes, plan.bytes_per_token * tokens);
    assert_int_equal(oracle.bytes, segue_transfer_bytes(&t));
    count_writes(&t, &dst, oracle.bytes);
    count_writes(&split, &dst, oracle.bytes);
    image_check(&plain, &dst, "kernel");
    image_check(&streamed, &dst, "streaming kernel");
    image_check(&pieces, &dst, "cursor");
    image_check(&parts, &dst, "split plan");
    image_check(&packed, &dst, "packed");
    image_check(&again, &src, "gathered and scattered back");
    free((void *)t.spans);
    segue_plan_free(&plan);
    segue_plan_free(&poor);
    side_free(&src);
    side_free(&dst);
}

static void plans_equal_the_naive_walk(void **state)
{
    uint64_t n = cases_wanted();
    const char *text = getenv("SEGUE_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    printf("seed: %llu\ncells: %llu\n", (unsigned long long)seed, (unsigned long long)n);
    fflush(stdout);
    for (uint64_t i = 0; i < n; i++) {
        random_begin(seed + i * 0x632be59bd9b4e019);
        one_pair();
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(plans_equal_the_naive_walk),
};
TEST_MAIN(tests)
