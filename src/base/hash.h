/* SPDX-License-Identifier: Apache-2.0 */
/* The 64-bit hash of Segue: XXH3. It finds accidents, not forgeries: what an enemy may
 * have touched needs a MAC. The same bytes and seed give the same value on every machine,
 * so it may go on the wire. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
/* Shows the streaming state's layout, fixed since 0.8.0: spares an allocation a hash. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

/* A hash in the making; lives where the caller puts it. */
struct segue_hash64 {
    XXH3_state_t state; /* private */
};

/* What: the hash of n bytes. Any thread. */
uint64_t segue_hash64(const void *data, size_t n, uint64_t seed);

/* What: the same value for bytes that come in pieces: begin, add each piece, end (which
 * may be called at any time and changes nothing). Thread: one at a time per state. */
void segue_hash64_begin(struct segue_hash64 *hash, uint64_t seed);
void segue_hash64_add(struct segue_hash64 *hash, const void *data, size_t n);
uint64_t segue_hash64_end(const struct segue_hash64 *hash);

#endif
