/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing, at most three quarters full. A removal closes the
 * gap by shifting later entries of the same cluster down, so there are no tombstones and
 * a map that lives for months stays as fast as a fresh one. A slot without value is free.
 */
#include "base/map.h"
#include "base/random.h"

#include <pthread.h>
#include <stdlib.h>

#define CAP_MIN 16

struct segue_map_slot {
    uint64_t key;
    void *value;
};

static uint64_t seed;
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void draw_seed(void)
{
    seed = segue_random_u64();
}

/* A bijection in which every bit of the key moves every bit of the result: ids count up
 * by one or by powers of two, and linear probing lives on the low bits. */
static uint64_t mix(uint64_t x)
{
    x ^= seed;
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

/* The slot of the key, or the free one where it would go. */
static size_t locate(const struct segue_map *map, uint64_t key)
{
    size_t at = mix(key) & (map->cap - 1);
    while (map->slots[at].value && map->slots[at].key != key)
        at = (at + 1) & (map->cap - 1);
    return at;
}

static enum segue_status grow(struct segue_map *map)
{
    pthread_once(&seeded, draw_seed);
    struct segue_map bigger = {.cap = map->cap ? map->cap * 2 : CAP_MIN,
                               .count = map->count};
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a map of %zu entries",
                          bigger.cap);
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].value)
            bigger.slots[locate(&bigger, map->slots[i].key)] = map->slots[i];
    free(map->slots);
    *map = bigger;
    return SEGUE_OK;
}

enum segue_status segue_map_put(struct segue_map *map, uint64_t key, void *value)
{
    if (map->count) {
        size_t at = locate(map, key);
        if (map->slots[at].value) {
            map->slots[at].value = value;
            return SEGUE_OK;
        }
    }
    if (map->count >= map->cap - map->cap / 4)
        SEGUE_TRY(grow(map));
    map->slots[locate(map, key)] = (struct segue_map_slot){key, value};
    map->count++;
    return SEGUE_OK;
}

void *segue_map_get(const struct segue_map *map, uint64_t key)
{
    return map->count ? map->slots[locate(map, key)].value : NULL;
}

void *segue_map_remove(struct segue_map *map, uint64_t key)
{
    if (!map->count)
        return NULL;
    size_t mask = map->cap - 1, hole = locate(map, key);
    void *value = map->slots[hole].value;
    if (!value)
        return NULL;
    for (size_t at = (hole + 1) & mask; map->slots[at].value; at = (at + 1) & mask) {
        size_t home = mix(map->slots[at].key) & mask;
        /* It may fill the hole unless its home lies (cyclically) behind the hole. */
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole].value = NULL;
    map->count--;
    return value;
}

/* Downwards from a free slot: a removal shifts entries of one cluster down, and clusters
 * end at free slots, so only entries that were seen already move. */
void *segue_map_next(const struct segue_map *map, struct segue_map_cursor *cursor,
                     uint64_t *key)
{
    if (!cursor->begun) {
        cursor->begun = true;
        cursor->left = map->count ? map->cap : 0;
        while (cursor->left && map->slots[cursor->at].value)
            cursor->at++;
    }
    while (cursor->left) {
        cursor->left--;
        cursor->at = (cursor->at - 1) & (map->cap - 1);
        const struct segue_map_slot *slot = &map->slots[cursor->at];
        if (slot->value) {
            if (key)
                *key = slot->key;
            return slot->value;
        }
    }
    return NULL;
}

void segue_map_clear(struct segue_map *map)
{
    free(map->slots);
    *map = (struct segue_map){0};
}
