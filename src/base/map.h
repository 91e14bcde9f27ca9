/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map from a 64-bit number to a pointer: ids to the objects they name.
 *
 * Zeroed memory is an empty map. The map owns its slots and never what they point to.
 * Keys may come from a peer: they are mixed with a seed of the process, so that nobody
 * outside can aim at one bucket. Thread: the caller's business.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segue_map_slot;

struct segue_map {
    struct segue_map_slot *slots; /* private; `count` may be read */
    size_t cap, count;
};

/* A walk over a map; {0} to begin. */
struct segue_map_cursor {
    size_t at, left;
    bool begun;
};

/* What: sets the value of `key`, in place of an older one. `value` is not NULL.
 * Statuses: E_MEMORY, and then the map is as before. */
enum segue_status segue_map_put(struct segue_map *map, uint64_t key, void *value);

/* What: the value of `key`; NULL when there is none. */
void *segue_map_get(const struct segue_map *map, uint64_t key);

/* What: takes `key` out and returns its value; NULL when there was none. */
void *segue_map_remove(struct segue_map *map, uint64_t key);

/* What: the next value of a walk, in no particular order, and its key (`key` may be
 * NULL); NULL at the end. Between two steps the entry returned last may be removed, and
 * nothing else may change. */
void *segue_map_next(const struct segue_map *map, struct segue_map_cursor *cursor,
                     uint64_t *key);

/* What: frees the slots; the map is empty and can be used again. */
void segue_map_clear(struct segue_map *map);

#endif
