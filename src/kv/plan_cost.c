/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who converts. A packed copy is three stages that overlap: gather, send, scatter; the
 * slowest decides. A stage costs one pass over its bytes, and more the shorter the pieces
 * are that lie contiguous on both of its sides.
 */
#include "kv/plan.h"

#include <stdio.h>
#include "base/status.h"

/* What one piece costs beside its bytes, in bytes that could have been copied meanwhile: a
 * loop's turn and the rest of its cache lines; one call of an engine without strides. */
#define STRIDED_PIECE 64.0
#define SINGLE_PIECE  8192.0

/* Enough tokens for the order to show, few enough for a slot. */
#define SAMPLE_TOKENS 64

/* One side's copy between memory and a piece. */
static enum segue_status stage(const struct segue_geometry *memory,
                               const struct segue_geometry *wire, bool gathers,
                               uint32_t *run, bool *contiguous)
{
    struct segue_plan plan;
    SEGUE_TRY(segue_plan_build(gathers ? memory : wire, gathers ? wire : memory, &plan));
    *run = plan.n_moves ? plan.moves[0].run : 0;
    *contiguous = plan.n_moves > 0;
    for (uint32_t i = 0; i < plan.n_moves; i++) {
        const struct segue_move *m = &plan.moves[i];
        *contiguous &= !segue_move_converts(m) && m->src_token == m->run &&
                       m->dst_token == segue_move_scale(m, m->run);
        *run = m->run < *run ? m->run : *run;
    }
    if (*contiguous) {
        uint64_t block = (uint64_t)*run * memory->layout.block_tokens;
        *run = block > UINT32_MAX ? UINT32_MAX : (uint32_t)block;
    }
    segue_plan_free(&plan);
    return SEGUE_OK;
}

/* An engine without strides takes what is contiguous, and leaves the rest to the host. */
static double passes(uint32_t run, bool contiguous, bool strided)
{
    if (run == 0)
        return 0;
    if (strided)
        return 1 + STRIDED_PIECE / run;
    return 1 + SINGLE_PIECE / (run > SINGLE_PIECE ? run : SINGLE_PIECE) +
           (contiguous ? 0 : 1);
}

static double slowest(const struct segue_cost *c, int order, double send)
{
    double most = c->passes[0][order] > c->passes[1][order] ? c->passes[0][order]
                                                            : c->passes[1][order];
    return most > send ? most : send;
}

static void explain(const struct segue_cost_input *in, struct segue_cost *c, double send)
{
    int order = c->order, other = !order;
    bool link = send >= slowest(c, order, 0);
    bool src_lies = c->run[0][order] > c->run[0][other];
    bool dst_lies = c->run[1][order] > c->run[1][other];
    const char *who = src_lies && dst_lies ? "both copy as it lies"
                      : src_lies           ? "the consumer scatters"
                      : dst_lies           ? "the producer gathers"
                                           : "both copy alike";
    snprintf(
        c->why, sizeof c->why,
        "wire by %s, %s: pieces of %u and %u B, %.2f and %.2f passes (by %s %.2f and "
        "%.2f)%s",
        order == SEGUE_WIRE_BY_HEAD ? "head" : "token", who, c->run[0][order],
        c->run[1][order], c->passes[0][order], c->passes[1][order],
        order == SEGUE_WIRE_BY_HEAD ? "token" : "head", c->passes[0][other],
        c->passes[1][other], link ? "; the link is slower" : "");
}

enum segue_status segue_plan_cost(const struct segue_cost_input *in,
                                  struct segue_cost *out)
{
    struct segue_cost c = {.order = SEGUE_WIRE_BY_HEAD};
    const struct segue_geometry *memory[2] = {in->src, in->dst};
    const bool strided[2] = {in->src_strided, in->dst_strided};
    double send = in->link_gbps > 0 ? in->copy_gbps / in->link_gbps : 0, sum[2] = {0, 0};
    for (int order = 0; order < SEGUE_WIRE_ORDERS; order++) {
        struct segue_geometry wire;
        SEGUE_TRY(segue_geometry_wire(in->src, in->dst, 0, 1, SAMPLE_TOKENS,
                                      (enum segue_wire_order)order, &wire));
        for (int side = 0; side < 2; side++) {
            bool contiguous;
            SEGUE_TRY(
                stage(memory[side], &wire, side == 0, &c.run[side][order], &contiguous));
            c.passes[side][order] = passes(c.run[side][order], contiguous, strided[side]);
            sum[order] += c.passes[side][order];
        }
    }
    double by_head = slowest(&c, SEGUE_WIRE_BY_HEAD, send);
    double by_token = slowest(&c, SEGUE_WIRE_BY_TOKEN, send);
    if (by_token < by_head || (by_token <= by_head && sum[1] < sum[0]))
        c.order = SEGUE_WIRE_BY_TOKEN;
    explain(in, &c, send);
    *out = c;
    return SEGUE_OK;
}
