/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache is one rank's share of an engine's paged KV cache: its memory, its layout, and which part of the model it
 * holds. Peers learn it once, at first contact; a hand-off then names tokens, never addresses.
 */
#ifndef SEGUE_CACHE_H
#define SEGUE_CACHE_H

#include <segue/agent.h>
#include <segue/device.h>
#include <segue/layout.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct segue_region segue_region;
typedef struct segue_cache segue_cache;

/* What: makes `len` bytes of `device`'s memory known to every transport that can use it. The memory stays the caller's
 * and must outlive the region. Owned: segue_region_deregister, after the caches over it are closed. Any thread.
 * Errors: E_MISMATCH when the driver says the memory is another device's, E_UNSUPPORTED when no transport can use it. */
SEGUE_API enum segue_status segue_region_register(segue_agent *agent,
                                                  segue_device *device, void *address,
                                                  uint64_t len, segue_region **out);
SEGUE_API void segue_region_deregister(segue_region *region);

/* Where one layer lies, when layers are not evenly spaced in one region. */
struct segue_layer_place {
    segue_region *region;
    uint64_t offset; /* bytes */
};

struct segue_cache_opts {
    size_t size; /* sizeof, set by SEGUE_CACHE_OPTS_INIT */
    const char *
        model; /* model id and revision: two engines hand over only when equal; at most 127 bytes */
    const char *
        convention; /* what the bytes mean beyond the layout, compared as text: rotary order, scales,
                                     packing; "rope:half" for keys in half-split rotary order; at most 127 bytes */
    struct segue_layout layout;
    uint32_t rank, ranks; /* this rank's number and how many the engine has */
    uint32_t layer_first, layers_total; /* zero total: layout.layers */
    uint32_t head_first, heads_total;   /* KV heads; zero total: layout.heads */
    segue_region
        *region; /* all layers, evenly spaced by the layout; or NULL and `places` */
    const struct segue_layer_place
        *places; /* layout.layers entries, read during the call */
    const struct segue_layer_place
        *v_places; /* the same for V, where it has tensors of its own; else NULL */
    const float *k_scales, *v_scales; /* layout.layers entries, or NULL: 1. What a stored
                                         element is multiplied by to be its value */
    uint32_t group;         /* number of the layer group; layers are counted within it */
    enum segue_state state; /* PAGES: E_UNSUPPORTED so far */
    uint32_t window; /* tokens, SEGUE_STATE_WINDOW only: older ones are not handed over */
    uint64_t
        generation; /* of the weights at the start; what segue_cache_generation answers */
};
#define SEGUE_CACHE_OPTS_INIT                                                            \
    {                                                                                    \
        .size = sizeof(struct segue_cache_opts), .layout = SEGUE_LAYOUT_INIT             \
    }

/* What: opens a cache. Owned: segue_cache_close, which ends its offers and claims and waits for copies in flight.
 * Errors: E_INVALID or E_RANGE naming the number and what it exceeds. Any thread. */
SEGUE_API enum segue_status segue_cache_open(segue_agent *agent,
                                             const struct segue_cache_opts *opts,
                                             segue_cache **out);
SEGUE_API void segue_cache_close(segue_cache *cache);

/* What: sleep, a weight update, a flush of the KV (rule R15): revokes every offer of the agent, cancels the claims into this
 * cache, waits until no copy of ours touches it and every peer has let go of its memory, and counts the weights'
 * generation up by one (`generation`, may be NULL). What the KV is made of has changed then: the generation belongs into
 * the `extra` of segue_prompt_hash. Blocks the caller; peers have connect_ns to answer, or lose their link. Any thread.
 * Errors: E_BUSY: it is being reset or closed already. */
SEGUE_API enum segue_status segue_cache_reset(segue_cache *cache, uint64_t *generation);
/* What: the generation now. Any thread. */
SEGUE_API uint64_t segue_cache_generation(segue_cache *cache);

#ifdef __cplusplus
}
#endif
#endif
