/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds which block of the KV cache, and which blocks hold tokens that a later prompt
 * may begin with.
 *
 * A block is held (references > 0) or free. A full block can be sealed: it is then found
 * by the hash of everything up to its end, also while it is free, until it is taken for
 * something else; the one that has been free longest goes first. One thread.
 */
#ifndef ENGINE_BLOCKS_H
#define ENGINE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blocks;

/* Identifies all tokens from the prompt's first to a block's last, and the salt. */
struct block_hash {
    uint64_t low, high;
};

/* NULL: no memory. Hashes are keyed with `secret`, so that nobody can make two prompts
 * collide on purpose. */
struct blocks *blocks_create(uint32_t count, uint64_t secret);
void blocks_destroy(struct blocks *blocks);

uint32_t blocks_total(const struct blocks *blocks);
uint32_t blocks_free(const struct blocks *blocks);

/* Takes `count` blocks, one reference each, forgetting what they were sealed with; false,
 * with nothing taken, when fewer are free. */
bool blocks_take(struct blocks *blocks, uint32_t count, uint32_t *ids);

/* One reference more to a held block; one fewer: at 0 it is free. */
void blocks_hold(struct blocks *blocks, uint32_t id);
void blocks_drop(struct blocks *blocks, uint32_t id);

/* The hash before the first token. `salt` may be NULL. */
struct block_hash blocks_root(const struct blocks *blocks, const char *salt);

/* The hash after a block of these tokens. */
struct block_hash blocks_chain(const struct blocks *blocks, struct block_hash parent,
                               const uint32_t *tokens, uint32_t count);

/* Finds a sealed block and takes a reference to it; false when there is none. */
bool blocks_find(struct blocks *blocks, struct block_hash hash, uint32_t *id);

/* Makes a held, completely written block findable. When another block is sealed with this
 * hash already, nothing changes. */
void blocks_seal(struct blocks *blocks, uint32_t id, struct block_hash hash);

#endif
