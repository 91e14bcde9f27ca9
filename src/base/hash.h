/* SPDX-License-Identifier: Apache-2.0 */
/* The 64-bit hash of Segue: XXH3. It finds accidents, not forgeries: what an enemy may
 * have touched needs a MAC. The same bytes and seed give the same value on every machine,
 * so it may go on the wire. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A hash in the making; lives where the caller puts it, aligned as its type says. */
struct segue_hash64 {
    _Alignas(64) unsigned char state[576]; /* private */
};

/* What: the hash of n bytes. Any thread. */
uint64_t segue_hash64(const void *data, size_t n, uint64_t seed);

/* What: the same value for bytes that come in pieces: begin, add each piece, end (which
 * may be called at any time and changes nothing). Thread: one at a time per state. */
void segue_hash64_begin(struct segue_hash64 *hash, uint64_t seed);
void segue_hash64_add(struct segue_hash64 *hash, const void *data, size_t n);
uint64_t segue_hash64_end(const struct segue_hash64 *hash);

#endif
