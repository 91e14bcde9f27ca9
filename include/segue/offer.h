/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers, the producer's half: "these blocks of this prompt may be read until ...". The engine mints an id, each rank
 * creates the offer over its cache's blocks, the ticket travels through the router to whoever decodes.
 *
 * The blocks belong to the offer from segue_offer_create until OFFER_ENDED: do not write, free or re-use them between.
 */
#ifndef SEGUE_OFFER_H
#define SEGUE_OFFER_H

#include <segue/cache.h>
#include <segue/sync.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the tokens were (rule R3): the first 16 bytes of SHA-256 over the token ids and whatever else changes the KV. */
struct segue_prompt_hash {
    uint8_t bytes[16];
};

/* What: hashes `n` token ids (little-endian 32 bit) and `extra` (model, LoRA, salt; may be NULL). Pure; any thread. */
SEGUE_API void segue_prompt_hash(const int32_t *tokens, size_t n, const char *extra,
                                 struct segue_prompt_hash *out);

/* Which offer (rule R2): the producer's start and a number minted in order. */
struct segue_offer_id {
    uint8_t incarnation[16];
    uint64_t sequence;
};

struct segue_offer_opts {
    size_t size;     /* sizeof, set by SEGUE_OFFER_OPTS_INIT */
    uint32_t tokens; /* how many tokens of KV the blocks hold */
    struct segue_prompt_hash hash;
    uint32_t uses;     /* how many consumer engines may claim it; zero: 1 */
    uint64_t lease_ns; /* zero: the agent's */
    void *user;        /* comes back in OFFER_ENDED */
};
#define SEGUE_OFFER_OPTS_INIT                                                            \
    {                                                                                    \
        .size = sizeof(struct segue_offer_opts)                                          \
    }

/* What: mints the id of a new offer of all this engine's caches. Every cache of the agent must then create it. Any thread. */
SEGUE_API enum segue_status segue_offer_mint(segue_agent *agent,
                                             const struct segue_offer_opts *opts,
                                             struct segue_offer_id *out);

/* What: makes this agent the endpoint of an engine with `ranks` ranks in processes of their own (rule R17). It has no caches;
 * it mints offers, holds, and ends groups, and tells consumers which rank is where once all have joined. Before the first
 * rank joins. Any thread. E_INVALID: it is a rank, or has caches. */
SEGUE_API enum segue_status segue_endpoint_open(segue_agent *agent, uint32_t ranks);

/* What: joins the endpoint named in the agent's options, with the caches it has opened; later ones are told alone. Blocks until
 * the endpoint has answered, at most connect_ns. Not from a log sink. E_INVALID: the options name none; E_LOST, E_STALE,
 * E_TIMEOUT: it is not there, or of another start. */
SEGUE_API enum segue_status segue_endpoint_join(segue_agent *agent);

/* What: makes an offer that the engine's endpoint has minted known to a rank in a process of its own, with the same options;
 * segue_offer_create follows. Offers are adopted in the order they were minted: a claim on one that is still to come waits,
 * a claim on one that was passed over is stale (rule R2). OFFER_ENDED comes here too. Any thread.
 * Errors: E_INVALID when this agent has no endpoint, E_STALE when a later one was adopted before. */
SEGUE_API enum segue_status segue_offer_adopt(segue_agent *agent,
                                              const struct segue_offer_id *id,
                                              const struct segue_offer_opts *opts);

/* What: one rank's blocks of the offer, in token order (copied). The lease starts when every cache has created it; it
 * becomes claimable when `ready` (may be NULL) has retired. Offers are created in the order they were minted.
 * Errors: E_RANGE naming the block id or the count; E_STALE when the offer has ended. Any thread. */
SEGUE_API enum segue_status segue_offer_create(segue_cache *cache,
                                               const struct segue_offer_id *id,
                                               const uint32_t *blocks, uint32_t n_blocks,
                                               const struct segue_sync *ready);

/* What: takes the offer back. Claims on it end stale; OFFER_ENDED follows when nobody reads the blocks any more.
 * E_STALE when it has ended already. Any thread. */
SEGUE_API enum segue_status segue_offer_revoke(segue_agent *agent,
                                               const struct segue_offer_id *id);

#ifdef __cplusplus
}
#endif
#endif
