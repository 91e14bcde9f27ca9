/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of cache descriptions. */
#include "kv/cache_wire.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static enum segue_status malformed(const char *what)
{
    return segue_fail(SEGUE_E_PROTOCOL, "a malformed %s", what);
}

/* ---- geometry ---- */

static void part_write(struct segue_writer *w, const struct segue_layout_part *part)
{
    segue_writer_u32(w, part->bytes);
    segue_writer_u64(w, part->offset);
    segue_writer_u64(w, part->layer);
    segue_writer_u64(w, part->block);
    segue_writer_u64(w, part->head);
    segue_writer_u64(w, part->token);
}

static void part_read(struct segue_reader *r, struct segue_layout_part *part)
{
    part->bytes = segue_reader_u32(r);
    part->offset = segue_reader_u64(r);
    part->layer = segue_reader_u64(r);
    part->block = segue_reader_u64(r);
    part->head = segue_reader_u64(r);
    part->token = segue_reader_u64(r);
}

static void places_write(struct segue_writer *w, const struct segue_layer *layer,
                         uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        segue_writer_u32(w, layer[i].region);
        segue_writer_u64(w, layer[i].offset);
    }
}

/* What most caches do not need, at the end: a reader takes its absence for the defaults. */
static void rest_write(struct segue_writer *w, const struct segue_geometry *g)
{
    uint32_t scales = g->scale ? 2 * g->layout.layers : 0;
    if (!scales && !g->group && !g->kind && !g->window)
        return;
    segue_writer_u32(w, g->group);
    segue_writer_u32(w, g->kind);
    segue_writer_u32(w, g->window);
    segue_writer_u32(w, scales);
    for (uint32_t i = 0; i < scales; i++) {
        uint32_t bits;
        memcpy(&bits, &g->scale[i], sizeof bits);
        segue_writer_u32(w, bits);
    }
}

void segue_geometry_write(struct segue_writer *w, const struct segue_geometry *g)
{
    size_t len_at = segue_writer_reserve(w, sizeof(uint32_t)), begin = w->len;
    segue_writer_u32(w, g->layout.dtype);
    segue_writer_u32(w, g->layout.layers);
    segue_writer_u32(w, g->layout.blocks);
    segue_writer_u32(w, g->layout.block_tokens);
    segue_writer_u32(w, g->layout.heads);
    part_write(w, &g->layout.k);
    part_write(w, &g->layout.v);
    segue_writer_u32(w, g->layer_first);
    segue_writer_u32(w, g->layers_total);
    segue_writer_u32(w, g->head_first);
    segue_writer_u32(w, g->heads_total);
    uint32_t n = g->layout.layers;
    segue_writer_u32(w, g->v_layer ? 2 * n : g->layer ? n : 0);
    places_write(w, g->layer, g->layer ? n : 0);
    places_write(w, g->v_layer, g->v_layer ? n : 0);
    rest_write(w, g);
    segue_writer_patch_u32(w, len_at, (uint32_t)(w->len - begin));
}

static enum segue_status places_read(struct segue_reader *r, struct segue_layer *layer,
                                     uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        layer[i].region = segue_reader_u32(r);
        layer[i].offset = segue_reader_u64(r);
        if (layer[i].region >= SEGUE_CACHE_REGIONS_MAX)
            return segue_fail(SEGUE_E_RANGE, "layer %u lies in region %u; %d are allowed",
                              i, layer[i].region, SEGUE_CACHE_REGIONS_MAX);
    }
    return SEGUE_OK;
}

static enum segue_status rest_read(struct segue_reader *r, struct segue_geometry *g,
                                   struct segue_geometry_room *room)
{
    if (r->failed || segue_reader_left(r) == 0)
        return SEGUE_OK;
    g->group = segue_reader_u32(r);
    g->kind = segue_reader_u32(r);
    g->window = segue_reader_u32(r);
    uint32_t scales = segue_reader_u32(r);
    if (r->failed || (scales && scales != 2 * g->layout.layers))
        return malformed("geometry");
    for (uint32_t i = 0; i < scales; i++) {
        uint32_t bits = segue_reader_u32(r);
        memcpy(&room->scale[i], &bits, sizeof bits);
    }
    g->scale = scales ? room->scale : NULL;
    return SEGUE_OK;
}

enum segue_status segue_geometry_read(struct segue_reader *outer,
                                      struct segue_geometry *g,
                                      struct segue_geometry_room *room)
{
    uint32_t len = segue_reader_u32(outer);
    struct segue_reader r = segue_reader_sub(outer, len);
    *g = (struct segue_geometry){.layout = SEGUE_LAYOUT_INIT};
    g->layout.dtype = segue_reader_u32(&r);
    g->layout.layers = segue_reader_u32(&r);
    g->layout.blocks = segue_reader_u32(&r);
    g->layout.block_tokens = segue_reader_u32(&r);
    g->layout.heads = segue_reader_u32(&r);
    part_read(&r, &g->layout.k);
    part_read(&r, &g->layout.v);
    g->layer_first = segue_reader_u32(&r);
    g->layers_total = segue_reader_u32(&r);
    g->head_first = segue_reader_u32(&r);
    g->heads_total = segue_reader_u32(&r);
    uint32_t places = segue_reader_u32(&r), n = g->layout.layers;
    if (r.failed)
        return malformed("geometry");
    if (n > SEGUE_GEOMETRY_LAYERS_MAX)
        return segue_fail(SEGUE_E_RANGE, "a geometry of %u layers; %u are allowed", n,
                          SEGUE_GEOMETRY_LAYERS_MAX);
    if (places && places != n && places != 2 * n)
        return segue_fail(SEGUE_E_PROTOCOL, "a geometry with places for %u of %u layers",
                          places, n);
    SEGUE_TRY(places_read(&r, room->layer, places));
    g->layer = places ? room->layer : NULL;
    g->v_layer = places > n ? room->layer + n : NULL;
    SEGUE_TRY(rest_read(&r, g, room));
    if (r.failed)
        return malformed("geometry");
    return segue_geometry_check(g, "peer's cache");
}

/* Every layer's place has `bytes` of its region. */
static enum segue_status check_places(const struct segue_layer *layer, uint32_t n,
                                      uint64_t bytes, const uint64_t *region_len,
                                      uint32_t n_regions)
{
    for (uint32_t i = 0; i < n; i++) {
        if (layer[i].region >= n_regions)
            return segue_fail(SEGUE_E_RANGE, "layer %u lies in region %u of %u", i,
                              layer[i].region, n_regions);
        uint64_t len = region_len[layer[i].region];
        if (bytes == 0 || layer[i].offset > len || bytes > len - layer[i].offset)
            return segue_fail(SEGUE_E_RANGE,
                              "layer %u needs %" PRIu64 " bytes at %" PRIu64
                              ", its region has %" PRIu64,
                              i, bytes, layer[i].offset, len);
    }
    return SEGUE_OK;
}

enum segue_status segue_cache_bounds_check(const struct segue_geometry *geometry,
                                           const uint64_t *region_len, uint32_t n_regions)
{
    struct segue_layout layout = geometry->layout;
    uint32_t n = layout.layers;
    if (!geometry->layer) {
        uint64_t bytes = segue_layout_bytes(&layout);
        if (n_regions != 1)
            return segue_fail(SEGUE_E_INVALID,
                              "%u regions and no places to say which layer lies where",
                              n_regions);
        if (bytes == 0 || bytes > region_len[0])
            return segue_fail(SEGUE_E_RANGE,
                              "the layout needs %" PRIu64
                              " bytes, the region has %" PRIu64,
                              bytes, region_len[0]);
        return SEGUE_OK;
    }
    layout.layers = 1;
    if (geometry->v_layer) {
        struct segue_layout only = layout;
        only.k.bytes = 0;
        SEGUE_TRY(check_places(geometry->v_layer, n, segue_layout_bytes(&only),
                               region_len, n_regions));
        layout.v.bytes = 0;
    }
    return check_places(geometry->layer, n, segue_layout_bytes(&layout), region_len,
                        n_regions);
}

/* ---- one cache ---- */

void segue_cache_tell_write(struct segue_writer *w,
                            const struct segue_remote_cache *cache)
{
    segue_writer_u32(w, cache->id);
    segue_writer_str16(w, cache->model);
    segue_writer_str16(w, cache->convention);
    segue_writer_u32(w, cache->rank);
    segue_writer_u32(w, cache->ranks);
    segue_geometry_write(w, &cache->geometry);
    segue_writer_str16(w, cache->device);
    segue_writer_u32(w, cache->device_caps);
    segue_writer_u32(w, cache->n_regions);
    for (uint32_t i = 0; i < cache->n_regions; i++)
        segue_writer_u64(w, cache->region_len[i]);
    uint32_t rows = 0;
    while (rows < SEGUE_ROWS_MAX && segue_transport_name(rows))
        rows++;
    segue_writer_u32(w, rows);
    for (uint32_t row = 0; row < rows; row++) {
        segue_writer_str16(w, segue_transport_name(row));
        segue_writer_str16(w, cache->why[row]);
    }
}

static size_t row_called(const char *transport)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++)
        if (strcmp(segue_transport_name(row), transport) == 0)
            return row;
    return SEGUE_ROWS_MAX;
}

/* Why rows have no handles; a transport of a later version is skipped. */
static void reasons_read(struct segue_reader *r, struct segue_remote_cache *cache)
{
    uint32_t n = segue_reader_u32(r);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        char name[16], why[sizeof cache->why[0]];
        segue_reader_str16_copy(r, name, sizeof name);
        segue_reader_str16_copy(r, why, sizeof why);
        size_t row = row_called(name);
        if (row < SEGUE_ROWS_MAX && !r->failed)
            memcpy(cache->why[row], why, sizeof why);
    }
}

static enum segue_status fields_read(struct segue_reader *r,
                                     struct segue_remote_cache *cache,
                                     struct segue_geometry_room *room)
{
    cache->id = segue_reader_u32(r);
    segue_reader_str16_copy(r, cache->model, sizeof cache->model);
    segue_reader_str16_copy(r, cache->convention, sizeof cache->convention);
    cache->rank = segue_reader_u32(r);
    cache->ranks = segue_reader_u32(r);
    SEGUE_TRY(segue_geometry_read(r, &cache->geometry, room));
    segue_reader_str16_copy(r, cache->device, sizeof cache->device);
    cache->device_caps = segue_reader_u32(r);
    cache->n_regions = segue_reader_u32(r);
    if (r->failed || cache->n_regions == 0 ||
        cache->n_regions > SEGUE_CACHE_REGIONS_MAX || cache->rank >= cache->ranks)
        return malformed("cache description");
    for (uint32_t i = 0; i < cache->n_regions; i++) {
        cache->region_len[i] = segue_reader_u64(r);
        if (cache->region_len[i] > INT64_MAX)
            return malformed("cache description");
    }
    reasons_read(r, cache);
    if (r->failed)
        return malformed("cache description");
    return segue_cache_bounds_check(&cache->geometry, cache->region_len,
                                    cache->n_regions);
}

enum segue_status segue_cache_tell_read(const uint8_t *body, uint32_t len,
                                        struct segue_remote_cache *cache)
{
    struct segue_reader r = segue_reader_make(body, len);
    struct segue_geometry_room *room = malloc(sizeof *room);
    *cache = (struct segue_remote_cache){0};
    if (!room)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a cache description");
    enum segue_status status = fields_read(&r, cache, room);
    struct segue_geometry borrowed = cache->geometry;
    cache->geometry.layer = cache->geometry.v_layer = NULL;
    cache->geometry.scale = NULL;
    if (status >= 0)
        status = segue_geometry_copy(&borrowed, &cache->geometry);
    free(room);
    return status;
}

void segue_remote_cache_free(struct segue_remote_cache *cache)
{
    for (size_t i = 0; cache->handles && i < SEGUE_ROWS_MAX * cache->n_regions; i++)
        segue_handle_close(&cache->handles[i]);
    free(cache->handles);
    segue_geometry_drop(&cache->geometry);
    *cache = (struct segue_remote_cache){0};
}

/* ---- handles ---- */

void segue_window_write(struct segue_writer *w, const struct segue_geometry *g)
{
    segue_writer_u32(w, g->layer_first);
    segue_writer_u32(w, g->layout.layers);
    segue_writer_u32(w, g->layers_total);
    segue_writer_u32(w, g->head_first);
    segue_writer_u32(w, g->layout.heads);
    segue_writer_u32(w, g->heads_total);
    segue_writer_u32(w, g->group);
}

enum segue_status segue_window_read(struct segue_reader *r, struct segue_geometry *g)
{
    *g = (struct segue_geometry){.layer_first = segue_reader_u32(r)};
    g->layout.layers = segue_reader_u32(r);
    g->layers_total = segue_reader_u32(r);
    g->head_first = segue_reader_u32(r);
    g->layout.heads = segue_reader_u32(r);
    g->heads_total = segue_reader_u32(r);
    g->group = segue_reader_u32(r);
    if (r->failed || g->layout.layers > g->layers_total ||
        g->layer_first > g->layers_total - g->layout.layers ||
        g->layout.heads > g->heads_total ||
        g->head_first > g->heads_total - g->layout.heads)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "the peer described a rank that exceeds its model");
    return SEGUE_OK;
}

void segue_cache_handles_write(struct segue_writer *w, uint32_t cache,
                               const char *transport, const struct segue_handle *handles,
                               uint32_t n_regions)
{
    segue_writer_u32(w, cache);
    segue_writer_str16(w, transport);
    segue_writer_u32(w, n_regions);
    for (uint32_t i = 0; i < n_regions; i++) {
        segue_writer_bytes16(w, handles[i].blob, handles[i].len);
        segue_writer_u32(w, handles[i].n_fds);
    }
}

enum segue_status segue_cache_handles_read(const struct segue_frame *frame,
                                           struct segue_cache_handles *out)
{
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    uint32_t fds = 0;
    out->cache = segue_reader_u32(&r);
    segue_reader_str16_copy(&r, out->transport, sizeof out->transport);
    out->n_regions = segue_reader_u32(&r);
    if (r.failed || out->n_regions > SEGUE_CACHE_REGIONS_MAX)
        return malformed("list of handles");
    for (uint32_t i = 0; i < out->n_regions; i++) {
        struct segue_handle *handle = &out->handle[i];
        struct segue_bytes blob = segue_reader_bytes16(&r);
        handle->n_fds = segue_reader_u32(&r);
        if (r.failed || blob.len > sizeof handle->blob ||
            handle->n_fds > SEGUE_BLOB_FDS || handle->n_fds > frame->n_fds - fds)
            return malformed("list of handles");
        handle->len = (uint32_t)blob.len;
        if (blob.len)
            memcpy(handle->blob, blob.data, blob.len);
        for (uint32_t k = 0; k < handle->n_fds; k++)
            handle->fds[k] = frame->fds[fds++];
    }
    return fds == frame->n_fds ? SEGUE_OK : malformed("list of handles");
}
