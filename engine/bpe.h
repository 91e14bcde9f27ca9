/* SPDX-License-Identifier: Apache-2.0 */
/* The merge table of a byte-pair encoding and the merging itself, on token ids. Pure. */
#ifndef ENGINE_BPE_H
#define ENGINE_BPE_H

#include <stddef.h>
#include <stdint.h>

struct bpe;

/* What: a table with room for `merges` pairs. NULL: out of memory. Owned by the caller.
 */
struct bpe *bpe_create(size_t merges);
void bpe_destroy(struct bpe *bpe);

/* What: the next merge, in order of rank: the first one added is done first. A pair that
 * is there already keeps its rank. Never more than bpe_create was told. */
void bpe_add(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t result);

/* What: merges ids[0..count) in place until no pair is in the table; returns how many are
 * left. Time: count x log(count), whatever the ids are. `scratch` has room for
 * BPE_SCRATCH(count) words. Any thread. */
#define BPE_SCRATCH(count) (6 * (size_t)(count))
size_t bpe_merge(const struct bpe *bpe, uint32_t *ids, size_t count, uint32_t *scratch);

#endif
