/* SPDX-License-Identifier: Apache-2.0 */
/* What stage.c (service, messages), ring.c (slots), feed.c and intake.c share. */
#ifndef AGENT_STAGE_INSIDE_H
#define AGENT_STAGE_INSIDE_H

#include "agent/stage.h"
#include "base/map.h"

/* Slots of one memfd, mapped once, shared with every peer that takes pieces from it. */
struct segue_ring {
    struct segue_agent *agent;
    char *base; /* NULL: not made yet */
    uint32_t slots;
    uint32_t *free; /* stack of slot numbers */
    uint32_t n_free;
    struct segue_region *region; /* for streams and export */
    struct segue_list waiting;   /* halves that need slots */
    struct segue_list waits;     /* segue_stage_wait */
    bool opening;                /* the pool allocates it */
    struct segue_task make, made;
    void *memory;
    enum segue_status status;
    char why[256];
};

void segue_ring_init(struct segue_ring *ring, struct segue_agent *agent);
/* What: lets the pool make the ring, if it is not made or being made. Whoever waits for slots goes on, or fails, when it is
 * done. */
enum segue_status segue_ring_open(struct segue_ring *ring);
void segue_ring_close(struct segue_ring *ring);
/* What: takes a slot, and a scratch one when `scratch` is not NULL: both or none. Otherwise the half waits and
 * segue_stage_pump runs when there may be some. */
bool segue_ring_take(struct segue_ring *ring, struct segue_stage_half *half, int *slot,
                     int *scratch);
void segue_ring_give(struct segue_ring *ring, int slot);
char *segue_ring_slot(const struct segue_ring *ring, uint32_t slot);

enum segue_lane_state {
    SEGUE_LANE_FREE,
    SEGUE_LANE_COPYING, /* gather or scatter */
    SEGUE_LANE_STREAM,  /* being sent or received */
    SEGUE_LANE_FULL,    /* feed: lent to the consumer; intake: waits for its scatter */
};

struct segue_lane_slot {
    enum segue_lane_state state;
    uint32_t piece;
    int slot; /* of our ring; intake over shm: of the peer's */
    struct segue_stage_half *half;
    struct segue_op op;
    struct segue_task report;
    enum segue_status status;
    struct segue_move move; /* the piece's, at this slot */
    struct segue_span span;
    struct segue_registration *reg;
};

struct segue_stage {
    struct segue_service service;
    struct segue_agent *agent;
    struct segue_ring out, in; /* feeds' slots, intakes' slots */
    size_t live;               /* halves running */
};

struct segue_stage *
segue_stage_of(struct segue_agent *agent); /* after segue_stage_service */

/* A peer's ring, mapped read only: until the link is gone and the last intake has read from it. */
struct segue_peer_ring {
    struct segue_device *host;
    char *base;
    uint64_t len;   /* bytes */
    uint32_t users; /* the link, and intakes */
};
void segue_peer_ring_release(struct segue_peer_ring *ring); /* NULL is legal */

struct segue_stage_peer {            /* link->state[SEGUE_SERVICE_STAGE] */
    struct segue_map feeds, intakes; /* pair -> half */
    bool told;                       /* our ring has been sent */
    struct segue_peer_ring *ring;    /* theirs */
};

enum segue_stage_frame {
    SEGUE_FRAME_RING = 1, /* P: the ring my slots lie in */
    SEGUE_FRAME_FULL = 2, /* P: piece p of pair x lies in slot s */
    SEGUE_FRAME_FREE = 3, /* C: slot s may be filled again */
};

/* Shared by both halves. */
void segue_stage_pump(struct segue_stage_half *half); /* goes on as far as it can */
enum segue_status
segue_stage_copy(struct segue_stage_half *half); /* starts half->now.hop[half->hop] */
void segue_stage_copied(
    struct segue_stage_half *half); /* the last hop is done: feed or intake goes on */
void segue_stage_fail(struct segue_stage_half *half, enum segue_status status,
                      const char *why);
void segue_stage_settle(
    struct segue_stage_half
        *half); /* done, when all is through or it stops and nothing is in flight */
enum segue_status segue_lane_stream(struct segue_stage_half *half,
                                    struct segue_lane_slot *lane, enum segue_op_kind kind,
                                    struct segue_ring *ring);
void segue_lane_drop(struct segue_stage_half *half,
                     struct segue_lane_slot *lane); /* gives its slot back */
void segue_stage_send(struct segue_stage_half *half, enum segue_stage_frame type,
                      uint32_t piece, uint32_t slot);
struct segue_lane_slot *segue_lane_find(struct segue_stage_half *half,
                                        enum segue_lane_state state);

void segue_feed_pump(struct segue_stage_half *half);
void segue_feed_copied(struct segue_stage_half *half);
void segue_feed_sent(struct segue_stage_half *half, struct segue_lane_slot *lane);
enum segue_status segue_feed_free(struct segue_stage_half *half, uint32_t slot);

void segue_intake_pump(struct segue_stage_half *half);
void segue_intake_copied(struct segue_stage_half *half);
void segue_intake_received(struct segue_stage_half *half, struct segue_lane_slot *lane);
enum segue_status segue_intake_full(struct segue_stage_half *half, uint32_t piece,
                                    uint32_t slot);

#endif
