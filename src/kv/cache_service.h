/* SPDX-License-Identifier: Apache-2.0 */
/* Between cache.c, cache_service.c, tell.c and import.c. Thread: the agent's. */
#ifndef KV_CACHE_SERVICE_H
#define KV_CACHE_SERVICE_H

#include "kv/cache.h"
#include "kv/members.h"

/* What: gives a new cache its id and tells it to the peers that have asked. E_LIMIT: too
 * many. */
enum segue_status segue_cache_service_add(struct segue_agent *agent,
                                          struct segue_cache *cache);

/* What: TELL and HANDLES of a cache of ours; `body` is room to write in. */
void segue_cache_tell(struct segue_link *link, const struct segue_cache *cache,
                      uint8_t body[SEGUE_FRAME_MAX]);

/* What: frees a cache over which nothing is left, and wakes who closes it. */
void segue_cache_discard(struct segue_cache *cache);

/* What: tells every peer that looks that this cache is closed. */
void segue_cache_service_closed(const struct segue_cache *cache);

struct segue_members *
segue_members_of(struct segue_agent *agent);                   /* NULL: no service yet */
struct segue_list *segue_caches_of(struct segue_agent *agent); /* ours */
/* What: the last word to peers that have asked, once every rank has joined. */
void segue_caches_told(struct segue_agent *agent);

/* What: the imports of this link's peer; NULL before there is anything of its caches. */
struct segue_list *segue_imports_of(struct segue_link *link);
void segue_imports_drop_all(struct segue_list *imports);

#endif
