/* SPDX-License-Identifier: Apache-2.0 */
/* Moves cut to what a copy engine takes. A dim too far or too many becomes moves. */
#include "kv/plan.h"

#include <stdlib.h>
#include "base/status.h"

#define MOVES_MAX (UINT64_C(1) << 20)

/* How many indices of a dim stay together in one move; 1: the dim goes. */
static uint32_t together(const struct segue_dim *dim, const struct segue_plan_caps *caps)
{
    if (!caps->strided ||
        (caps->pitch > 0 && (dim->src > caps->pitch || dim->dst > caps->pitch)))
        return 1;
    return caps->rows > 0 && dim->count > caps->rows ? caps->rows : dim->count;
}

static uint64_t parts_of(const struct segue_move *move,
                         const struct segue_plan_caps *caps)
{
    uint64_t parts = 1;
    for (unsigned d = 0; d < move->dims && parts <= MOVES_MAX; d++) {
        uint32_t some = together(&move->dim[d], caps);
        parts *= ((uint64_t)move->dim[d].count + some - 1) / some;
    }
    return parts;
}

/* The part of a move that begins at `index` of each dim, in steps of together(). */
static struct segue_move part_at(const struct segue_move *move, const uint64_t *index,
                                 const struct segue_plan_caps *caps)
{
    struct segue_move part = *move;
    part.dims = part.outer = 0;
    for (unsigned d = 0; d < move->dims; d++) {
        struct segue_dim dim = move->dim[d];
        uint32_t some = together(&dim, caps);
        uint64_t left = dim.count - index[d];
        part.src_offset += index[d] * dim.src;
        part.dst_offset += index[d] * dim.dst;
        dim.count = left < some ? (uint32_t)left : some;
        if (dim.count == 1)
            continue;
        part.dim[part.dims++] = dim;
        if (d < move->outer)
            part.outer = part.dims;
    }
    return part;
}

static struct segue_move *split(const struct segue_move *move, struct segue_move *out,
                                const struct segue_plan_caps *caps)
{
    uint64_t index[SEGUE_MOVE_DIMS] = {0};
    for (bool more = true; more;) {
        *out++ = part_at(move, index, caps);
        more = false;
        for (unsigned d = move->dims; d-- > 0 && !more;) {
            index[d] += together(&move->dim[d], caps);
            more = index[d] < move->dim[d].count;
            if (!more)
                index[d] = 0;
        }
    }
    return out;
}

enum segue_status segue_plan_split(struct segue_plan *plan,
                                   const struct segue_plan_caps *caps)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->n_moves && n <= MOVES_MAX; i++)
        n += parts_of(&plan->moves[i], caps);
    if (n > MOVES_MAX)
        return segue_fail(SEGUE_E_RANGE,
                          "more than %llu moves, for a device that takes pitches of %llu "
                          "bytes and %u rows",
                          (unsigned long long)MOVES_MAX, (unsigned long long)caps->pitch,
                          caps->rows);
    if (n == plan->n_moves)
        return SEGUE_OK;
    struct segue_move *moves = calloc(n, sizeof *moves), *end = moves;
    if (!moves)
        return segue_fail(SEGUE_E_MEMORY, "no memory for %llu moves",
                          (unsigned long long)n);
    for (uint32_t i = 0; i < plan->n_moves; i++)
        end = split(&plan->moves[i], end, caps);
    free(plan->moves);
    plan->moves = moves;
    plan->n_moves = (uint32_t)n;
    return SEGUE_OK;
}
