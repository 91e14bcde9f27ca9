/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caches, ours and our peers'. A peer's caches are asked for once a link (CACHES),
 * described field by field, bounds checked, and their memory imported transport by
 * transport when a path first needs it.
 *
 * Thread: the agent's.
 */
#ifndef KV_CACHE_H
#define KV_CACHE_H

#include <segue/cache.h>
#include "agent/link.h"
#include "kv/geometry.h"

#define SEGUE_CACHES_MAX 64 /* caches of one agent that a peer looks at */
#define SEGUE_CACHE_REGIONS_MAX                                                          \
    8 /* distinct regions of one cache (segue_op's limit); more: E_LIMIT */

struct segue_cache { /* one of ours */
    struct segue_list list;
    struct segue_agent *agent;
    uint32_t id; /* unique in the agent, never re-used */
    char model[128], convention[128];
    uint32_t rank, ranks;
    struct segue_geometry geometry; /* its tables are owned: segue_geometry_drop */
    struct segue_region *regions[SEGUE_CACHE_REGIONS_MAX];
    uint32_t n_regions;
    struct segue_device *device; /* of all regions */
    uint64_t generation;         /* of the weights its KV is made with (R15) */
    /* The layer above: offers and claims over this cache. `closing` starts to end them
     * and is asked again (by segue_cache_ended) until it answers true: then the cache is
     * freed. */
    void *above;
    bool (*closing)(struct segue_cache *cache); /* true: nothing is left over it */
    void *closer; /* private: who waits in segue_cache_close */
};

struct segue_remote_cache { /* one of a peer's, as described */
    struct segue_link *link;
    uint32_t id;
    char model[128], convention[128];
    uint32_t rank, ranks;
    struct segue_geometry geometry; /* as above */
    char device[32];                /* name */
    uint32_t device_caps;
    uint32_t rows; /* bit per transport row with handles for all regions */
    uint32_t n_regions;
    uint64_t region_len[SEGUE_CACHE_REGIONS_MAX];
    bool gone;                    /* the peer has closed it */
    struct segue_handle *handles; /* [row * n_regions + region] */
    char why[SEGUE_ROWS_MAX]
            [120]; /* by row: why it has no handles, in the peer's words */
};

/* A remote cache's memory, imported for one (transport connection, consumer device). */
struct segue_import {
    struct segue_list list;
    struct segue_connection *connection;
    struct segue_device *device;
    uint32_t n;
    struct segue_remote *remote[SEGUE_CACHE_REGIONS_MAX];
};

/* One rank's cache, with another agent of the same engine. */
struct segue_member {
    char address[108];
    uint32_t rank;
    struct segue_geometry window; /* its layers and heads; nothing else is set */
};
#define SEGUE_MEMBERS_MAX 1024

struct segue_caches_wait {
    void (*done)(struct segue_caches_wait *wait,
                 enum segue_status status); /* once, unless cancelled */
    void *user;
    const struct segue_remote_cache *caches; /* result, borrowed: the link's life */
    size_t n;
    const struct segue_member
        *members; /* of an endpoint: where its ranks' caches are; borrowed alike */
    size_t n_members;
    char why[256];
    struct segue_list list; /* private */
};

/* What: the caches of the peer behind `link`, asked for on first use; what it opens later
 * is added to the same array. Deadline: opts.connect_ns. `done` may run inside the
 * call. */
void segue_caches_get(struct segue_link *link, struct segue_caches_wait *wait);
void segue_caches_wait_cancel(struct segue_caches_wait *wait);

/* What: the imported memory of `cache` over `connection` for copies by `device`; kept
 * until the link goes. */
enum segue_status segue_cache_import(const struct segue_remote_cache *cache,
                                     struct segue_connection *connection, size_t row,
                                     struct segue_device *device,
                                     struct segue_import **out);

/* What: drops the imported memory of the peer's cache; the next segue_cache_import makes it anew. No operation may use it. */
void segue_cache_imports_drop(struct segue_link *link, uint32_t cache);
/* What: has the peer behind this link been told of our caches? */
bool segue_cache_told(const struct segue_link *link);

/* What: of an engine whose ranks are processes: the endpoint's link, at a rank; NULL: none. */
struct segue_link *segue_endpoint_link(struct segue_agent *agent);
/* What: at the endpoint: sends one frame to every rank. */
void segue_members_send(struct segue_agent *agent, uint8_t service, uint8_t type,
                        const void *body, uint32_t len);
/* What: has this agent caches of its own? */
bool segue_caches_any(struct segue_agent *agent);

/* What: our cache by id, for a service that was named one by a peer; NULL: none. */
struct segue_cache *segue_cache_find(struct segue_agent *agent, uint32_t id);

/* What: attaches the cache service to the agent, once. Called by segue_cache_open and by
 * the hand-off. E_MEMORY. */
enum segue_status segue_cache_service(struct segue_agent *agent);

/* What: the layer above says that something over a closing cache has ended. */
void segue_cache_ended(struct segue_cache *cache);

/* Geometry on the wire (cache descriptions, claims), a block that says its own length.
 * Pure; what is read is sound by itself (segue_geometry_check) and borrows the tables in
 * `room`. */
struct segue_reader;
struct segue_writer;
void segue_geometry_write(struct segue_writer *w, const struct segue_geometry *g);
enum segue_status segue_geometry_read(struct segue_reader *r, struct segue_geometry *g,
                                      struct segue_geometry_room *room);

#endif
