/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two geometries become moves. A layer's K and V start as one move each, whose dim is the
 * heads; then everything that lies contiguous on both sides grows into the run and
 * everything evenly spaced on both sides becomes a dim, so that a plan is as short as the
 * two layouts allow.
 */
#include "kv/plan.h"

#include <stdlib.h>
#include <string.h>
#include "base/status.h"

/* What both sides hold. */
struct common {
    const struct segue_geometry *src, *dst;
    struct segue_share layers, heads;
};

/* A move of the first common layer, and how far apart layers are where they have no
 * offsets of their own. */
struct shape {
    struct segue_move move;
    uint64_t src_layer, dst_layer;
    bool v; /* it is V alone */
};

static uint64_t dst_run(const struct segue_move *move)
{
    return segue_move_scale(move, move->run);
}

/* What the elements of common layer i are multiplied by, so that their values stay; 0: by
 * nothing. */
static float scale_of(const struct common *c, uint32_t i, bool v)
{
    size_t src = 2 * (size_t)(c->layers.first - c->src->layer_first + i) + v;
    size_t dst = 2 * (size_t)(c->layers.first - c->dst->layer_first + i) + v;
    float from = c->src->scale ? c->src->scale[src] : 1;
    float to = c->dst->scale ? c->dst->scale[dst] : 1;
    return from == to ? 0 : from / to;
}

static struct shape shape_part(const struct common *c, bool v)
{
    const struct segue_layout_part *from = v ? &c->src->layout.v : &c->src->layout.k;
    const struct segue_layout_part *to = v ? &c->dst->layout.v : &c->dst->layout.k;
    uint64_t src_head = c->heads.first - c->src->head_first;
    uint64_t dst_head = c->heads.first - c->dst->head_first;
    struct shape shape = {.src_layer = from->layer, .dst_layer = to->layer, .v = v};
    shape.move = (struct segue_move){
        .src_offset = from->offset + src_head * from->head,
        .dst_offset = to->offset + dst_head * to->head,
        .src_block = from->block,
        .dst_block = to->block,
        .src_token = from->token,
        .dst_token = to->token,
        .run = from->bytes,
        .from = (uint8_t)c->src->layout.dtype,
        .to = (uint8_t)c->dst->layout.dtype,
        .dims = 1,
        .dim = {{c->heads.count, from->head, to->head}},
    };
    return shape;
}

static bool same_steps(const struct shape *a, const struct shape *b)
{
    const struct segue_move *m = &a->move, *n = &b->move;
    return m->src_block == n->src_block && m->dst_block == n->dst_block &&
           m->src_token == n->src_token && m->dst_token == n->dst_token &&
           m->dim[0].src == n->dim[0].src && m->dim[0].dst == n->dim[0].dst &&
           a->src_layer == b->src_layer && a->dst_layer == b->dst_layer;
}

/* Whether what holds for K of every layer holds for V: it lies with K and has its scale. */
static bool together(const struct common *c)
{
    if (c->src->v_layer || c->dst->v_layer)
        return false;
    for (uint32_t i = 0; (c->src->scale || c->dst->scale) && i < c->layers.count; i++)
        if (scale_of(c, i, false) != scale_of(c, i, true))
            return false;
    return true;
}

/* K and V as one move, where they stand in the same order on both sides: side by side, a
 * longer run; else a dim of two. */
static bool join_parts(const struct common *c, struct shape *k, struct shape *v)
{
    if (!together(c) || !same_steps(k, v))
        return false;
    struct segue_move *first = &k->move, *second = &v->move;
    if (second->src_offset < first->src_offset) {
        first = &v->move;
        second = &k->move;
    }
    if (second->dst_offset < first->dst_offset)
        return false;
    uint64_t src = second->src_offset - first->src_offset;
    uint64_t dst = second->dst_offset - first->dst_offset;
    if (src == first->run && dst == dst_run(first)) {
        first->run += second->run;
    } else if (first->run == second->run) {
        first->dim[first->dims++] = (struct segue_dim){2, src, dst};
    } else {
        return false;
    }
    k->move = *first;
    return true;
}

static void drop_dim(struct segue_move *move, unsigned d)
{
    memmove(&move->dim[d], &move->dim[d + 1],
            (size_t)(move->dims - d - 1) * sizeof move->dim[0]);
    move->dims--;
    move->dim[move->dims] = (struct segue_dim){0};
}

/* One step towards fewer dims; false when there is none left to take. */
static bool fold_once(struct segue_move *move)
{
    for (unsigned d = 0; d < move->dims; d++) {
        struct segue_dim dim = move->dim[d];
        bool grows = dim.src == move->run && dim.dst == dst_run(move) &&
                     (uint64_t)dim.count * move->run <= UINT32_MAX;
        if (grows)
            move->run *= dim.count;
        if (grows || dim.count == 1) {
            drop_dim(move, d);
            return true;
        }
        for (unsigned i = 0; i < move->dims; i++) {
            struct segue_dim *inner = &move->dim[i];
            if (i != d && dim.src == inner->src * inner->count &&
                dim.dst == inner->dst * inner->count &&
                (uint64_t)dim.count * inner->count <= UINT32_MAX) {
                inner->count *= dim.count;
                drop_dim(move, d);
                return true;
            }
        }
    }
    return false;
}

/* Fewest dims, in the source's order, those that step over whole blocks outermost; but
 * not one that is side by side at the destination, or each line there would be written in
 * two passes. */
static void fold(struct segue_move *move, const struct segue_layout *src)
{
    while (fold_once(move))
        ;
    for (unsigned i = 1; i < move->dims; i++)
        for (unsigned j = i; j > 0 && move->dim[j].src > move->dim[j - 1].src; j--) {
            struct segue_dim dim = move->dim[j];
            move->dim[j] = move->dim[j - 1];
            move->dim[j - 1] = dim;
        }
    uint64_t block = src->blocks > 1 ? move->src_block
                                     : move->src_token * src->block_tokens;
    move->outer = 0;
    while (move->outer < move->dims && move->dim[move->outer].src >= block &&
           move->dim[move->outer].dst != dst_run(move))
        move->outer++;
}

/* Where common layer i of one side starts. */
static struct segue_layer origin_of(const struct segue_geometry *side,
                                    struct segue_share all, uint32_t i, bool v)
{
    return segue_geometry_layer(side, all.first - side->layer_first + i, v);
}

/* How many common layers from i on are evenly spaced on both sides and scaled alike; *step
 * gets how far apart. */
static uint32_t even_layers(const struct common *c, const struct shape *shape, uint32_t i,
                            struct segue_dim *step)
{
    *step = (struct segue_dim){1, shape->src_layer, shape->dst_layer};
    bool scaled = c->src->scale || c->dst->scale;
    if (!c->src->layer && !c->dst->layer && !scaled)
        return c->layers.count - i;
    struct segue_layer src = origin_of(c->src, c->layers, i, shape->v);
    struct segue_layer dst = origin_of(c->dst, c->layers, i, shape->v);
    float scale = scale_of(c, i, shape->v);
    uint32_t n = 1;
    for (; i + n < c->layers.count; n++) {
        struct segue_layer src_next = origin_of(c->src, c->layers, i + n, shape->v);
        struct segue_layer dst_next = origin_of(c->dst, c->layers, i + n, shape->v);
        if (src_next.region != src.region || src_next.offset <= src.offset ||
            dst_next.region != dst.region || dst_next.offset <= dst.offset ||
            scale_of(c, i + n, shape->v) != scale)
            break;
        uint64_t src_step = src_next.offset - src.offset;
        uint64_t dst_step = dst_next.offset - dst.offset;
        if (n > 1 && (src_step != step->src || dst_step != step->dst))
            break;
        step->src = src_step;
        step->dst = dst_step;
        src = src_next;
        dst = dst_next;
    }
    return n;
}

static struct segue_move place(const struct common *c, const struct shape *shape,
                               uint32_t i, struct segue_dim layers)
{
    struct segue_layer src = origin_of(c->src, c->layers, i, shape->v);
    struct segue_layer dst = origin_of(c->dst, c->layers, i, shape->v);
    struct segue_move move = shape->move;
    move.src_region = src.region;
    move.src_offset += src.offset;
    move.dst_region = dst.region;
    move.dst_offset += dst.offset;
    move.scale = scale_of(c, i, shape->v);
    move.dim[move.dims++] = layers;
    fold(&move, &c->src->layout);
    return move;
}

/* Writes the moves of one shape, or only counts them. */
static uint32_t spread(const struct common *c, const struct shape *shape,
                       struct segue_move *moves)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->layers.count; n++) {
        struct segue_dim layers;
        layers.count = 0;
        uint32_t together = even_layers(c, shape, i, &layers);
        layers.count = together;
        if (moves)
            moves[n] = place(c, shape, i, layers);
        i += together;
    }
    return n;
}

static enum segue_status differ(const char *what, uint64_t src, uint64_t dst)
{
    return segue_fail(SEGUE_E_MISMATCH, "the producer has %llu %s, the consumer %llu",
                      (unsigned long long)src, what, (unsigned long long)dst);
}

static const char *const kinds[] = {"every token", "a sliding window", "pages"};

static enum segue_status check_state(const struct segue_geometry *src,
                                     const struct segue_geometry *dst)
{
    if (src->group != dst->group)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the producer's cache is of layer group %u, "
                          "the consumer's of group %u",
                          src->group, dst->group);
    if (src->kind != dst->kind)
        return segue_fail(SEGUE_E_MISMATCH, "the producer keeps %s, the consumer %s",
                          kinds[src->kind], kinds[dst->kind]);
    if (src->window != dst->window)
        return differ("tokens in its sliding window", src->window, dst->window);
    return SEGUE_OK;
}

static enum segue_status check_fit(const struct segue_geometry *src,
                                   const struct segue_geometry *dst)
{
    const struct segue_layout *from = &src->layout, *to = &dst->layout;
    uint32_t src_size = segue_dtype_size(from->dtype);
    uint32_t dst_size = segue_dtype_size(to->dtype);
    SEGUE_TRY(check_state(src, dst));
    if (src->layers_total != dst->layers_total)
        return differ("layers", src->layers_total, dst->layers_total);
    if (src->heads_total != dst->heads_total)
        return differ("KV heads", src->heads_total, dst->heads_total);
    if (from->dtype != to->dtype &&
        (from->dtype == SEGUE_DTYPE_BYTES || to->dtype == SEGUE_DTYPE_BYTES))
        return segue_fail(SEGUE_E_MISMATCH,
                          "the producer's elements are %s, the consumer's %s: nothing "
                          "converts between them",
                          segue_dtype_name(from->dtype), segue_dtype_name(to->dtype));
    if (from->k.bytes / src_size != to->k.bytes / dst_size)
        return differ("elements in a head of K", from->k.bytes / src_size,
                      to->k.bytes / dst_size);
    if (from->v.bytes / src_size != to->v.bytes / dst_size)
        return differ("elements in a head of V", from->v.bytes / src_size,
                      to->v.bytes / dst_size);
    return SEGUE_OK;
}

/* Contiguous bytes of one side when the whole of one of its blocks is taken. */
static uint32_t side_run(const struct segue_layout *layout, uint32_t heads)
{
    const struct segue_layout_part *k = &layout->k, *v = &layout->v;
    bool token = false, head = false, both = v->bytes == 0;
    uint64_t run = k->bytes;
    for (bool grown = true; grown;) {
        grown = false;
        uint64_t before = run;
        if (!both && v->offset - k->offset == run && v->token == k->token &&
            v->head == k->head && (run == k->bytes || k->bytes == v->bytes)) {
            run += run / k->bytes * v->bytes;
            both = grown = true;
        } else if (!token && (layout->block_tokens == 1 || k->token == run)) {
            run *= layout->block_tokens;
            token = grown = true;
        } else if (!head && (heads == 1 || k->head == run)) {
            run *= heads;
            head = grown = true;
        }
        if (run > UINT32_MAX)
            return (uint32_t)before;
    }
    return (uint32_t)run;
}

static uint32_t greatest_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* What one cursor piece carries when both sides' blocks begin together. */
static uint32_t common_run(const struct segue_move *move, const struct common *c)
{
    uint32_t src_tokens = c->src->layout.block_tokens;
    uint32_t dst_tokens = c->dst->layout.block_tokens;
    uint64_t run = move->run;
    if (move->src_token != move->run || move->dst_token != dst_run(move))
        return move->run;
    run *= greatest_divisor(src_tokens, dst_tokens);
    if (src_tokens == dst_tokens)
        for (unsigned d = move->dims; d > move->outer; d--)
            if (move->dim[d - 1].src == run && move->dim[d - 1].dst == run)
                run *= move->dim[d - 1].count;
    return run > UINT32_MAX ? UINT32_MAX : (uint32_t)run;
}

static enum segue_status count_bytes(const struct common *c, uint64_t *bytes)
{
    const struct segue_layout *from = &c->src->layout;
    *bytes = (uint64_t)from->k.bytes + from->v.bytes;
    if (__builtin_mul_overflow(*bytes, c->layers.count, bytes) ||
        __builtin_mul_overflow(*bytes, c->heads.count, bytes))
        return segue_fail(SEGUE_E_RANGE, "%u layers x %u heads of %u bytes overflow",
                          c->layers.count, c->heads.count, from->k.bytes + from->v.bytes);
    return SEGUE_OK;
}

/* What holds for all moves: whether a side's tokens run on over consecutive blocks, and
 * whether spans that follow each other may be one. */
static void look_over(const struct common *c, struct segue_plan *plan)
{
    plan->src_linear = plan->dst_linear = plan->spans_join = true;
    for (uint32_t i = 0; i < plan->n_moves; i++) {
        const struct segue_move *m = &plan->moves[i];
        plan->converts |= segue_move_converts(m);
        plan->src_linear &= m->src_block == m->src_token * c->src->layout.block_tokens;
        plan->dst_linear &= m->dst_block == m->dst_token * c->dst->layout.block_tokens;
        plan->spans_join &= m->outer == m->dims;
    }
    plan->spans_join &= plan->src_linear && plan->dst_linear;
}

static enum segue_status compile(const struct common *c, struct segue_plan *plan)
{
    struct shape shapes[2] = {shape_part(c, false)};
    unsigned n_shapes = 1;
    if (c->src->layout.v.bytes > 0) {
        shapes[1] = shape_part(c, true);
        n_shapes = join_parts(c, &shapes[0], &shapes[1]) ? 1 : 2;
    }
    uint32_t counts[2] = {spread(c, &shapes[0], NULL),
                          n_shapes == 2 ? spread(c, &shapes[1], NULL) : 0};
    size_t n = (size_t)counts[0] + counts[1];
    if (n > UINT32_MAX)
        return segue_fail(SEGUE_E_RANGE, "a plan of %zu moves", n);
    plan->moves = calloc(n, sizeof *plan->moves);
    if (!plan->moves)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a plan of %zu moves", n);
    plan->n_moves = (uint32_t)n;
    spread(c, &shapes[0], plan->moves);
    if (n_shapes == 2)
        spread(c, &shapes[1], plan->moves + counts[0]);
    plan->run = common_run(&plan->moves[0], c);
    look_over(c, plan);
    return SEGUE_OK;
}

enum segue_status segue_plan_build(const struct segue_geometry *src,
                                   const struct segue_geometry *dst,
                                   struct segue_plan *out)
{
    SEGUE_TRY(segue_geometry_check(src, "producer"));
    SEGUE_TRY(segue_geometry_check(dst, "consumer"));
    SEGUE_TRY(check_fit(src, dst));
    struct common common = {
        .src = src,
        .dst = dst,
        .layers = segue_share_overlap(src->layer_first, src->layout.layers,
                                      dst->layer_first, dst->layout.layers),
        .heads = segue_share_overlap(src->head_first, src->layout.heads, dst->head_first,
                                     dst->layout.heads),
    };
    struct segue_plan plan = {0};
    if (common.layers.count > 0 && common.heads.count > 0) {
        SEGUE_TRY(count_bytes(&common, &plan.bytes_per_token));
        SEGUE_TRY(compile(&common, &plan));
        plan.src_run = side_run(&src->layout, common.heads.count);
        plan.dst_run = side_run(&dst->layout, common.heads.count);
    }
    *out = plan;
    return SEGUE_OK;
}

void segue_plan_free(struct segue_plan *plan)
{
    free(plan->moves);
    *plan = (struct segue_plan){0};
}
