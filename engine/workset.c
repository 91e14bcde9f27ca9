/* SPDX-License-Identifier: Apache-2.0 */
/* Copies stretches of blocks between a cache's device memory and its working set. */
#include "workset.h"
#include "fail.h"

#include <stdbool.h>
#include <stdlib.h>

struct workset {
    struct cache cache; /* base: the working set */
    segue_device *device;
    uint8_t *address;
    uint32_t *
        current; /* [blocks]: of each, how many tokens from its first on the device has */
};

int workset_open(struct workset **out, struct cache *cache, segue_device *device,
                 void *address)
{
    struct workset *set = calloc(1, sizeof *set);
    if (set) {
        set->current = calloc(cache->shape.blocks, sizeof *set->current);
        cache->base = calloc(1, cache->size);
        set->cache = *cache;
        set->device = device;
        set->address = address;
    }
    if (!set || !set->current || !set->cache.base) {
        workset_close(set);
        return engine_fail("no memory for a working set of %zu bytes beside %s",
                           cache->size, segue_device_name(device));
    }
    *out = set;
    return 0;
}

void workset_close(struct workset *set)
{
    if (!set)
        return;
    free(set->cache.base);
    free(set->current);
    free(set);
}

void workset_wrote(struct workset *set, uint32_t block, uint32_t token)
{
    if (set->current[block] > token)
        set->current[block] = token;
}

/* Tokens [from, end) of one block, all layers at a time: a token's heads lie side by side, or a head's tokens do. */
static int copy(struct workset *set, bool out, uint32_t block, uint32_t from,
                uint32_t end, uint64_t *bytes)
{
    const struct cache *c = &set->cache;
    bool heads_inside = c->head_stride < c->token_stride;
    uint32_t pieces = heads_inside ? 1 : c->shape.kv_heads;
    size_t len = (end - from) * (heads_inside ? c->token_stride : c->row_bytes);
    for (uint32_t head = 0; head < pieces; head++) {
        uint8_t *host = cache_row(c, 0, block, head, from);
        uint8_t *device = set->address + (host - c->base);
        uint8_t *to = out ? device : host, *source = out ? host : device;
        if (segue_copy(set->device, to, c->layer_stride, source, c->layer_stride, len,
                       c->shape.layers) < 0)
            return engine_fail("block %u of the KV cache: %s", block,
                               segue_error_detail());
        *bytes += len * c->shape.layers;
    }
    return 0;
}

int workset_push(struct workset *set, const uint32_t *blocks, uint32_t tokens,
                 uint64_t *bytes)
{
    uint32_t size = set->cache.shape.block_tokens;
    for (uint32_t i = 0, left = tokens; left > 0; i++) {
        uint32_t used = left < size ? left : size, *current = &set->current[blocks[i]];
        if (*current < used && copy(set, true, blocks[i], *current, used, bytes) != 0)
            return -1;
        *current = *current < used ? used : *current;
        left -= used;
    }
    return 0;
}

int workset_pull(struct workset *set, const uint32_t *blocks, uint32_t first,
                 uint32_t tokens, uint64_t *bytes)
{
    uint32_t size = set->cache.shape.block_tokens;
    for (uint32_t i = first / size, at = first; at < tokens; i++, at += size) {
        uint32_t used = tokens - at < size ? tokens - at : size;
        if (copy(set, false, blocks[i], 0, used, bytes) != 0)
            return -1;
        set->current[blocks[i]] = used;
    }
    return 0;
}
