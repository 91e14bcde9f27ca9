/* SPDX-License-Identifier: Apache-2.0 */
/* The negative control: spoils what a claim has brought, to show that it is noticed. */
#include "handoff/handoff.h"

#include "base/status.h"
#include "kv/cache.h"

enum segue_status segue_pair_flip(struct segue_pair *pair)
{
    const struct segue_cache *cache = pair->claim->cache;
    const struct segue_geometry *g = &cache->geometry;
    uint32_t token = pair->claim->first, block_tokens = g->layout.block_tokens;
    struct segue_overlap overlap;
    if (!segue_overlap_of(g, &pair->route->geometry, &overlap))
        return SEGUE_OK;
    const struct segue_layout_part *k = &g->layout.k;
    uint32_t layer = overlap.layer_first - g->layer_first;
    segue_cache_extents(cache, pair->memory);
    char *at = g->layer
                   ? pair->memory[g->layer[layer].region].base + g->layer[layer].offset
                   : pair->memory[0].base + layer * k->layer;
    at += k->offset + pair->claim->blocks.id[token / block_tokens] * k->block +
          token % block_tokens * k->token +
          (overlap.head_first - g->head_first) * k->head;
    char byte;
    SEGUE_TRY(segue_copy(cache->device, &byte, 1, at, 1, 1, 1));
    byte ^= 1;
    return segue_copy(cache->device, at, 1, &byte, 1, 1, 1);
}
