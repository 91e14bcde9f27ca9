/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for whoever only looks at them. */
#include <segue/plan.h>
#include "base/sized.h"
#include "base/status.h"
#include "kv/plan.h"

#include <stdlib.h>

static enum segue_status take(const struct segue_plan_side *side,
                              struct segue_geometry *out,
                              struct segue_geometry_room *room)
{
    struct segue_plan_side s;
    SEGUE_TRY(segue_sized_take("struct segue_plan_side", side, &s, sizeof s));
    *out = (struct segue_geometry){
        .layout = s.layout,
        .layer_first = s.layer_first,
        .layers_total = s.layers_total ? s.layers_total : s.layout.layers,
        .head_first = s.head_first,
        .heads_total = s.heads_total ? s.heads_total : s.layout.heads};
    if (s.layout.layers > SEGUE_GEOMETRY_LAYERS_MAX)
        return segue_fail(SEGUE_E_RANGE, "%u layers; %d are allowed", s.layout.layers,
                          SEGUE_GEOMETRY_LAYERS_MAX);
    for (uint32_t i = 0; i < s.layout.layers; i++) {
        room->scale[2 * i] = s.k_scale != 0 ? s.k_scale : 1;
        room->scale[2 * i + 1] = s.v_scale != 0 ? s.v_scale : 1;
    }
    if (s.k_scale != 0 || s.v_scale != 0)
        out->scale = room->scale;
    return SEGUE_OK;
}

enum segue_status segue_plan_heads(uint32_t heads, uint32_t rank, uint32_t ranks,
                                   uint32_t *first, uint32_t *count)
{
    struct segue_share share;
    SEGUE_TRY(segue_share_heads(heads, rank, ranks, &share));
    *first = share.first;
    *count = share.count;
    return SEGUE_OK;
}

enum segue_status segue_plan_create(const struct segue_plan_side *src,
                                    const struct segue_plan_side *dst, segue_plan **out)
{
    struct segue_geometry from, to;
    struct segue_geometry_room *room = malloc(2 * sizeof *room);
    struct segue_plan *plan = calloc(1, sizeof *plan);
    enum segue_status status = SEGUE_OK;
    if (!room || !plan)
        status = segue_fail(SEGUE_E_MEMORY, "no memory for a plan");
    if (status >= 0)
        status = take(src, &from, &room[0]);
    if (status >= 0)
        status = take(dst, &to, &room[1]);
    if (status >= 0)
        status = segue_plan_build(&from, &to, plan);
    free(room);
    if (status < 0)
        free(plan);
    else
        *out = plan;
    return status;
}

void segue_plan_destroy(segue_plan *plan)
{
    if (plan)
        segue_plan_free(plan);
    free(plan);
}

void segue_plan_about(const segue_plan *plan, struct segue_plan_info *out)
{
    *out = (struct segue_plan_info){.moves = plan->n_moves,
                                    .bytes_per_token = plan->bytes_per_token,
                                    .run = plan->run,
                                    .src_run = plan->src_run,
                                    .dst_run = plan->dst_run,
                                    .converts = plan->converts,
                                    .src_linear = plan->src_linear,
                                    .dst_linear = plan->dst_linear};
}

void segue_plan_move_at(const segue_plan *plan, uint32_t index,
                        struct segue_plan_move *out)
{
    const struct segue_move *m = &plan->moves[index];
    *out = (struct segue_plan_move){.src_offset = m->src_offset,
                                    .dst_offset = m->dst_offset,
                                    .src_block = m->src_block,
                                    .dst_block = m->dst_block,
                                    .src_token = m->src_token,
                                    .dst_token = m->dst_token,
                                    .src_run = m->run,
                                    .dst_run = (uint32_t)segue_move_scale(m, m->run),
                                    .from = (enum segue_dtype)m->from,
                                    .to = (enum segue_dtype)m->to,
                                    .scale = m->scale,
                                    .dims = m->dims,
                                    .outer = m->outer};
    for (unsigned d = 0; d < m->dims; d++)
        out->dim[d] = (struct segue_plan_dim){m->dim[d].count, m->dim[d].src,
                                              m->dim[d].dst};
}
