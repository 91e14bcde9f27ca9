/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of the cache service, as docs/wire.md gives them. Pure; what comes from a
 * peer is bounds checked here, so that whoever holds a segue_remote_cache knows that its
 * layers lie inside its regions.
 */
#ifndef KV_CACHE_WIRE_H
#define KV_CACHE_WIRE_H

#include "base/bytes.h"
#include "kv/cache.h"

enum segue_cache_type {
    SEGUE_CACHE_ASK = 1,  /* empty: tell me your caches, and those to come */
    SEGUE_CACHE_TELL = 2, /* one cache, without its memory */
    SEGUE_CACHE_HANDLES =
        3,                  /* its memory as one transport exports it, with descriptors */
    SEGUE_CACHE_TOLD = 4,   /* empty: these were all there are now */
    SEGUE_CACHE_GONE = 5,   /* one cache, told before, is closed */
    SEGUE_CACHE_MEMBER = 6, /* endpoint: a cache of the engine is with this agent */
    SEGUE_CACHE_JOIN = 7,   /* rank to its endpoint: I am that rank, at this address */
    SEGUE_CACHE_HAVE = 8,   /* rank: I have a cache of these layers and heads */
    SEGUE_CACHE_LACK = 9,   /* rank: it is closed */
};

/* What: whether every layer lies inside its region. E_RANGE naming the layer. Pure. */
enum segue_status segue_cache_bounds_check(const struct segue_geometry *geometry,
                                           const uint64_t *region_len,
                                           uint32_t n_regions);

/* What: everything of `cache` but its handles. */
void segue_cache_tell_write(struct segue_writer *w,
                            const struct segue_remote_cache *cache);
/* What: the same back; handles stay NULL. Owned: segue_remote_cache_free. E_PROTOCOL,
 * E_RANGE or E_INVALID. */
enum segue_status segue_cache_tell_read(const uint8_t *body, uint32_t len,
                                        struct segue_remote_cache *cache);
/* What: which part of the model a cache holds. Reading: E_PROTOCOL when it exceeds the model. */
void segue_window_write(struct segue_writer *w, const struct segue_geometry *g);
enum segue_status segue_window_read(struct segue_reader *r, struct segue_geometry *g);

/* What: frees it and closes the descriptors of its handles. */
void segue_remote_cache_free(struct segue_remote_cache *cache);

/* What: the handles of one row, one a region; the descriptors travel with the frame, in
 * this order. */
void segue_cache_handles_write(struct segue_writer *w, uint32_t cache,
                               const char *transport, const struct segue_handle *handles,
                               uint32_t n_regions);

/* A HANDLES message before it is known which cache it speaks of. */
struct segue_cache_handles {
    uint32_t cache;
    char transport[16];
    uint32_t n_regions;
    struct segue_handle
        handle[SEGUE_CACHE_REGIONS_MAX]; /* fds are copies of the frame's */
};
/* What: reads it. The descriptors stay the frame's. E_PROTOCOL. */
enum segue_status segue_cache_handles_read(const struct segue_frame *frame,
                                           struct segue_cache_handles *out);

#endif
