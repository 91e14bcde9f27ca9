/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing our own caches: what the engine says of one is checked here, once,
 * against its regions. */
#include "kv/cache.h"
#include "base/log.h"
#include "base/sized.h"
#include "kv/cache_service.h"
#include "kv/cache_wire.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static enum segue_status take_text(const char *what, const char *text, char *out,
                                   size_t cap)
{
    size_t len = text ? strlen(text) : 0;
    if (len >= cap)
        return segue_fail(SEGUE_E_INVALID, "cache: %s has %zu bytes, %zu are allowed",
                          what, len, cap - 1);
    memcpy(out, text ? text : "", len + 1);
    return SEGUE_OK;
}

/* The number of a region in the cache, added when it is new. */
static enum segue_status region_index(struct segue_cache *cache,
                                      struct segue_region *region, uint32_t *out)
{
    if (!region)
        return segue_fail(SEGUE_E_INVALID, "cache: a region is missing");
    if (region->agent != cache->agent)
        return segue_fail(SEGUE_E_INVALID, "cache: a region belongs to another agent");
    for (*out = 0; *out < cache->n_regions; (*out)++)
        if (cache->regions[*out] == region)
            return SEGUE_OK;
    if (cache->n_regions == SEGUE_CACHE_REGIONS_MAX)
        return segue_fail(SEGUE_E_LIMIT, "cache: its layers lie in more than %d regions",
                          SEGUE_CACHE_REGIONS_MAX);
    if (cache->n_regions && region->device != cache->device)
        return segue_fail(SEGUE_E_INVALID, "cache: its regions lie on both %s and %s",
                          cache->device->name, region->device->name);
    cache->device = region->device;
    cache->regions[cache->n_regions++] = region;
    return SEGUE_OK;
}

static enum segue_status take_layers(struct segue_cache *cache, uint32_t n,
                                     const struct segue_layer_place *places,
                                     struct segue_layer *out)
{
    for (uint32_t i = 0; i < n; i++) {
        SEGUE_TRY(region_index(cache, places[i].region, &out[i].region));
        out[i].offset = places[i].offset;
    }
    return SEGUE_OK;
}

/* The tables of the options, looked up into `room` for the cache to take a copy. */
static enum segue_status take_tables(struct segue_cache *cache,
                                     const struct segue_cache_opts *opts,
                                     struct segue_geometry_room *room)
{
    struct segue_geometry g = cache->geometry;
    uint32_t layers = g.layout.layers, only;
    if (!opts->region == !opts->places)
        return segue_fail(SEGUE_E_INVALID, "cache: give either a region or places");
    if (opts->v_places && !opts->places)
        return segue_fail(SEGUE_E_INVALID, "cache: places for V and none for K");
    if (layers > SEGUE_GEOMETRY_LAYERS_MAX)
        return segue_fail(SEGUE_E_RANGE, "cache: %u layers; %d are allowed", layers,
                          SEGUE_GEOMETRY_LAYERS_MAX);
    if (opts->region)
        SEGUE_TRY(region_index(cache, opts->region, &only));
    if (opts->places) {
        g.layer = room->layer;
        SEGUE_TRY(take_layers(cache, layers, opts->places, room->layer));
    }
    if (opts->v_places) {
        g.v_layer = room->layer + layers;
        SEGUE_TRY(take_layers(cache, layers, opts->v_places, room->layer + layers));
    }
    for (uint32_t i = 0; i < layers; i++) {
        room->scale[2 * i] = opts->k_scales ? opts->k_scales[i] : 1;
        room->scale[2 * i + 1] = opts->v_scales ? opts->v_scales[i] : 1;
    }
    if (opts->k_scales || opts->v_scales)
        g.scale = room->scale;
    return segue_geometry_copy(&g, &cache->geometry);
}

static enum segue_status take_geometry(struct segue_cache *cache,
                                       const struct segue_cache_opts *opts)
{
    struct segue_geometry *g = &cache->geometry;
    g->layout = opts->layout;
    g->layer_first = opts->layer_first;
    g->layers_total = opts->layers_total ? opts->layers_total : opts->layout.layers;
    g->head_first = opts->head_first;
    g->heads_total = opts->heads_total ? opts->heads_total : opts->layout.heads;
    g->group = opts->group;
    if (opts->state == SEGUE_STATE_PAGES)
        return segue_fail(SEGUE_E_UNSUPPORTED,
                          "cache: pages are planned for, but not handed over yet");
    g->kind = (uint32_t)opts->state;
    g->window = opts->window;
    struct segue_geometry_room *room = malloc(sizeof *room);
    if (!room)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a cache's tables");
    enum segue_status status = take_tables(cache, opts, room);
    free(room);
    return status;
}

static enum segue_status fill(struct segue_cache *cache,
                              const struct segue_cache_opts *opts)
{
    struct segue_geometry *g = &cache->geometry;
    SEGUE_TRY(take_text("model", opts->model, cache->model, sizeof cache->model));
    SEGUE_TRY(take_text("convention", opts->convention, cache->convention,
                        sizeof cache->convention));
    cache->rank = opts->rank;
    cache->generation = opts->generation;
    cache->ranks = opts->ranks ? opts->ranks : 1;
    if (cache->rank >= cache->ranks)
        return segue_fail(SEGUE_E_RANGE, "cache: rank %u of %u", cache->rank,
                          cache->ranks);
    SEGUE_TRY(take_geometry(cache, opts));
    SEGUE_TRY(segue_geometry_check(g, "cache"));
    uint64_t region_len[SEGUE_CACHE_REGIONS_MAX];
    for (uint32_t i = 0; i < cache->n_regions; i++)
        region_len[i] = cache->regions[i]->len;
    return segue_cache_bounds_check(g, region_len, cache->n_regions);
}

static void free_cache(struct segue_cache *cache)
{
    segue_geometry_drop(&cache->geometry);
    free(cache);
}

static enum segue_status attach(struct segue_agent *agent, void *arg)
{
    struct segue_cache *cache = arg;
    SEGUE_TRY(segue_cache_service(agent));
    SEGUE_TRY(segue_cache_service_add(agent, cache));
    for (uint32_t i = 0; i < cache->n_regions; i++)
        cache->regions[i]->users++;
    return SEGUE_OK;
}

enum segue_status segue_cache_open(segue_agent *agent,
                                   const struct segue_cache_opts *opts, segue_cache **out)
{
    struct segue_cache_opts known;
    SEGUE_TRY(segue_sized_take("struct segue_cache_opts", opts, &known, sizeof known));
    struct segue_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a cache");
    cache->agent = agent;
    segue_list_init(&cache->list);
    enum segue_status status = fill(cache, &known);
    if (status >= 0)
        status = segue_agent_call(agent, attach, cache);
    if (status < 0)
        free_cache(cache);
    else
        *out = cache;
    return status;
}

/* ---- the end ---- */

void segue_cache_discard(struct segue_cache *cache)
{
    segue_list_remove(&cache->list);
    for (uint32_t i = 0; i < cache->n_regions; i++)
        cache->regions[i]->users--;
    sem_t *closer = cache->closer;
    free_cache(cache);
    if (closer)
        sem_post(closer);
}

void segue_cache_ended(struct segue_cache *cache)
{
    if (cache->closer && cache->closing(cache))
        segue_cache_discard(cache);
}

struct closing {
    struct segue_cache *cache;
    sem_t done;
};

static enum segue_status begin_to_close(struct segue_agent *agent, void *arg)
{
    struct closing *closing = arg;
    struct segue_cache *cache = closing->cache;
    cache->closer = &closing->done;
    segue_cache_service_closed(cache);
    if (!cache->closing || cache->closing(cache))
        segue_cache_discard(cache);
    return SEGUE_OK;
}

void segue_cache_close(segue_cache *cache)
{
    if (!cache)
        return;
    struct closing closing = {.cache = cache};
    sem_init(&closing.done, 0, 0);
    segue_agent_call(cache->agent, begin_to_close, &closing);
    while (sem_wait(&closing.done) < 0)
        assert(errno == EINTR);
    sem_destroy(&closing.done);
}
