/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random pairs of geometries, random block lists and stretches: every byte the naive walk
 * writes is written once by the plan, none besides; the kernel, its chunks, the cursor and
 * a trip through the wire order all end with the same bytes.
 */
#include "test.h"
#include "naive.h"
#include "device/relayout.h"

#include <stdlib.h>
#include <time.h>

#define REGIONS 4
#define LAYERS  6
#define HEADS   8

static uint64_t seed;
static uint64_t state_;

static uint32_t pick(uint32_t n)
{
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) % n);
}

static uint64_t cases_wanted(void)
{
    const char *text = getenv("SEGUE_TEST_CASES");
    if (text)
        return strtoull(text, NULL, 10);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 2000;
#else
    return 20000;
#endif
}

struct side {
    struct segue_geometry geometry;
    struct segue_layer layer[LAYERS];
    char *bytes[REGIONS];
    struct segue_extent extent[REGIONS];
    size_t n_regions;
    uint32_t *blocks;
    struct segue_tokens tokens;
};

/* K and V apart inside each layer: halves of a block, tensors of their own, or V first. */
static void part_ways(struct segue_layout *layout, uint32_t head_bytes)
{
    uint64_t tokens = layout->block_tokens, heads = layout->heads;
    struct segue_layout_part *k = &layout->k, *v = &layout->v;
    uint64_t block = heads * tokens * head_bytes, all = block * layout->blocks;
    bool nhd = pick(2), halves = pick(2);
    k->token = nhd ? heads * head_bytes : head_bytes;
    k->head = nhd ? head_bytes : tokens * head_bytes;
    k->block = halves ? 2 * block : block;
    k->layer = 2 * all;
    *v = *k;
    k->offset = 0;
    v->offset = halves ? block : all;
    if (pick(3) == 0) {
        uint64_t offset = k->offset;
        k->offset = v->offset;
        v->offset = offset;
    }
}

/* Gaps: every stride grows by a little, from the innermost axis outwards. */
static void spread_out(struct segue_layout *layout)
{
    uint64_t pad = 16 * (1 + pick(4));
    struct segue_layout_part *parts[2] = {&layout->k, &layout->v};
    for (int i = 0; i < 2; i++) {
        parts[i]->block += pad;
        parts[i]->layer += pad * layout->blocks;
    }
}

static void make_layout(struct segue_layout *layout, uint32_t dtype, uint32_t layers,
                        uint32_t heads, uint32_t head_size)
{
    static const char *const orders[] = {"LBHNC", "LBNHC", "LHBNC",
                                         "BLHNC", "BLNHC", "BHLNC"};
    static const uint32_t sizes[] = {1, 2, 3, 4, 5, 8, 16, 24};
    unsigned order = pick(6);
    assert_ok(segue_layout_named(orders[order], dtype, layers, 1 + pick(9),
                                 sizes[pick(8)], heads, head_size, layout));
    unsigned kind = pick(4);
    if (kind == 0)
        part_ways(layout, head_size * segue_dtype_size(dtype));
    else if (kind == 1 && order < 2)
        spread_out(layout);
}

static void share(uint32_t total, uint32_t *first, uint32_t *count)
{
    *first = pick(3) == 0 ? pick(total) : 0;
    *count = pick(2) == 0 ? total - *first : 1 + pick(total - *first);
}

static void make_regions(struct side *side)
{
    struct segue_geometry *g = &side->geometry;
    side->n_regions = 1;
    side->extent[0].len = segue_layout_bytes(&g->layout);
    if (pick(2) == 0)
        return;
    /* Layers of their own: dealt out to a few regions, in order. */
    uint64_t stride = g->layout.k.layer;
    g->layout.k.layer = g->layout.v.layer = 0;
    uint64_t bytes = segue_layout_bytes(&g->layout);
    g->layout.k.layer = g->layout.v.layer = pick(2) ? stride : 0;
    side->n_regions = 1 + pick(REGIONS);
    for (size_t r = 0; r < side->n_regions; r++)
        side->extent[r].len = 32;
    for (uint32_t l = 0; l < g->layout.layers; l++) {
        uint32_t r = l % (uint32_t)side->n_regions;
        side->layer[l] = (struct segue_layer){r, side->extent[r].len};
        side->extent[r].len += bytes + 16 * pick(2);
    }
    g->layer = side->layer;
}

static void make_side(struct side *side, uint32_t dtype, uint32_t layers_total,
                      uint32_t heads_total, uint32_t head_size, bool latent)
{
    *side = (struct side){0};
    struct segue_geometry *g = &side->geometry;
    uint32_t layers, heads;
    g->layers_total = layers_total;
    g->heads_total = heads_total;
    share(layers_total, &g->layer_first, &layers);
    share(heads_total, &g->head_first, &heads);
    make_layout(&g->layout, dtype, layers, heads, head_size);
    if (latent)
        g->layout.v.bytes = 0;
    assert_ok(segue_layout_check(&g->layout));
    make_regions(side);
    for (size_t r = 0; r < side->n_regions; r++) {
        side->bytes[r] = malloc(side->extent[r].len + 64);
        side->extent[r].base = side->bytes[r] + (pick(4) == 0 ? pick(64) : 0);
        for (uint64_t i = 0; i < side->extent[r].len; i++)
            side->extent[r].base[i] = (char)pick(256);
    }
    uint32_t n = g->layout.blocks;
    side->blocks = malloc(n * sizeof *side->blocks);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = pick(i + 1);
        side->blocks[i] = side->blocks[j];
        side->blocks[j] = i;
    }
    side->tokens = (struct segue_tokens){side->blocks, n, g->layout.block_tokens, 0};
}

static void free_side(struct side *side)
{
    for (size_t r = 0; r < side->n_regions; r++)
        free(side->bytes[r]);
    free(side->blocks);
}

/* Copies of the destination's regions: what each way of copying made of them. */
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

static void naive_copy(void *user, struct naive_place a, struct naive_place b,
                       uint32_t bytes)
{
    struct oracle *o = user;
    assert_true(a.offset + bytes <= o->src->extent[a.region].len);
    assert_true(b.offset + bytes <= o->dst->extent[b.region].len);
    memcpy(o->dst->extent[b.region].base + b.offset,
           o->src->extent[a.region].base + a.offset, bytes);
    o->bytes += bytes;
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
    assert_ok(segue_spans_bind(from, to, tokens, spans, max, &n));
    return (struct segue_transfer){plan->moves, plan->n_moves, spans, n};
}

static void check_inside(const struct segue_transfer *t, const struct segue_extent *src,
                         size_t n_src, const struct segue_extent *dst, size_t n_dst)
{
    assert_ok(segue_transfer_check(t, src, n_src, dst, n_dst));
}

/* src -> packed slot -> dst in a few steps of layers and tokens. */
static void copy_packed(struct side *src, struct side *dst, uint64_t tokens,
                        const struct segue_extent *into)
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
                                          &wire));
            struct segue_plan gather, scatter;
            assert_ok(segue_plan_build(&src->geometry, &wire, &gather));
            assert_ok(segue_plan_build(&wire, &dst->geometry, &scatter));
            struct segue_tokens slot = {(uint32_t[]){0}, 1, n, 0};
            struct segue_tokens from = src->tokens, to = dst->tokens;
            from.first += t;
            to.first += t;
            struct segue_extent packed = {.len = segue_layout_bytes(&wire.layout)};
            packed.base = malloc(packed.len);
            struct segue_transfer in = bind(&gather, &from, &slot, n);
            struct segue_transfer out = bind(&scatter, &slot, &to, n);
            assert_int_equal(segue_transfer_bytes(&in), packed.len);
            check_inside(&in, src->extent, src->n_regions, &packed, 1);
            check_inside(&out, &packed, 1, dst->extent, dst->n_regions);
            copy_all(&in, src->extent, &packed, pick(2));
            copy_all(&out, &packed, into, pick(2));
            free((void *)in.spans);
            free((void *)out.spans);
            free(packed.base);
            segue_plan_free(&gather);
            segue_plan_free(&scatter);
        }
}

/* Counts how often the moves as written in move.h write each destination byte. */
static void count_writes(const struct segue_transfer *t, const struct side *dst,
                         uint64_t expected)
{
    unsigned char *counts[REGIONS] = {0};
    uint64_t total = 0;
    for (size_t r = 0; r < dst->n_regions; r++)
        counts[r] = calloc(1, dst->extent[r].len);
    struct segue_cursor c;
    struct segue_piece piece;
    segue_cursor_init(&c, t);
    while (segue_cursor_next(&c, 0, &piece))
        for (uint64_t i = 0; i < piece.len; i++, total++)
            if (counts[piece.dst_region][piece.dst_offset + i]++ > 0)
                fail_msg("byte %llu of region %u is written twice",
                         (unsigned long long)(piece.dst_offset + i), piece.dst_region);
    for (size_t r = 0; r < dst->n_regions; r++)
        free(counts[r]);
    assert_int_equal(total, expected);
}

static void one_pair(void)
{
    static const uint32_t dtypes[] = {SEGUE_DTYPE_FP32, SEGUE_DTYPE_BF16,
                                      SEGUE_DTYPE_BYTES};
    static const uint32_t head_sizes[] = {1, 3, 4, 8, 16, 32, 64};
    uint32_t layers = 1 + pick(LAYERS), heads = 1 + pick(HEADS), dtype = dtypes[pick(3)];
    uint32_t head_size = head_sizes[pick(7)];
    bool latent = pick(6) == 0;
    struct side src, dst;
    make_side(&src, dtype, layers, heads, head_size, latent);
    make_side(&dst, dtype, layers, heads, head_size, latent);
    uint64_t src_room = (uint64_t)src.tokens.n_blocks * src.tokens.block_tokens;
    uint64_t dst_room = (uint64_t)dst.tokens.n_blocks * dst.tokens.block_tokens;
    uint64_t room = src_room < dst_room ? src_room : dst_room;
    uint64_t first = pick(2) ? pick((uint32_t)room) : 0;
    uint64_t tokens = pick(3) ? 1 + pick((uint32_t)(room - first)) : room - first;
    src.tokens.first = dst.tokens.first = first;

    struct segue_plan plan;
    assert_ok(segue_plan_build(&src.geometry, &dst.geometry, &plan));
    struct segue_transfer t = bind(&plan, &src.tokens, &dst.tokens, tokens);
    assert_true(plan.n_moves <= 2 * layers);
    check_inside(&t, src.extent, src.n_regions, dst.extent, dst.n_regions);

    struct image plain, streamed, pieces, packed;
    image_take(&plain, &dst);
    image_take(&streamed, &dst);
    image_take(&pieces, &dst);
    image_take(&packed, &dst);
    copy_all(&t, src.extent, plain.extent, false);
    copy_all(&t, src.extent, streamed.extent, true);
    copy_pieces(&t, src.extent, pieces.extent);
    if (plan.bytes_per_token > 0)
        copy_packed(&src, &dst, tokens, packed.extent);
    struct oracle oracle = {&src, &dst, 0};
    naive_walk(&src.geometry, &src.tokens, &dst.geometry, &dst.tokens, tokens, naive_copy,
               &oracle);
    assert_int_equal(oracle.bytes, plan.bytes_per_token * tokens);
    assert_int_equal(oracle.bytes, segue_transfer_bytes(&t));
    count_writes(&t, &dst, oracle.bytes);
    image_check(&plain, &dst, "kernel");
    image_check(&streamed, &dst, "streaming kernel");
    image_check(&pieces, &dst, "cursor");
    image_check(&packed, &dst, "packed");
    free((void *)t.spans);
    segue_plan_free(&plan);
    free_side(&src);
    free_side(&dst);
}

static void plans_equal_the_naive_walk(void **state)
{
    uint64_t n = cases_wanted();
    const char *text = getenv("SEGUE_TEST_SEED");
    seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    printf("seed: %llu\ncells: %llu\n", (unsigned long long)seed, (unsigned long long)n);
    fflush(stdout);
    for (uint64_t i = 0; i < n; i++) {
        state_ = seed + i * 0x632be59bd9b4e019;
        one_pair();
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(plans_equal_the_naive_walk),
};
TEST_MAIN(tests)
