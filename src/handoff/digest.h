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

/* Which bytes: `geometry` over memory[], blocks in token order. */
struct segue_digest_range {
    const struct segue_geometry *geometry;
    const struct segue_extent
        *memory; /* by region; bases are views, or addresses of the job's device */
    const uint32_t *blocks;
    uint32_t token_first, token_end; /* of the prompt */
    uint32_t layer_first, layers;    /* of the model, inside the geometry */
    uint32_t head_first, heads;
    bool sample; /* the first and the last layer only */
};

/* Pure. Everything in range was checked before; memory is what the CPU can read. `bytes` (may be NULL) gets how many
 * were read. */
uint64_t segue_digest(const struct segue_digest_range *range, uint64_t *bytes);

/* The same on the pool. Lives in its caller's object. Memory that the CPU cannot address (`device` is set) is hashed in a
 * bounce buffer, into which the device copies it a stretch of tokens at a time. */
struct segue_digest_job {
    struct segue_digest_range range;
    struct segue_device *device; /* NULL: the CPU reads memory[] itself */
    size_t n_memory;
    void (*done)(
        struct segue_digest_job *job); /* once, on a thread of the pool or the device */
    void *user;
    uint64_t value, bytes;
    enum segue_status status; /* of the device's copies */
    struct segue_digest_bounce
        *bounce;              /* kept from use to use; free() it with the object */
    struct segue_task task;   /* private */
    struct segue_task report; /* the caller's, to come back to its loop */
};

/* What: starts it; `done` never runs inside the call. E_MEMORY; only with a device can it fail. */
enum segue_status segue_digest_start(struct segue_digest_job *job,
                                     struct segue_pool *pool);

#endif
