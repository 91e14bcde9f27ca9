/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed way: memory that the other side cannot reach crosses in pieces through slots of pinned host memory.
 *
 *      producer                                consumer
 *      memory --gather--> slot  == shm ==>     (the same slot)   --scatter--> memory
 *                               -- tcp -->     slot of its own
 *
 * The producer's half is a feed, the consumer's an intake; both walk the same list of pieces, which the layer above
 * describes, in order. A feed may fill only as many slots ahead as it has credits; the intake gives one back with each
 * slot it has emptied. So memory is bounded by the rings, whatever the size of the cache. Feeds take slots from one ring
 * and intakes from another, and everything a copy needs is taken at once: a slot never waits for a slot (rule R20).
 *
 * A piece takes one hop each side, or two where a device's copy engine takes contiguous runs only: then a second slot is
 * its scratch, and the relayout is done by the host between the two.
 *
 * Thread: the agent's. Copies run on the pool.
 */
#ifndef AGENT_STAGE_H
#define AGENT_STAGE_H

#include "agent/link.h"

#define SEGUE_SLOT_BYTES     (1u << 20)
#define SEGUE_RING_SLOTS_MAX 65536u /* 64 GiB, the most ring-bytes takes */
#define SEGUE_STAGE_SHARE    4u     /* slots one hand-off may hold on each side */

enum segue_stage_place { SEGUE_PLACE_MEMORY, SEGUE_PLACE_SLOT, SEGUE_PLACE_SCRATCH };

struct segue_stage_hop {
    struct segue_device *device; /* who copies */
    struct segue_transfer transfer;
    enum segue_stage_place from, to;
};

struct segue_stage_piece {
    struct segue_stage_hop hop[2];
    uint32_t n_hops;
    struct segue_move
        wire; /* slot to slot, region 0 on both sides: what a stream carries of this piece ... */
    struct segue_span span; /* ... over this one span */
};

/* What a hand-off looks like in pieces; the caller's, kept until the half is done. */
struct segue_stage_pieces {
    uint32_t count;
    bool scratch; /* pieces take two hops */
    void (*piece)(const struct segue_stage_pieces *pieces, uint32_t i,
                  struct segue_stage_piece *out);
    const struct segue_extent
        *memory; /* regions of the memory side, as its device addresses them */
    uint32_t n_memory;
};

struct segue_stage;
struct segue_lane_slot;

/* One half, feed or intake. Lives in its caller's object; zeroed memory is one that is not running. */
struct segue_stage_half {
    /* the caller's */
    void (*done)(struct segue_stage_half *half,
                 enum segue_status status); /* once: every piece is through, or it failed
                                                                              or was cancelled, and nothing is in flight */
    uint64_t pair; /* names it on this link, feed and intake alike; never re-used */
    const struct segue_stage_pieces *pieces;
    struct segue_connection *connection; /* tcp; NULL: slots are shared memory */
    uint64_t tag;                        /* tcp: piece i travels as tag + i */
    uint64_t deadline_ns;                /* tcp */
    uint32_t credits; /* feed: slots it may fill at first, as its intake said */
    bool running;     /* read only */
    struct segue_lane_slot *lanes; /* kept from use to use; free() it with the object */
    /* private */
    struct segue_stage *stage;
    struct segue_link *link;      /* NULL: gone */
    struct segue_list waiting;    /* for slots of its ring */
    struct segue_stage_piece now; /* the piece being copied */
    struct segue_lane_slot *lane; /* its lane */
    struct segue_copy_job job;
    struct segue_task job_report, end;
    struct segue_peer_ring *ring; /* intake over shm: the mapping its slots lie in */
    struct segue_extent slot, scratch;
    int scratch_slot;
    enum segue_status job_status, status;
    char why[256], job_why[256]; /* job_why: written where the copy ends */
    uint32_t hop;
    uint32_t next;      /* feed: piece to gather; intake: piece to scatter */
    uint32_t coming;    /* intake: piece to arrive */
    uint32_t through;   /* pieces that are done with */
    uint32_t in_flight; /* stream operations */
    bool feeds, copying, stopping, ending;
};

/* What: starts a half on `link`. `done` never runs inside the call. E_MEMORY. */
enum segue_status segue_stage_feed(struct segue_link *link,
                                   struct segue_stage_half *half);
enum segue_status segue_stage_intake(struct segue_link *link,
                                     struct segue_stage_half *half);

/* What: stops it; `done` follows once nothing is in flight (E_CANCELLED). Harmless when it is not running. */
void segue_stage_cancel(struct segue_stage_half *half);

/* Somebody waiting for the slots of intakes. */
struct segue_stage_wait {
    void (*done)(
        struct segue_stage_wait *wait,
        enum segue_status status); /* once, perhaps inside the call; why is filled in */
    char why[256];
    struct segue_list list; /* private; empty when not waiting: initialise it */
};

/* What: makes slots for intakes, on the pool, if there are none yet. An intake over a stream is started only when there are:
 * its receives must stand before the feed is told of its credits. */
void segue_stage_prepare(struct segue_agent *agent, struct segue_stage_wait *wait);
void segue_stage_wait_cancel(struct segue_stage_wait *wait);

/* What: how many slots an intake gives its feed to begin with. */
uint32_t segue_stage_credits(uint32_t pieces);

/* What: the staging service of the agent, attached on first use. E_MEMORY. */
enum segue_status segue_stage_service(struct segue_agent *agent);

#endif
