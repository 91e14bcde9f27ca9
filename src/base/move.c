/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a transfer stays inside its regions, and how much it carries. Strides and
 * counts come from peers, so every sum is checked. */
#include "base/move.h"

#include <segue/layout.h>
#include "base/status.h"

#include <math.h>

/* sum += n * stride; false when it overflows. */
static bool add_mul(uint64_t *sum, uint64_t n, uint64_t stride)
{
    uint64_t product;
    return !__builtin_mul_overflow(n, stride, &product) &&
           !__builtin_add_overflow(*sum, product, sum);
}

/* The furthest corner of all spans: no single span need reach it. */
struct corner {
    uint64_t block, token;
    bool any;
};

/* Of the span's last time, as steps only go up. */
static uint64_t span_block(const struct segue_span *span, bool src)
{
    uint64_t step = src ? span->src_block_step : span->dst_block_step;
    return (src ? span->src_block : span->dst_block) + span->more * step;
}

static uint64_t span_last_token(const struct segue_span *span, bool src)
{
    uint64_t step = src ? span->src_token_step : span->dst_token_step;
    return (src ? span->src_token : span->dst_token) + span->more * step + span->tokens -
           1;
}

static struct corner corner_of(const struct segue_transfer *t, bool src)
{
    struct corner corner = {0};
    for (size_t i = 0; i < t->n_spans; i++) {
        const struct segue_span *span = &t->spans[i];
        if (span->tokens == 0)
            continue;
        uint64_t block = span_block(span, src), token = span_last_token(span, src);
        corner.block = block > corner.block ? block : corner.block;
        corner.token = token > corner.token ? token : corner.token;
        corner.any = true;
    }
    return corner;
}

/* One side of a move, with the tokens and blocks taken out. */
struct reach {
    uint64_t end; /* just past the last byte of block 0, token 0 */
    uint64_t block, token;
    uint64_t limit; /* bytes of the region */
};

static bool reach_holds(const struct reach *reach, uint64_t block, uint64_t token)
{
    uint64_t end = reach->end;
    return add_mul(&end, block, reach->block) && add_mul(&end, token, reach->token) &&
           end <= reach->limit;
}

/* True when a dim has no index at all, so that the move touches nothing. */
static bool move_is_empty(const struct segue_move *move)
{
    for (unsigned d = 0; d < move->dims; d++)
        if (move->dim[d].count == 0)
            return true;
    return move->run == 0;
}

static bool reach_of(const struct segue_move *move, bool src, uint64_t limit,
                     struct reach *out)
{
    out->end = src ? move->src_offset : move->dst_offset;
    out->block = src ? move->src_block : move->dst_block;
    out->token = src ? move->src_token : move->dst_token;
    out->limit = limit;
    for (unsigned d = 0; d < move->dims; d++)
        if (!add_mul(&out->end, move->dim[d].count - 1,
                     src ? move->dim[d].src : move->dim[d].dst))
            return false;
    return add_mul(&out->end, 1, src ? move->run : segue_move_scale(move, move->run));
}

static enum segue_status outside(size_t i, bool src, const struct segue_span *span,
                                 uint64_t limit)
{
    return segue_fail(SEGUE_E_RANGE,
                      "move %zu leaves its %s region of %llu bytes at block %llu, "
                      "token %llu",
                      i, src ? "source" : "destination", (unsigned long long)limit,
                      (unsigned long long)span_block(span, src),
                      (unsigned long long)span_last_token(span, src));
}

/* The corner decides nearly always; only where it lies outside does every span have to
 * be looked at. */
static enum segue_status check_side(const struct segue_transfer *t, size_t i, bool src,
                                    struct corner corner,
                                    const struct segue_extent *extents, size_t n)
{
    const struct segue_move *move = &t->moves[i];
    uint32_t region = src ? move->src_region : move->dst_region;
    if (region >= n)
        return segue_fail(SEGUE_E_RANGE, "move %zu names %s region %u of %zu", i,
                          src ? "source" : "destination", region, n);
    struct reach reach;
    if (!reach_of(move, src, extents[region].len, &reach))
        return segue_fail(SEGUE_E_RANGE, "move %zu: the %s offsets overflow 64 bits", i,
                          src ? "source" : "destination");
    if (reach_holds(&reach, corner.block, corner.token))
        return SEGUE_OK;
    for (size_t s = 0; s < t->n_spans; s++) {
        const struct segue_span *span = &t->spans[s];
        if (span->tokens > 0 &&
            !reach_holds(&reach, span_block(span, src), span_last_token(span, src)))
            return outside(i, src, span, reach.limit);
    }
    return SEGUE_OK;
}

static enum segue_status check_shape(const struct segue_move *move, size_t i)
{
    if (move->dims > SEGUE_MOVE_DIMS || move->outer > move->dims)
        return segue_fail(SEGUE_E_RANGE, "move %zu has %u dims, %u of them outer", i,
                          move->dims, move->outer);
    if (!segue_move_converts(move))
        return SEGUE_OK;
    if (!isfinite(move->scale) || move->scale < 0)
        return segue_fail(SEGUE_E_RANGE, "move %zu multiplies by %g", i,
                          (double)move->scale);
    if (move->from == SEGUE_DTYPE_BYTES || segue_dtype_size(move->from) == 0 ||
        move->to == SEGUE_DTYPE_BYTES || segue_dtype_size(move->to) == 0)
        return segue_fail(SEGUE_E_RANGE, "move %zu converts element type %u to %u", i,
                          move->from, move->to);
    if (move->run % segue_dtype_size(move->from) != 0)
        return segue_fail(SEGUE_E_RANGE,
                          "move %zu: a run of %u bytes is no whole number "
                          "of %s",
                          i, move->run, segue_dtype_name(move->from));
    return SEGUE_OK;
}

enum segue_status segue_transfer_check(const struct segue_transfer *t,
                                       const struct segue_extent *src, size_t n_src,
                                       const struct segue_extent *dst, size_t n_dst)
{
    struct corner src_corner = corner_of(t, true), dst_corner = corner_of(t, false);
    for (size_t i = 0; i < t->n_moves; i++) {
        SEGUE_TRY(check_shape(&t->moves[i], i));
        if (!src_corner.any || move_is_empty(&t->moves[i]))
            continue;
        SEGUE_TRY(check_side(t, i, true, src_corner, src, n_src));
        SEGUE_TRY(check_side(t, i, false, dst_corner, dst, n_dst));
    }
    return SEGUE_OK;
}

uint64_t segue_transfer_bytes(const struct segue_transfer *t)
{
    uint64_t tokens = 0, total = 0;
    for (size_t i = 0; i < t->n_spans; i++)
        if (!add_mul(&tokens, t->spans[i].tokens, (uint64_t)t->spans[i].more + 1))
            return UINT64_MAX;
    for (size_t i = 0; i < t->n_moves; i++) {
        const struct segue_move *move = &t->moves[i];
        if (move_is_empty(move))
            continue;
        uint64_t bytes = move->run;
        for (unsigned d = 0; d < move->dims; d++)
            if (__builtin_mul_overflow(bytes, move->dim[d].count, &bytes))
                return UINT64_MAX;
        if (!add_mul(&total, bytes, tokens))
            return UINT64_MAX;
    }
    return total;
}

uint64_t segue_move_scale(const struct segue_move *move, uint64_t bytes)
{
    if (move->from == move->to)
        return bytes;
    return bytes / segue_dtype_size(move->from) * segue_dtype_size(move->to);
}

bool segue_transfer_converts(const struct segue_transfer *t)
{
    for (size_t i = 0; i < t->n_moves; i++)
        if (segue_move_converts(&t->moves[i]))
            return true;
    return false;
}
