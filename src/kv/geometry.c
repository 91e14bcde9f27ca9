/* SPDX-License-Identifier: Apache-2.0 */
/* One side of a plan, by itself. */
#include "kv/geometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/status.h"
#include "kv/layout.h"

static enum segue_status check_share(const char *name, const char *what, uint32_t first,
                                     uint32_t count, uint32_t total)
{
    if (total > INT32_MAX || first > total || count > total - first)
        return segue_fail(SEGUE_E_INVALID, "the %s holds %s %u to %llu of %u", name, what,
                          first, (unsigned long long)first + count, total);
    return SEGUE_OK;
}

static enum segue_status check_kind(const struct segue_geometry *g, const char *name)
{
    const struct segue_layout *layout = &g->layout;
    if (g->kind > SEGUE_STATE_PAGES)
        return segue_fail(SEGUE_E_INVALID, "the %s is of kind %u, which there is not",
                          name, g->kind);
    if ((g->kind == SEGUE_STATE_WINDOW) != (g->window > 0))
        return segue_fail(SEGUE_E_INVALID,
                          "the %s is %s sliding window and has one of %u "
                          "tokens",
                          name, g->kind == SEGUE_STATE_WINDOW ? "a" : "no", g->window);
    if (g->kind == SEGUE_STATE_PAGES &&
        (layout->dtype != SEGUE_DTYPE_BYTES || layout->v.bytes != 0))
        return segue_fail(SEGUE_E_INVALID,
                          "the %s is of pages, which are opaque bytes "
                          "without a V",
                          name);
    return SEGUE_OK;
}

/* No scale in use is near these, and the ratio of any two is a float, neither 0 nor infinite. */
#define SCALE_LEAST 0x1p-60f
#define SCALE_MOST  0x1p60f

static enum segue_status check_scales(const struct segue_geometry *g, const char *name)
{
    if (g->scale && g->layout.dtype == SEGUE_DTYPE_BYTES)
        return segue_fail(SEGUE_E_INVALID, "the %s has scales for opaque bytes", name);
    for (uint32_t i = 0; g->scale && i < 2 * g->layout.layers; i++)
        if (!(g->scale[i] >= SCALE_LEAST && g->scale[i] <= SCALE_MOST))
            return segue_fail(SEGUE_E_INVALID, "the %s has a scale of %g in layer %u",
                              name, (double)g->scale[i], i / 2);
    return SEGUE_OK;
}

static enum segue_status check_places(const struct segue_layer *layer, uint32_t n,
                                      const char *name)
{
    for (uint32_t i = 0; layer && i < n; i++)
        if (layer[i].offset > INT64_MAX)
            return segue_fail(SEGUE_E_RANGE, "the %s has layer %u at offset %llu", name,
                              i, (unsigned long long)layer[i].offset);
    return SEGUE_OK;
}

enum segue_status segue_geometry_check(const struct segue_geometry *geometry,
                                       const char *name)
{
    const struct segue_layout *layout = &geometry->layout;
    SEGUE_TRY(geometry->v_layer ? segue_layout_check_apart(layout)
                                : segue_layout_check(layout));
    SEGUE_TRY(check_share(name, "layers", geometry->layer_first, layout->layers,
                          geometry->layers_total));
    SEGUE_TRY(check_share(name, "KV heads", geometry->head_first, layout->heads,
                          geometry->heads_total));
    if (!geometry->layer && layout->layers > 1 && layout->k.layer == 0)
        return segue_fail(SEGUE_E_INVALID,
                          "the %s has %u layers and neither a layer stride nor regions "
                          "for them",
                          name, layout->layers);
    if (geometry->v_layer && (!geometry->layer || layout->v.bytes == 0))
        return segue_fail(SEGUE_E_INVALID,
                          "the %s has places for V and none for K, or no V", name);
    SEGUE_TRY(check_places(geometry->layer, layout->layers, name));
    SEGUE_TRY(check_places(geometry->v_layer, layout->layers, name));
    SEGUE_TRY(check_kind(geometry, name));
    return check_scales(geometry, name);
}

/* ---- copies ---- */

enum segue_status segue_geometry_copy(const struct segue_geometry *from,
                                      struct segue_geometry *to)
{
    size_t n = from->layout.layers, places = from->layer ? n * sizeof *from->layer : 0;
    size_t scales = from->scale ? 2 * n * sizeof *from->scale : 0;
    struct segue_geometry copy = *from;
    if (2 * places + scales > 0) {
        char *block = malloc(2 * places + scales); /* layers, V's layers, scales */
        if (!block)
            return segue_fail(SEGUE_E_MEMORY, "no memory for %zu layers", n);
        if (from->layer)
            copy.layer = memcpy(block, from->layer, places);
        if (from->v_layer)
            copy.v_layer = memcpy(block + places, from->v_layer, places);
        if (from->scale)
            copy.scale = memcpy(block + 2 * places, from->scale, scales);
    }
    *to = copy;
    return SEGUE_OK;
}

void segue_geometry_drop(struct segue_geometry *geometry)
{
    const void *block = geometry->layer ? (const void *)geometry->layer : geometry->scale;
    free((void *)(uintptr_t)block);
    geometry->layer = geometry->v_layer = NULL;
    geometry->scale = NULL;
}

static bool part_equal(const struct segue_layout_part *a,
                       const struct segue_layout_part *b)
{
    return a->bytes == b->bytes && a->offset == b->offset && a->layer == b->layer &&
           a->block == b->block && a->head == b->head && a->token == b->token;
}

static bool layout_equal(const struct segue_layout *x, const struct segue_layout *y)
{
    return x->dtype == y->dtype && x->layers == y->layers && x->blocks == y->blocks &&
           x->block_tokens == y->block_tokens && x->heads == y->heads &&
           part_equal(&x->k, &y->k) && part_equal(&x->v, &y->v);
}

static bool places_equal(const struct segue_layer *a, const struct segue_layer *b,
                         uint32_t n)
{
    for (uint32_t i = 0; a && b && i < n; i++)
        if (a[i].region != b[i].region || a[i].offset != b[i].offset)
            return false;
    return !a == !b;
}

bool segue_geometry_equal(const struct segue_geometry *a, const struct segue_geometry *b)
{
    uint32_t n = a->layout.layers;
    if (!layout_equal(&a->layout, &b->layout) || a->layer_first != b->layer_first ||
        a->layers_total != b->layers_total || a->head_first != b->head_first ||
        a->heads_total != b->heads_total || a->group != b->group || a->kind != b->kind ||
        a->window != b->window || !a->scale != !b->scale)
        return false;
    for (uint32_t i = 0; a->scale && i < 2 * n; i++)
        if (a->scale[i] != b->scale[i])
            return false;
    return places_equal(a->layer, b->layer, n) && places_equal(a->v_layer, b->v_layer, n);
}

/* ---- what lies where ---- */

struct segue_layer segue_geometry_layer(const struct segue_geometry *geometry,
                                        uint32_t index, bool v)
{
    const struct segue_layout_part *part = v ? &geometry->layout.v : &geometry->layout.k;
    if (v && geometry->v_layer)
        return geometry->v_layer[index];
    if (geometry->layer)
        return geometry->layer[index];
    return (struct segue_layer){0, index * part->layer};
}

uint32_t segue_geometry_first(const struct segue_geometry *geometry, uint32_t tokens,
                              uint32_t have)
{
    if (geometry->kind == SEGUE_STATE_PAGES)
        return 0;
    uint32_t clipped = geometry->kind == SEGUE_STATE_WINDOW && tokens > geometry->window
                           ? tokens - geometry->window
                           : 0;
    return clipped > have ? clipped : have;
}

struct segue_share segue_share_overlap(uint32_t a_first, uint32_t a_count,
                                       uint32_t b_first, uint32_t b_count)
{
    uint64_t a_end = (uint64_t)a_first + a_count, b_end = (uint64_t)b_first + b_count;
    uint64_t end = a_end < b_end ? a_end : b_end;
    struct segue_share share = {.first = a_first > b_first ? a_first : b_first};
    if (end > share.first)
        share.count = (uint32_t)(end - share.first);
    return share;
}

enum segue_status segue_share_heads(uint32_t heads, uint32_t rank, uint32_t ranks,
                                    struct segue_share *out)
{
    if (heads == 0 || ranks == 0 || rank >= ranks)
        return segue_fail(SEGUE_E_INVALID, "rank %u of %u over %u KV heads", rank, ranks,
                          heads);
    if (heads % ranks == 0)
        *out = (struct segue_share){rank * (heads / ranks), heads / ranks};
    else if (ranks % heads == 0)
        *out = (struct segue_share){rank / (ranks / heads), 1};
    else
        return segue_fail(SEGUE_E_INVALID,
                          "TP %u and %u KV heads: neither divides the other", ranks,
                          heads);
    return SEGUE_OK;
}
