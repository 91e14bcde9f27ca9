/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-off from inside: its objects and who owns whom. Everything here belongs to the agent's thread.
 *
 *   producer   offer --- part (a cache's blocks)          serve: one consumer pair reading one part
 *   consumer   group --- claim (a rank) --- pair          pair: one claim's share from one producer cache
 *   both       route: what is known between one of our caches and one of a link's: plan, path, imports
 *
 * One pair and one serve talk to each other; the pair's id names both. Objects are kept in free lists with their arrays,
 * so that a hand-off allocates nothing once one of its size has been done.
 */
#ifndef HANDOFF_HANDOFF_H
#define HANDOFF_HANDOFF_H

#include <segue/claim.h>
#include "agent/agent.h"
#include "agent/fault.h"
#include "agent/link.h"
#include "agent/mover.h"
#include "agent/select.h"
#include "base/map.h"
#include "base/timer.h"
#include "handoff/digest.h"
#include "handoff/pack.h"
#include "handoff/states.h"
#include "handoff/wire.h"
#include "kv/cache.h"
#include "kv/plan.h"

/* An array that is kept between uses. */
struct segue_ids {
    uint32_t *id;
    uint32_t n, cap;
};

struct segue_handoff {
    struct segue_service service;
    struct segue_agent *agent;
    uint64_t minted;                        /* sequence of the last offer (R2) */
    struct segue_map offers;                /* sequence -> segue_offer, while claimable */
    struct segue_map groups, claims, pairs; /* id -> object */
    struct segue_list free_claims, free_pairs, free_serves, free_uses;
    struct segue_list resets;  /* segue_reset, going on */
    struct segue_list early;   /* segue_early: about offers still to be adopted (R2) */
    size_t live;               /* offers, groups and serves not yet freed: idle when 0 */
    uint8_t *frame;            /* room to build one frame */
    struct segue_ids identity; /* 0, 1, 2, ... */
    struct segue_geometry_room *room; /* to read one geometry */
};

enum segue_status segue_ids_set(struct segue_ids *ids, const uint32_t *from, uint32_t n);
enum segue_status segue_ids_room(struct segue_ids *ids, uint32_t n);

struct segue_bound { /* spans of one transfer */
    struct segue_span *span;
    size_t n, cap;
};
enum segue_status segue_bound_room(struct segue_bound *bound, size_t n);
struct segue_transfer segue_bound_transfer(const struct segue_plan *plan,
                                           const struct segue_bound *bound);

/* What: spans of `tokens` tokens from where src begins to where dst begins, for that plan. No blocks: ids 0, 1, 2, ... (a side whose
 * ids do not matter here). */
enum segue_status segue_bound_bind(struct segue_handoff *h, struct segue_bound *bound,
                                   const struct segue_plan *plan, struct segue_tokens src,
                                   struct segue_tokens dst, uint32_t tokens);

#define SEGUE_PEER_ROUTES_MAX 256 /* shapes of consumer caches kept for one peer */

/* What: the cache's regions as its device addresses them. */
void segue_cache_extents(const struct segue_cache *cache, struct segue_extent *extents);
/* What: as a digest reads them: CPU pointers, and *device is NULL; or, where the CPU cannot address them, as above, and
 * *device is what copies them. */
enum segue_status segue_cache_readable(const struct segue_cache *cache,
                                       struct segue_extent *memory,
                                       struct segue_device **device);

/* ---- routes (route.c) ---- */

enum segue_route_state {
    SEGUE_ROUTE_NEW,
    SEGUE_ROUTE_CONNECTING,
    SEGUE_ROUTE_READY,
    SEGUE_ROUTE_FAILED
};

/* Everything between one of our caches and one geometry of a peer's, learned at first need and kept while the link lives. */
struct segue_route {
    struct segue_list list; /* segue_peer.routes */
    struct segue_link *link;
    struct segue_cache *cache; /* ours */
    const struct segue_remote_cache
        *remote;            /* consumer: theirs, as described; NULL at the producer */
    struct segue_cost cost; /* consumer, packed: in which order pieces travel */
    struct segue_geometry geometry;       /* theirs; a copy */
    struct segue_plan plan;               /* producer -> consumer */
    struct segue_select_output selection; /* consumer */
    struct segue_path path;
    enum segue_route_state state;
    char why[256];               /* FAILED: the sentence */
    struct segue_link_wait wait; /* CONNECTING: for a connection, then ... */
    struct segue_stage_wait
        staging; /* ... packed over a stream: for slots to receive in */
    struct segue_connection *connection;
    struct segue_import *import; /* mapped and one-sided ways */
    struct segue_list pairs;     /* waiting for READY */
    struct segue_pack *pack;     /* packed way: our side, compiled */
    uint32_t users;              /* pairs and serves */
    bool dead;                   /* the link is gone: freed with the last user */
};

struct segue_peer { /* link->state[SEGUE_SERVICE_HANDOFF] */
    struct segue_list routes;
    struct segue_map serves;            /* pair id -> segue_serve */
    uint32_t invalid[SEGUE_CACHES_MAX]; /* caches of theirs to be let go of */
    uint32_t n_invalid;
};
struct segue_peer *segue_peer_of(struct segue_link *link);

/* What: the route between `cache` and the peer's `remote`, compiled and selected on first use. E_MISMATCH naming both values. */
enum segue_status segue_route_get(struct segue_link *link, struct segue_cache *cache,
                                  const struct segue_remote_cache *remote,
                                  struct segue_route **out);
/* What: the producer's side of a route for a consumer cache of this geometry. */
enum segue_status segue_route_serve(struct segue_link *link, struct segue_cache *cache,
                                    const struct segue_geometry *geometry,
                                    struct segue_route **out);
/* What: makes the route's path usable; afterwards segue_pair_routed runs for every pair in route->pairs, perhaps inside the call. */
void segue_route_open(struct segue_route *route);
/* What: our side of the packed way, compiled once. */
enum segue_status segue_route_pack(struct segue_route *route, uint32_t wire_tokens,
                                   enum segue_wire_order order);
void segue_route_release(struct segue_route *route); /* one user less */
/* What: the peer resets a cache: its memory is let go of, and the peer told so, once no pair uses it (R15). */
enum segue_status segue_route_invalidate(struct segue_link *link, struct segue_reader *r);
void segue_route_gone(struct segue_route *route); /* its link is gone */
/* What: the part of the model both caches hold. false: nothing. */
struct segue_overlap {
    uint32_t layer_first, layers, head_first, heads; /* numbers of the model */
};
bool segue_overlap_of(const struct segue_geometry *a, const struct segue_geometry *b,
                      struct segue_overlap *out);

/* ---- producer (offer.c, serve.c) ---- */

struct segue_part {         /* one cache's blocks of an offer */
    struct segue_list list; /* offer->parts */
    struct segue_offer *offer;
    struct segue_cache *cache;
    uint32_t n_blocks;
    uint32_t *blocks;
    uint32_t *named;     /* what consumers are told: the same, but for a planned swap */
    bool ready, waiting; /* waiting: `wait` may still report */
    struct segue_wait wait;
    struct segue_task retired;
    enum segue_status retired_status;
};

struct segue_offer {
    struct segue_handoff *handoff;
    uint64_t sequence;
    uint8_t state, lease; /* enum segue_offer_state, enum segue_lease_state */
    uint32_t tokens;
    uint32_t uses,
        left; /* how often it may be claimed in all; of those, not taken (R9) */
    struct segue_prompt_hash hash;
    uint64_t lease_ns, lease_end; /* ends: segue_boot_ns clock */
    uint64_t hold_end;            /* no hold extends beyond this (R11) */
    uint64_t renew_end;           /* and no claim beyond this; 0: none has come yet */
    void *user;
    struct segue_timer timer;
    struct segue_list parts, serves;
    struct segue_list taken; /* segue_use */
    struct segue_list over;  /* segue_use: the last ones that have ended */
    uint32_t n_over;
    uint32_t open; /* serves not over: while any is, the lease is claimed */
    bool telling;  /* claims are being told: not yet to be freed */
    enum segue_verdict why;
};

/* One consumer cache's claim on one of ours, remembered as long as its use (R9). */
struct segue_use_claim {
    const struct segue_link *link;
    uint32_t from, cache; /* the consumer's, the producer's */
};

/* One consumer engine's use of an offer. */
struct segue_use {
    struct segue_list list; /* offer->taken, or the free list */
    struct segue_offer *offer;
    uint8_t engine[16]; /* incarnation; with `id`, the name of the use */
    uint64_t id;
    uint8_t state;   /* enum segue_use_state */
    uint32_t counts; /* how many uses it takes: one, or one a sibling */
    struct segue_use_claim *claims;
    uint32_t n_claims, cap;
};

struct segue_serve {
    struct segue_list list; /* offer->serves, or the free list */
    struct segue_handoff *handoff;
    struct segue_link *link; /* NULL: over, or gone */
    struct segue_offer *offer;
    struct segue_cache *cache;
    struct segue_part *part; /* NULL: not created yet */
    struct segue_route *route;
    uint8_t state; /* enum segue_serve_state */
    uint64_t pair;
    uint32_t first; /* tokens [first, offer->tokens) */
    struct segue_path path;
    enum segue_digest digest_mode;
    struct segue_timer park;
    struct segue_link_wait wait;  /* for the data stream */
    struct segue_mover mover;     /* stream: SEND */
    struct segue_stage_half feed; /* packed */
    struct segue_pack_run run;
    struct segue_extent memory[SEGUE_CACHE_REGIONS_MAX];
    uint64_t tag;
    uint32_t wire_tokens, credits;
    uint8_t wire_order; /* enum segue_wire_order */
    struct segue_bound spans;
    struct segue_digest_job digest;
    struct segue_registration *local[SEGUE_CACHE_REGIONS_MAX];
    struct segue_extent readable[SEGUE_CACHE_REGIONS_MAX];
    bool digesting, waiting;
    struct segue_msg_commit commit;
};

struct segue_offer *segue_offer_find(struct segue_handoff *h,
                                     const struct segue_offer_id *id);
void segue_offer_end(struct segue_offer *offer, enum segue_verdict verdict,
                     const char *why);
/* What: prolongs the lease for a HOLD, CLAIM or RENEW, within its caps. */
void segue_offer_renew(struct segue_offer *offer, enum segue_lease_event why);
/* What: the lease ends in `ns` at the latest, unless somebody holds or claims again. */
void segue_offer_hurry(struct segue_offer *offer, uint64_t ns);
void segue_offer_left(struct segue_offer *offer); /* one open serve less */
void segue_offer_settle(
    struct segue_offer
        *offer); /* a serve or wait of it has gone: perhaps it can be freed */
struct segue_part *segue_offer_part(struct segue_offer *offer,
                                    const struct segue_cache *cache);

/* What: takes a use for this claim, or joins the one its group has (R9). E_REFUSED: none is left, or this cache has claimed
 * in it before. */
enum segue_status segue_use_claim(struct segue_offer *offer, struct segue_link *link,
                                  const struct segue_msg_claim *m);
/* What: END: the use is spent or given back; the offer ends with the last. */
void segue_use_end(struct segue_offer *offer, const uint8_t engine[16],
                   const struct segue_msg_end *m);
void segue_use_link_gone(struct segue_handoff *h, const struct segue_link *link);
void segue_uses_drop(struct segue_offer *offer); /* the offer goes */

/* ---- what comes before its offer, at a rank of an engine whose ranks are processes (early.c, R2) ---- */

/* What: keeps the frame until the offer is adopted or passed over, the parking time ends, or the link goes. `pair`: of a
 * claim, 0 of anything else. E_LIMIT: too many of this link's are kept. */
enum segue_status segue_early_park(struct segue_handoff *h, struct segue_link *link,
                                   const struct segue_frame *frame, uint64_t sequence,
                                   uint64_t pair);
void segue_early_adopted(struct segue_handoff *h, uint64_t sequence);
void segue_early_cancel(struct segue_handoff *h, const struct segue_link *link,
                        uint64_t pair);
void segue_early_gone(struct segue_handoff *h, const struct segue_link *link);
uint32_t segue_early_count(const struct segue_handoff *h, const struct segue_link *link);

/* What: a frame of this service, as from a link. */
enum segue_status segue_handoff_frame(struct segue_handoff *h, struct segue_link *link,
                                      struct segue_frame *frame);
void segue_serve_tell(struct segue_handoff *h, struct segue_link *link, uint64_t pair,
                      enum segue_verdict verdict, uint64_t digest, const char *why);
enum segue_status segue_serve_claim(struct segue_handoff *h, struct segue_link *link,
                                    const struct segue_frame *frame);
enum segue_status segue_serve_commit(struct segue_handoff *h, struct segue_link *link,
                                     struct segue_reader *r);
enum segue_status segue_serve_cancel(struct segue_handoff *h, struct segue_link *link,
                                     struct segue_reader *r);
enum segue_status segue_serve_renew(struct segue_handoff *h, struct segue_link *link,
                                    struct segue_reader *r);
/* What: the producer's side ends it: the consumer is told. */
void segue_serve_end(struct segue_serve *serve, enum segue_verdict verdict,
                     const char *why);
void segue_serve_settle(struct segue_serve *serve); /* freed when over and quiet */
/* What: what the path needs of this side beyond naming the blocks. It may fail at once and end the serve. */
enum segue_status segue_serve_move(struct segue_serve *serve);
void segue_serve_lost(struct segue_serve *serve); /* its link is gone */
/* Claims on `cache` that wait for blocks it will not have. */
void segue_serve_end_parked(struct segue_offer *offer, const struct segue_cache *cache);
void segue_serve_offered(struct segue_part *part); /* parked claims on it may go on */

/* ---- consumer (group.c, claim.c, pair.c) ---- */

struct segue_group {
    struct segue_handoff *handoff;
    uint64_t id;
    struct segue_ticket ticket;
    const char *other_address; /* to try when the first leads nowhere; NULL: none left */
    struct segue_group_opts opts;
    uint8_t state;           /* enum segue_group_state */
    struct segue_link *link; /* NULL before and after */
    struct segue_link_wait link_wait;
    struct segue_caches_wait caches_wait;
    const struct segue_remote_cache *caches;
    size_t n_caches;
    const struct segue_member
        *members; /* where caches of other agents of the engine are */
    size_t n_members;
    struct segue_list sources; /* segue_source: those that a claim has needed */
    struct segue_list claims;
    uint32_t posted, judged;
    uint32_t held; /* somebody walks its claims: not yet to be freed */
    bool holding;  /* renew with HOLD until the first claim */
    bool closed;   /* no more claims will come */
    enum segue_verdict verdict;
    char why[256];
    struct segue_timer renew;
};

struct segue_claim {
    struct segue_list list; /* group->claims, or the free list */
    struct segue_group *group;
    uint64_t id;
    struct segue_cache *cache;
    struct segue_ids blocks;
    uint32_t first;
    void *user;
    uint8_t state; /* enum segue_claim_state */
    bool writable;
    bool waiting;  /* for `writable`: `wait` will still report */
    uint32_t held; /* somebody walks its pairs: not yet to be freed */
    struct segue_wait wait;
    struct segue_task retired;
    enum segue_status retired_status;
    struct segue_timer deadline;
    struct segue_list pairs;
    uint32_t open; /* pairs not judged */
    struct segue_claim_report report;
    uint64_t posted_ns, accepted_ns, moved_ns; /* segue_now_ns clock; 0: not yet */
};

struct segue_pair {
    struct segue_list list;    /* claim->pairs, or the free list */
    struct segue_list routing; /* route->pairs while ROUTING */
    struct segue_claim *claim;
    uint64_t id;
    struct segue_route *route;
    uint8_t state; /* enum segue_pair_state */
    struct segue_ids src_blocks;
    struct segue_bound spans;
    struct segue_mover mover;
    struct segue_stage_half intake; /* packed */
    struct segue_pack_run run;
    struct segue_extent memory[SEGUE_CACHE_REGIONS_MAX];
    uint64_t tag;
    struct segue_digest_job digest;
    struct segue_registration *local[SEGUE_CACHE_REGIONS_MAX];
    struct segue_extent readable[SEGUE_CACHE_REGIONS_MAX]; /* for digests */
    bool digesting;
    uint64_t bytes;
};

/* One agent of the producer's engine, where its ranks are processes. */
struct segue_source {
    struct segue_list list; /* group->sources */
    struct segue_group *group;
    char address[108];
    struct segue_link *link; /* NULL before and after */
    struct segue_link_wait link_wait;
    struct segue_caches_wait caches_wait;
    bool dialling, asking, ready;
    const struct segue_remote_cache *caches;
    size_t n;
};
#define SEGUE_PAIRS_MAX 256 /* of one claim */

/* The caches of a producer that a consumer cache of this geometry needs, each piece of the model once. */
struct segue_cover {
    const struct segue_geometry *ours;
    struct segue_overlap have[SEGUE_PAIRS_MAX];
    size_t n;
    uint64_t area; /* layers x heads covered */
};
/* What: adds a cache when it overlaps and no replica of it is there. *needed: whether. E_MISMATCH: another model. */
enum segue_status segue_cover_add(struct segue_cover *cover,
                                  const struct segue_geometry *theirs, bool *needed);

/* What: sees to it that the ranks this claim overlaps are linked and described (R17): IN_PROGRESS until they are; the
 * group's claims begin again then. */
enum segue_status segue_sources_reach(struct segue_group *group,
                                      const struct segue_geometry *ours);
bool segue_sources_lost(struct segue_group *group, const struct segue_link *link);
void segue_sources_drop(struct segue_group *group);
void segue_group_fail(struct segue_group *group, enum segue_verdict verdict,
                      const char *why);

void segue_group_routed(
    struct segue_group *group); /* caches are known: pair up every claim */
void segue_group_judged(struct segue_group *group, struct segue_claim *claim,
                        enum segue_verdict verdict, const char *why);
void segue_group_settle(struct segue_group *group);
void segue_group_lost(struct segue_group *group, struct segue_link *link,
                      const char *why); /* if it was on that link */
void segue_group_stop(struct segue_group *group, enum segue_verdict verdict,
                      const char *why);            /* judges what is open */
void segue_claim_begin(struct segue_claim *claim); /* link up and writable: pair up */
void segue_claim_judge(struct segue_claim *claim, enum segue_verdict verdict,
                       const char *why);
void segue_claim_settle(
    struct segue_claim *claim); /* a pair has ended: perhaps RELEASED */
enum segue_status segue_pair_open(struct segue_claim *claim,
                                  const struct segue_remote_cache *remote);
void segue_pair_routed(struct segue_pair *pair);
void segue_pair_accept(struct segue_pair *pair, const struct segue_msg_accept *accept);
void segue_pair_verdict(struct segue_pair *pair, const struct segue_msg_verdict *verdict);
void segue_pair_renew(struct segue_pair *pair);
void segue_pair_stop(
    struct segue_pair
        *pair); /* gives it up: the producer is told, the copy is cancelled */
void segue_pair_free(struct segue_pair *pair);
/* What: the fault "flip": one bit of the first token's first layer and head. Waits for the device. */
enum segue_status segue_pair_flip(struct segue_pair *pair);
/* What: between the two files of a pair: who ends it, who says that the bytes are here; receives before the claim, where the
 * producer sends; fetches from src_blocks after the accept, where the consumer reads. */
void segue_pair_fail(struct segue_pair *pair, enum segue_status status, const char *why);
void segue_pair_commit(struct segue_pair *pair);
enum segue_status segue_pair_receive(struct segue_pair *pair);
enum segue_status segue_pair_fetch(struct segue_pair *pair);
enum segue_digest segue_pair_digest_mode(const struct segue_pair *pair);
uint32_t segue_pair_tokens(const struct segue_pair *pair);
bool segue_pair_streams(const struct segue_pair *pair);
bool segue_pair_quiet(
    const struct segue_pair *pair); /* nothing of it can touch the blocks */

/* ---- handoff.c ---- */
struct segue_handoff *
segue_handoff_of(struct segue_agent *agent); /* attached on first use */
struct segue_cache_use *segue_cache_use_of(struct segue_cache *cache);
struct segue_cache_use { /* cache->above */
    uint8_t *claimed;    /* a bit per block: an open claim writes it (R12) */
    uint32_t open;       /* parts, claims and serves over it */
    bool closing;
    struct segue_reset *reset; /* going on (R15): nothing new begins over the cache */
};
/* What: a peer has let go of a cache that is reset, or its link has gone. */
enum segue_status segue_reset_heard(struct segue_handoff *h, struct segue_link *link,
                                    struct segue_reader *r);
void segue_resets_link_gone(struct segue_handoff *h, const struct segue_link *link);
void segue_cache_use_done(struct segue_cache *cache);
enum segue_verdict segue_verdict_of(enum segue_status status);

#endif
