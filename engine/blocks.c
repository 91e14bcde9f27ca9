/* SPDX-License-Identifier: Apache-2.0 */
/* An array of blocks, a list of the free ones through it, and a hash table with chains
 * through it: no memory is allocated after creation. */
#include "blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NONE UINT32_MAX

struct block {
    uint32_t references;
    uint32_t older, newer; /* in the free list */
    uint32_t chain;        /* next in the same bucket */
    bool sealed;
    struct block_hash hash;
};

struct blocks {
    uint32_t total, free;
    uint32_t oldest, newest; /* the ends of the free list */
    uint32_t mask;           /* buckets - 1 */
    uint32_t *buckets;
    uint64_t secret;
    struct block *block;
};

static void list_append(struct blocks *b, uint32_t id)
{
    b->block[id].older = b->newest;
    b->block[id].newer = NONE;
    if (b->newest != NONE)
        b->block[b->newest].newer = id;
    else
        b->oldest = id;
    b->newest = id;
    b->free++;
}

static void list_remove(struct blocks *b, uint32_t id)
{
    const struct block *block = &b->block[id];
    if (block->older != NONE)
        b->block[block->older].newer = block->newer;
    else
        b->oldest = block->newer;
    if (block->newer != NONE)
        b->block[block->newer].older = block->older;
    else
        b->newest = block->older;
    b->free--;
}

struct blocks *blocks_create(uint32_t count, uint64_t secret)
{
    struct blocks *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    uint32_t buckets = 16;
    while (buckets < count && buckets < 1u << 30)
        buckets *= 2;
    b->total = count;
    b->secret = secret;
    b->mask = buckets - 1;
    b->oldest = b->newest = NONE;
    b->block = calloc(count, sizeof *b->block);
    b->buckets = malloc(buckets * sizeof *b->buckets);
    if (b->block == NULL || b->buckets == NULL) {
        blocks_destroy(b);
        return NULL;
    }
    memset(b->buckets, 0xff, buckets * sizeof *b->buckets);
    for (uint32_t id = 0; id < count; id++)
        list_append(b, id);
    return b;
}

void blocks_destroy(struct blocks *b)
{
    if (b == NULL)
        return;
    free(b->block);
    free(b->buckets);
    free(b);
}

uint32_t blocks_total(const struct blocks *b)
{
    return b->total;
}

uint32_t blocks_free(const struct blocks *b)
{
    return b->free;
}

static void unseal(struct blocks *b, uint32_t id)
{
    struct block *block = &b->block[id];
    if (!block->sealed)
        return;
    uint32_t *link = &b->buckets[block->hash.low & b->mask];
    while (*link != id)
        link = &b->block[*link].chain;
    *link = block->chain;
    block->sealed = false;
}

bool blocks_take(struct blocks *b, uint32_t count, uint32_t *ids)
{
    if (count > b->free)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = b->oldest;
        list_remove(b, ids[i]);
        unseal(b, ids[i]);
        b->block[ids[i]].references = 1;
    }
    return true;
}

void blocks_hold(struct blocks *b, uint32_t id)
{
    assert(b->block[id].references > 0);
    b->block[id].references++;
}

void blocks_drop(struct blocks *b, uint32_t id)
{
    assert(b->block[id].references > 0);
    if (--b->block[id].references == 0)
        list_append(b, id);
}

struct block_hash blocks_root(const struct blocks *b, const char *salt)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(salt, salt == NULL ? 0 : strlen(salt),
                                            b->secret);
    return (struct block_hash){h.low64, h.high64};
}

struct block_hash blocks_chain(const struct blocks *b, struct block_hash parent,
                               const uint32_t *tokens, uint32_t count)
{
    XXH128_hash_t own = XXH3_128bits_withSeed(tokens, count * sizeof *tokens, b->secret);
    uint64_t both[4] = {parent.low, parent.high, own.low64, own.high64};
    XXH128_hash_t h = XXH3_128bits_withSeed(both, sizeof both, b->secret);
    return (struct block_hash){h.low64, h.high64};
}

static uint32_t lookup(const struct blocks *b, struct block_hash hash)
{
    uint32_t id = b->buckets[hash.low & b->mask];
    while (id != NONE &&
           (b->block[id].hash.low != hash.low || b->block[id].hash.high != hash.high))
        id = b->block[id].chain;
    return id;
}

bool blocks_find(struct blocks *b, struct block_hash hash, uint32_t *id)
{
    uint32_t found = lookup(b, hash);
    if (found == NONE)
        return false;
    if (b->block[found].references++ == 0)
        list_remove(b, found);
    *id = found;
    return true;
}

void blocks_seal(struct blocks *b, uint32_t id, struct block_hash hash)
{
    struct block *block = &b->block[id];
    assert(block->references > 0);
    if (block->sealed || lookup(b, hash) != NONE)
        return;
    block->sealed = true;
    block->hash = hash;
    block->chain = b->buckets[hash.low & b->mask];
    b->buckets[hash.low & b->mask] = id;
}
