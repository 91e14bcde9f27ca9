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
    uint32_t places = g->layer ? g->layout.layers : 0;
    segue_writer_u32(w, places);
    for (uint32_t i = 0; i < places; i++) {
        segue_writer_u32(w, g->layer[i].region);
        segue_writer_u64(w, g->layer[i].offset);
    }
    segue_writer_patch_u32(w, len_at, (uint32_t)(w->len - begin));
}

enum segue_status segue_geometry_read(struct segue_reader *outer,
                                      struct segue_geometry *g,
                                      struct segue_layer *layers, uint32_t max_layers)
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
    uint32_t places = segue_reader_u32(&r);
    if (r.failed)
        return malformed("geometry");
    if (g->layout.layers > max_layers)
        return segue_fail(SEGUE_E_RANGE, "a geometry of %u layers; %u are allowed",
                          g->layout.layers, max_layers);
    if (places && places != g->layout.layers)
        return segue_fail(SEGUE_E_PROTOCOL, "a geometry with places for %u of %u layers",
                          places, g->layout.layers);
    for (uint32_t i = 0; i < places; i++) {
        layers[i].region = segue_reader_u32(&r);
        layers[i].offset = segue_reader_u64(&r);
        if (layers[i].region >= SEGUE_CACHE_REGIONS_MAX)
            return segue_fail(SEGUE_E_RANGE, "layer %u lies in region %u; %d are allowed",
                              i, layers[i].region, SEGUE_CACHE_REGIONS_MAX);
    }
    if (r.failed)
        return malformed("geometry");
    g->layer = places ? layers : NULL;
    return segue_geometry_check(g, "peer's cache");
}

enum segue_status segue_cache_bounds_check(const struct segue_geometry *geometry,
                                           const uint64_t *region_len, uint32_t n_regions)
{
    struct segue_layout layout = geometry->layout;
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
    uint64_t bytes = segue_layout_bytes(&layout);
    for (uint32_t i = 0; i < geometry->layout.layers; i++) {
        const struct segue_layer *place = &geometry->layer[i];
        if (place->region >= n_regions)
            return segue_fail(SEGUE_E_RANGE, "layer %u lies in region %u of %u", i,
                              place->region, n_regions);
        uint64_t len = region_len[place->region];
        if (bytes == 0 || place->offset > len || bytes > len - place->offset)
            return segue_fail(SEGUE_E_RANGE,
                              "layer %u needs %" PRIu64 " bytes at %" PRIu64
                              ", its region has %" PRIu64,
                              i, bytes, place->offset, len);
    }
    return SEGUE_OK;
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
                                     struct segue_layer *layers)
{
    cache->id = segue_reader_u32(r);
    segue_reader_str16_copy(r, cache->model, sizeof cache->model);
    segue_reader_str16_copy(r, cache->convention, sizeof cache->convention);
    cache->rank = segue_reader_u32(r);
    cache->ranks = segue_reader_u32(r);
    SEGUE_TRY(segue_geometry_read(r, &cache->geometry, layers, SEGUE_CACHE_LAYERS_MAX));
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
    struct segue_layer *layers = calloc(SEGUE_CACHE_LAYERS_MAX, sizeof *layers);
    *cache = (struct segue_remote_cache){0};
    if (!layers)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a cache description");
    enum segue_status status = fields_read(&r, cache, layers);
    if (status >= 0 && cache->geometry.layer) {
        /* Failing to shrink is no failure. */
        size_t size = cache->geometry.layout.layers * sizeof *layers;
        struct segue_layer *fitting = realloc(layers, size);
        cache->geometry.layer = fitting ? fitting : layers;
        return SEGUE_OK;
    }
    free(layers);
    cache->geometry.layer = NULL;
    return status;
}

void segue_remote_cache_free(struct segue_remote_cache *cache)
{
    for (size_t i = 0; cache->handles && i < SEGUE_ROWS_MAX * cache->n_regions; i++)
        segue_handle_close(&cache->handles[i]);
    free(cache->handles);
    free((struct segue_layer *)(uintptr_t)cache->geometry.layer);
    *cache = (struct segue_remote_cache){0};
}

/* ---- handles ---- */

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
