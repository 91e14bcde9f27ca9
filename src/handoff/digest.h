/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests: proof by bytes that what arrived is what was offered.
 *
 * A digest is the sum modulo 2^64 over (layer, token, head) of XXH3-64 of the K bytes, seeded with those three numbers,
 * plus XXH3-64 of the V bytes with the complement of that seed. Layer and head are the model's, token is the prompt's, so
 * it does not depend on block size, layout or split, and the sum over shares is the digest of the whole.
 */
#ifndef HANDOFF_DIGEST_H
#define HANDOFF_DIGEST_H

#include "base/move.h"
#include "base/pool.h"
#include "kv/geometry.h"

/* Which bytes: `geometry` over memory[] the CPU can read, blocks in token order. */
struct segue_digest_range {
    const struct segue_geometry *geometry;
    const struct segue_extent *memory; /* by region; bases are views */
    const uint32_t *blocks;
    uint32_t token_first, token_end; /* of the prompt */
    uint32_t layer_first, layers;    /* of the model, inside the geometry */
    uint32_t head_first, heads;
    bool sample; /* the first and the last layer only */
};

/* Pure. Everything in range was checked before. `bytes` (may be NULL) gets how many were read. */
uint64_t segue_digest(const struct segue_digest_range *range, uint64_t *bytes);

/* The same on the pool. Lives in its caller's object. */
struct segue_digest_job {
    struct segue_digest_range range;
    void (*done)(struct segue_digest_job *job); /* once, on a pool thread */
    void *user;
    uint64_t value, bytes;
    struct segue_task task;   /* private */
    struct segue_task report; /* the caller's, to come back to its loop */
};
void segue_digest_start(struct segue_digest_job *job, struct segue_pool *pool);

#endif
