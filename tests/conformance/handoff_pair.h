/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines for hand-off tests: agents, caches of any geometry on any device, a pattern that tells every byte's (layer,
 * token, head, part), and events awaited with a deadline.
 */
#ifndef CONFORMANCE_HANDOFF_PAIR_H
#define CONFORMANCE_HANDOFF_PAIR_H

#include <segue/claim.h>

#include <stdbool.h>

#define RANKS_MAX 4

struct geometry {
    const char *order, *device;
    uint32_t block_tokens, ranks;
    enum segue_dtype dtype;
};

struct engine {
    segue_agent *agent;
    struct geometry geometry;
    segue_device *device;
    bool
        apart; /* set before engine_open: an agent a rank, and `agent` is their endpoint */
    segue_agent *rank_agent[RANKS_MAX]; /* where a rank's cache lives */
    segue_device *rank_device[RANKS_MAX];
    uint32_t layers, heads, head_size, blocks; /* heads: of the model */
    segue_cache *cache[RANKS_MAX];
    segue_region *region[RANKS_MAX];
    struct segue_layout layout;
    void *address[RANKS_MAX];
    bool mirrored;
    char *view[RANKS_MAX]; /* where the device has none: a copy, made when looked at */
};

/* A private ipc_dir, removed by engines_cleanup. */
const char *engines_setup(void);
void engines_cleanup(void);

/* Fails the test when something cannot be made. `opts` may be NULL; its ipc_dir, the private one. */
void engine_open(struct engine *e, const struct geometry *g,
                 const struct segue_agent_opts *opts, const char *model);
/* Closes its caches and opens others, of another geometry, while its links stay. */
void engine_change(struct engine *e, const struct geometry *g);
void engine_close(struct engine *e);

/* Writes or checks the pattern of `salt` over tokens [first, tokens) in `blocks`, on every rank. Returns how many bytes
 * differ (0 when written). */
uint64_t engine_fill(struct engine *e, const uint32_t *blocks, uint32_t first,
                     uint32_t tokens, uint32_t salt);
uint64_t engine_differs(struct engine *e, const uint32_t *blocks, uint32_t first,
                        uint32_t tokens, uint32_t salt);
/* How many bytes outside those tokens are not `background`. */
uint64_t engine_stray(struct engine *e, const uint32_t *blocks, uint32_t first,
                      uint32_t tokens, int background);
void engine_paint(struct engine *e, int background);

/* n distinct block ids, shuffled by `seed`. */
void engine_blocks(const struct engine *e, uint32_t seed, uint32_t *blocks, uint32_t n);
uint32_t engine_needs(const struct engine *e, uint32_t tokens);

/* The next event of this type; fails the test after `seconds`. Other events on the way are dropped only if `skip`. */
struct segue_event engine_event(struct engine *e, enum segue_event_type type,
                                double seconds);
bool engine_quiet(struct engine *e, double seconds); /* no event comes */

/* Offers the pattern of `salt`: mint, create on every rank, ticket. */
struct segue_ticket engine_offer(struct engine *p, const uint32_t *blocks,
                                 uint32_t tokens, uint32_t salt);
struct segue_prompt_hash prompt_of(uint32_t salt);
/* Proves a ticket that the test has made or changed, as if `p` had made it so. */
void engine_prove(struct engine *p, struct segue_ticket *ticket);
/* Claims with every rank; the group's id. */
uint64_t engine_claim(struct engine *d, const struct segue_ticket *ticket,
                      const uint32_t *blocks, uint32_t first, uint32_t salt,
                      enum segue_digest digest, uint64_t *claims);
/* Waits for the group's verdict and every VERDICT and RELEASED; the last VERDICT's event. */
struct segue_event engine_settled(struct engine *d, enum segue_verdict want,
                                  double seconds);

#endif
