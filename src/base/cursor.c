/* SPDX-License-Identifier: Apache-2.0 */
/* A transfer as a stream of contiguous pieces, in the order move.h writes down. */
#include "base/move.h"

#include <string.h>

void segue_cursor_init(struct segue_cursor *c, const struct segue_transfer *t)
{
    memset(c, 0, sizeof *c);
    c->t = t;
    for (size_t i = 0; i < t->n_spans; i++)
        if (t->spans[i].tokens > 0)
            return;
    c->move = t->n_moves; /* nothing to find, so no dim need be walked */
}

/* Steps dims [first, last) as an odometer, innermost fastest; false when it has come
 * round. */
static bool step_dims(struct segue_cursor *c, const struct segue_move *move,
                      unsigned first, unsigned last)
{
    for (unsigned d = last; d > first; d--) {
        if (++c->index[d - 1] < move->dim[d - 1].count)
            return true;
        c->index[d - 1] = 0;
    }
    return false;
}

static bool move_has_bytes(const struct segue_move *move)
{
    for (unsigned d = 0; d < move->dims; d++)
        if (move->dim[d].count == 0)
            return false;
    return move->run > 0;
}

/* Leaves the current span's tokens for whatever comes next in stream order. */
static void step_span(struct segue_cursor *c, const struct segue_move *move)
{
    c->token = 0;
    if (step_dims(c, move, move->outer, move->dims))
        return;
    if (c->time++ < c->t->spans[c->span].more)
        return;
    c->time = 0;
    if (++c->span < c->t->n_spans)
        return;
    c->span = 0;
    if (!step_dims(c, move, 0, move->outer))
        c->move++;
}

/* Makes the cursor stand on a token that exists; false at the end of the transfer. */
static bool settle(struct segue_cursor *c)
{
    while (c->move < c->t->n_moves) {
        const struct segue_move *move = &c->t->moves[c->move];
        if (!move_has_bytes(move))
            c->move++;
        else if (c->token < c->t->spans[c->span].tokens)
            return true;
        else
            step_span(c, move);
    }
    return false;
}

/* What lies at the cursor, as far as one stride-free run of tokens reaches. */
static struct segue_piece peek(const struct segue_cursor *c, uint32_t *tokens)
{
    const struct segue_move *move = &c->t->moves[c->move];
    struct segue_span at = segue_span_at(&c->t->spans[c->span], c->time), *span = &at;
    bool dense = move->src_token == move->run && move->dst_token == move->run;
    *tokens = dense ? span->tokens - c->token : 1;
    struct segue_piece piece = {
        .src_region = move->src_region,
        .dst_region = move->dst_region,
        .src_offset = move->src_offset + span->src_block * move->src_block +
                      ((uint64_t)span->src_token + c->token) * move->src_token,
        .dst_offset = move->dst_offset + span->dst_block * move->dst_block +
                      ((uint64_t)span->dst_token + c->token) * move->dst_token,
        .len = (uint64_t)*tokens * move->run,
    };
    for (unsigned d = 0; d < move->dims; d++) {
        piece.src_offset += c->index[d] * move->dim[d].src;
        piece.dst_offset += c->index[d] * move->dim[d].dst;
    }
    return piece;
}

static bool continues(const struct segue_piece *a, const struct segue_piece *b)
{
    return a->src_region == b->src_region && a->dst_region == b->dst_region &&
           a->src_offset + a->len == b->src_offset &&
           a->dst_offset + a->len == b->dst_offset;
}

bool segue_cursor_next(struct segue_cursor *c, uint64_t max, struct segue_piece *piece)
{
    struct segue_piece *held = &c->held;
    while ((max == 0 || held->len < max) && settle(c)) {
        uint32_t tokens;
        struct segue_piece next = peek(c, &tokens);
        if (held->len == 0)
            *held = next;
        else if (continues(held, &next))
            held->len += next.len;
        else
            break;
        c->token += tokens;
    }
    if (held->len == 0)
        return false;
    *piece = *held;
    if (max != 0 && piece->len > max)
        piece->len = max;
    held->src_offset += piece->len;
    held->dst_offset += piece->len;
    held->len -= piece->len;
    return true;
}
