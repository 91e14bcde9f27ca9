/* SPDX-License-Identifier: Apache-2.0 */
/* Random geometries with memory, block lists and tables: one side of a random pair. */
#ifndef TESTS_PROPERTY_SIDES_H
#define TESTS_PROPERTY_SIDES_H

#include "kv/plan.h"

#define REGIONS 4
#define LAYERS  6
#define HEADS   8

/* Random numbers, from where random_begin() put them. */
void random_begin(uint64_t seed);
uint32_t pick(uint32_t n); /* 0 .. n - 1 */

/* What both sides of a pair have in common. */
struct common {
    uint32_t layers, heads; /* of the model */
    uint32_t k_size, v_size;
    uint32_t dtype[2]; /* of either side */
    bool scaled;
};

struct side {
    struct segue_geometry geometry;
    struct segue_layer layer[LAYERS], v_layer[LAYERS];
    float scale[2 * LAYERS];
    char *bytes[REGIONS];
    struct segue_extent extent[REGIONS];
    size_t n_regions;
    uint32_t *blocks;
    struct segue_tokens tokens;
};

struct common common_make(void);

/* A side with random bytes in its memory; a block list of all its blocks, in any order. */
void side_make(struct side *side, const struct common *common, uint32_t dtype);
void side_free(struct side *side);

#endif
