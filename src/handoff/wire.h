/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages of a hand-off as bytes (docs/wire.md section 3). Pure: reading checks every length and range a
 * message has by itself; what depends on state (does the offer live, is the id mine) is its receiver's business.
 */
#ifndef HANDOFF_WIRE_H
#define HANDOFF_WIRE_H

#include <segue/claim.h>
#include "base/bytes.h"
#include "kv/geometry.h"

/* Frame types of SEGUE_SERVICE_HANDOFF; C: sent by the consumer, P: by the producer. */
enum segue_handoff_frame {
    SEGUE_FRAME_CLAIM = 1,   /* C: bring these tokens of that offer */
    SEGUE_FRAME_ACCEPT = 2,  /* P: they are in these blocks, the lease runs that long */
    SEGUE_FRAME_COMMIT = 3,  /* C: the last byte is here: were they still yours? (R7) */
    SEGUE_FRAME_VERDICT = 4, /* P: the answer; or unasked: it is over */
    SEGUE_FRAME_CANCEL = 5,  /* C: I give up */
    SEGUE_FRAME_RENEW = 6,   /* C: still copying, keep the lease */
    SEGUE_FRAME_HOLD = 7,    /* C: the request waits here, keep the offer (R11) */
    SEGUE_FRAME_END = 8,     /* C: this engine's use of the offer is over (R8) */
    SEGUE_FRAME_INVALIDATE = 9, /* P: let go of this cache's memory (R15) */
    SEGUE_FRAME_INVALID = 10,   /* C: nobody here has it any more */
    SEGUE_FRAME_RELAY = 11,     /* endpoint to its ranks: a HOLD or END has come (R11) */
};

#define SEGUE_WIRE_RUNS_MAX 65536 /* block runs of one accept */

struct segue_msg_claim {
    uint64_t pair; /* the consumer's id of this claim on this cache */
    uint64_t tag;  /* streams: of the transfer, or of its first piece */
    struct segue_offer_id offer;
    struct segue_prompt_hash hash;
    uint32_t tokens;      /* of the prompt; the offer's must be equal (R3) */
    uint32_t first;       /* tokens [first, tokens) are wanted */
    uint32_t cache;       /* the producer's cache id */
    uint8_t digest;       /* enum segue_digest */
    uint8_t row, way;     /* the path the consumer chose */
    uint32_t wire_tokens; /* packed: tokens of a piece */
    uint8_t wire_order;   /* packed: enum segue_wire_order */
    uint32_t credits; /* packed: slots the producer may fill before one is given back */
    char model[128], convention[128];
    struct segue_geometry geometry; /* of the consumer's cache */
    uint64_t
        use; /* the consumer's group; with its incarnation the name of the use (R9) */
    uint32_t counts; /* uses it takes: one, or one a sibling */
    uint32_t from;   /* the consumer's cache id */
};

struct segue_run { /* blocks start, start + 1, ..., start + count - 1 */
    uint32_t start, count;
};

struct segue_msg_accept {
    uint64_t pair;
    uint64_t
        lease_ns; /* how long the producer keeps it from now on without a renewal; a duration (R5) */
    uint32_t n_runs;
    const uint8_t *runs; /* n_runs x {start u32, count u32}, read with segue_run_at */
};

struct segue_msg_commit {
    uint64_t pair;
    uint64_t bytes;  /* that arrived */
    uint64_t digest; /* 0: none was asked for */
};

struct segue_msg_verdict {
    uint64_t pair;
    uint8_t verdict; /* enum segue_verdict, judged */
    uint64_t digest;
    char why[256];
};

struct segue_msg_end {
    struct segue_offer_id offer;
    uint64_t group;
    uint8_t verdict; /* of the group; NONE: it never claimed (R10) */
    struct segue_prompt_hash
        hash;        /* must be the offer's: a crossed ticket ends nothing */
    uint32_t counts; /* as in its claims */
};

void segue_claim_write(struct segue_writer *w, const struct segue_msg_claim *m);
/* `room` holds the geometry's tables. */
enum segue_status segue_claim_read(struct segue_reader *r, struct segue_msg_claim *m,
                                   struct segue_geometry_room *room);

/* Writes the accept of blocks[0..n): consecutive ids become one run. E_LIMIT beyond SEGUE_WIRE_RUNS_MAX runs. */
enum segue_status segue_accept_write(struct segue_writer *w, uint64_t pair,
                                     uint64_t lease_ns, const uint32_t *blocks,
                                     uint32_t n);
enum segue_status segue_accept_read(struct segue_reader *r, struct segue_msg_accept *m);
struct segue_run segue_run_at(const struct segue_msg_accept *m, uint32_t i);

void segue_commit_write(struct segue_writer *w, const struct segue_msg_commit *m);
enum segue_status segue_commit_read(struct segue_reader *r, struct segue_msg_commit *m);
void segue_verdict_write(struct segue_writer *w, const struct segue_msg_verdict *m);
enum segue_status segue_verdict_read(struct segue_reader *r, struct segue_msg_verdict *m);
void segue_end_write(struct segue_writer *w, const struct segue_msg_end *m);
enum segue_status segue_end_read(struct segue_reader *r, struct segue_msg_end *m);

/* CANCEL and RENEW: the pair; HOLD: the offer. */
enum segue_status segue_pair_read(struct segue_reader *r, uint64_t *pair);
void segue_offer_id_write(struct segue_writer *w, const struct segue_offer_id *id);
void segue_offer_id_read(struct segue_reader *r, struct segue_offer_id *id);

#endif
