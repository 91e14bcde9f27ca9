/* SPDX-License-Identifier: Apache-2.0 */
/* Random sides: every order of axes with K and V anywhere, gaps, tensors apart, shares of
 * layers and heads, scales, blocks in order and not. */
#include "property/sides.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state_;

void random_begin(uint64_t seed)
{
    state_ = seed;
}

uint32_t pick(uint32_t n)
{
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) % n);
}

struct common common_make(void)
{
    static const uint32_t dtypes[] = {SEGUE_DTYPE_FP32,     SEGUE_DTYPE_FP16,
                                      SEGUE_DTYPE_BF16,     SEGUE_DTYPE_FP8_E4M3,
                                      SEGUE_DTYPE_FP8_E5M2, SEGUE_DTYPE_BYTES};
    static const uint32_t head_sizes[] = {1, 3, 4, 8, 16, 32, 64};
    struct common c = {.layers = 1 + pick(LAYERS), .heads = 1 + pick(HEADS)};
    c.k_size = c.v_size = head_sizes[pick(7)];
    if (pick(8) == 0)
        c.v_size = head_sizes[pick(7)];
    if (pick(6) == 0) { /* a latent: whole on every rank */
        c.v_size = 0;
        c.heads = 1;
    }
    c.dtype[0] = c.dtype[1] = dtypes[pick(6)];
    if (pick(4) == 0 && c.dtype[0] != SEGUE_DTYPE_BYTES)
        c.dtype[1] = dtypes[pick(5)];
    c.scaled = pick(6) == 0 && c.dtype[0] != SEGUE_DTYPE_BYTES;
    return c;
}

/* Any order of the four axes, with a 2 anywhere or nowhere. */
static void random_order(char order[8])
{
    static const char *const named[] = {"LBHNC", "LBNHC", "LHBNC",
                                        "BLHNC", "BLNHC", "BHLNC"};
    char letters[] = "LBHN2";
    unsigned n = 4 + pick(2);
    if (pick(2) == 0) {
        strcpy(order, named[pick(6)]);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned j = i + pick(n - i);
        char letter = letters[j];
        letters[j] = letters[i];
        letters[i] = order[i] = letter;
    }
    order[n] = 'C';
    order[n + 1] = '\0';
}

/* Gaps: the outermost strides grow by a little. Sound when no axis lies between. */
static void spread_out(struct segue_layout *layout)
{
    struct segue_layout wide = *layout;
    uint64_t pad = 16 * (1 + pick(4));
    struct segue_layout_part *parts[2] = {&wide.k, &wide.v};
    for (int i = 0; i < 2 && parts[i]->bytes; i++) {
        parts[i]->block += pad;
        parts[i]->layer += pad * layout->blocks;
    }
    if (segue_layout_check(&wide) == SEGUE_OK)
        *layout = wide;
}

/* A share of `total` as a rank might have: a slice, or one of many. */
static void share(uint32_t total, uint32_t *first, uint32_t *count)
{
    *first = pick(3) == 0 ? pick(total) : 0;
    *count = pick(2) == 0 ? total - *first : 1 + pick(total - *first);
}

static void share_heads(struct segue_geometry *g, uint32_t *heads)
{
    uint32_t ranks = 1 + pick(2 * g->heads_total), rank = pick(ranks);
    struct segue_share slice;
    share(g->heads_total, &g->head_first, heads);
    if (pick(2) && segue_share_heads(g->heads_total, rank, ranks, &slice) == SEGUE_OK) {
        g->head_first = slice.first;
        *heads = slice.count;
    }
}

static void deal_layers(struct side *side, struct segue_layer *layer, uint64_t bytes)
{
    for (uint32_t l = 0; l < side->geometry.layout.layers; l++) {
        uint32_t r = l % (uint32_t)side->n_regions;
        layer[l] = (struct segue_layer){r, side->extent[r].len};
        side->extent[r].len += bytes + 16 * pick(2);
    }
}

static void make_regions(struct side *side)
{
    struct segue_geometry *g = &side->geometry;
    side->n_regions = 1;
    side->extent[0].len = segue_layout_bytes(&g->layout);
    if (pick(2) == 0)
        return;
    /* Layers of their own: dealt out to a few regions, in order; V with K or apart. */
    struct segue_layout one = g->layout;
    one.layers = 1;
    bool apart = one.v.bytes > 0 && pick(3) == 0;
    side->n_regions = 1 + pick(REGIONS);
    for (size_t r = 0; r < side->n_regions; r++)
        side->extent[r].len = 32;
    if (apart) {
        struct segue_layout k = one, v = one;
        k.v.bytes = v.k.bytes = 0;
        deal_layers(side, side->layer, segue_layout_bytes(&k));
        deal_layers(side, side->v_layer, segue_layout_bytes(&v));
        g->v_layer = side->v_layer;
    } else {
        deal_layers(side, side->layer, segue_layout_bytes(&one));
    }
    if (pick(2))
        g->layout.k.layer = g->layout.v.layer = 0;
    g->layer = side->layer;
}

static void make_memory(struct side *side)
{
    for (size_t r = 0; r < side->n_regions; r++) {
        side->bytes[r] = malloc(side->extent[r].len + 64);
        side->extent[r].base = side->bytes[r] + (pick(4) == 0 ? pick(64) : 0);
        for (uint64_t i = 0; i < side->extent[r].len; i += 8) {
            uint64_t left = side->extent[r].len - i, some = left < 8 ? left : 8;
            uint32_t noise[2] = {pick(UINT32_MAX), pick(UINT32_MAX)};
            memcpy(side->extent[r].base + i, noise, some);
        }
    }
}

static void make_blocks(struct side *side)
{
    uint32_t n = side->geometry.layout.blocks, rounds = pick(3) ? n : pick(2);
    side->blocks = malloc(n * sizeof *side->blocks);
    for (uint32_t i = 0; i < n; i++)
        side->blocks[i] = i;
    for (uint32_t i = 0; i < rounds;
         i++) { /* all mixed up, one pair swapped, or in order */
        uint32_t a = rounds == n ? i : pick(n), b = pick(n), id = side->blocks[a];
        side->blocks[a] = side->blocks[b];
        side->blocks[b] = id;
    }
    side->tokens = (struct segue_tokens){side->blocks, n,
                                         side->geometry.layout.block_tokens, 0};
}

void side_make(struct side *side, const struct common *common, uint32_t dtype)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 5, 8, 16, 24};
    *side = (struct side){0};
    struct segue_geometry *g = &side->geometry;
    uint32_t layers, heads;
    char order[8];
    g->layers_total = common->layers;
    g->heads_total = common->heads;
    share(common->layers, &g->layer_first, &layers);
    share_heads(g, &heads);
    random_order(order);
    assert_ok(segue_layout_sized(order, (enum segue_dtype)dtype, layers, 1 + pick(9),
                                 sizes[pick(8)], heads, common->k_size, common->v_size,
                                 &g->layout));
    assert_ok(segue_layout_check(&g->layout));
    if (pick(4) == 0)
        spread_out(&g->layout);
    make_regions(side);
    for (uint32_t i = 0; i < 2 * layers; i++)
        side->scale[i] = 0.25F * (float)(1 + pick(3));
    if (common->scaled && pick(2))
        g->scale = side->scale;
    assert_ok(segue_geometry_check(g, "side"));
    make_memory(side);
    make_blocks(side);
}

void side_free(struct side *side)
{
    for (size_t r = 0; r < side->n_regions; r++)
        free(side->bytes[r]);
    free(side->blocks);
}
