/* SPDX-License-Identifier: Apache-2.0 */
/* Peers' memory as it is imported here, transport by transport, kept while the link lives or until the peer resets its cache. */
#include "base/log.h"
#include "kv/cache_service.h"

#include <stdlib.h>

struct kept_import {
    struct segue_import import;
    const struct segue_remote_cache *cache;
};

static void drop_import(struct kept_import *kept)
{
    for (uint32_t i = 0; i < kept->import.n; i++)
        segue_remote_drop(kept->import.remote[i]);
    segue_list_remove(&kept->import.list);
    free(kept);
}

void segue_imports_drop_all(struct segue_list *imports)
{
    while (!segue_list_empty(imports))
        drop_import(segue_container_of(imports->next, struct kept_import, import.list));
}

void segue_cache_imports_drop(struct segue_link *link, uint32_t cache)
{
    struct segue_list *imports = segue_imports_of(link);
    if (!imports)
        return;
    segue_list_each (at, imports) {
        struct kept_import *kept = segue_container_of(at, struct kept_import,
                                                      import.list);
        if (kept->cache->id == cache)
            drop_import(kept);
    }
}

enum segue_status segue_cache_import(const struct segue_remote_cache *cache,
                                     struct segue_connection *connection, size_t row,
                                     struct segue_device *device,
                                     struct segue_import **out)
{
    struct segue_list *imports = segue_imports_of(cache->link);
    segue_list_each (at, imports) {
        struct kept_import *kept = segue_container_of(at, struct kept_import,
                                                      import.list);
        if (kept->cache == cache && kept->import.connection == connection &&
            kept->import.device == device) {
            *out = &kept->import;
            return SEGUE_OK;
        }
    }
    if (!(cache->rows & (1u << row)))
        return segue_fail(SEGUE_E_UNSUPPORTED, "cache %u has no handles for %s: %s",
                          cache->id, segue_transport_name(row), cache->why[row]);
    struct kept_import *kept = calloc(1, sizeof *kept);
    if (!kept)
        return segue_fail(SEGUE_E_MEMORY, "no memory to import a cache");
    kept->cache = cache;
    kept->import.connection = connection;
    kept->import.device = device;
    segue_list_push_back(imports, &kept->import.list);
    for (; kept->import.n < cache->n_regions; kept->import.n++) {
        uint32_t i = kept->import.n;
        enum segue_status status = segue_remote_import(
            connection, device, &cache->handles[row * cache->n_regions + i],
            cache->region_len[i], &kept->import.remote[i]);
        if (status < 0) {
            drop_import(kept);
            return status;
        }
    }
    *out = &kept->import;
    return SEGUE_OK;
}
