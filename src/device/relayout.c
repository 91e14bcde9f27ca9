/* SPDX-License-Identifier: Apache-2.0 */
/* Moves x spans, a box at a time and within chunks of bytes. */
#include "device/relayout.h"

#include <segue/layout.h>
#include "device/box.h"
#include "device/convert.h"
#include "device/rows.h"

/* Larger than the L2 of any core we know; the destination will not be found in a cache by
 * the time somebody reads it. */
#define STREAM_BYTES (UINT64_C(4) << 20)

/* Rows longer than this are copied in parts, so that a chunk is never much too large. */
#define PART (UINT64_C(64) << 10)

/* Axes that change places are copied in tiles of about this size, so that what is read in
 * one order and written in another meets in a cache. */
#define TILE (UINT64_C(32) << 10)

/* One walk: what does not change while it runs. */
struct walk {
    const struct segue_relayout *r;
    const struct segue_rows_ops *ops;
    const struct segue_move *move;
    uint64_t outer; /* how many indices the outer dims have together */
    char *src, *dst;
    const char *next; /* where the box after this one is read, or NULL */
    struct segue_box box;
};

static char *reach(const struct segue_relayout *r, char *base)
{
    return r->reach ? r->reach(r->user, base) : base;
}

/* False when the move has nothing to copy. */
static bool enter_move(struct walk *w, size_t i, bool copies)
{
    const struct segue_move *move = &w->r->transfer->moves[i];
    w->move = move;
    w->outer = 1;
    w->box.tokens = 0;
    for (unsigned d = 0; d < move->dims; d++) {
        if (move->dim[d].count == 0)
            return false;
        if (d < move->outer)
            w->outer *= move->dim[d].count;
    }
    if (copies) {
        w->src = reach(w->r, w->r->src[move->src_region].base) + move->src_offset;
        w->dst = reach(w->r, w->r->dst[move->dst_region].base) + move->dst_offset;
    }
    return move->run > 0;
}

static void copy_rows(const struct walk *w, const struct segue_rows *rows)
{
    const struct segue_move *move = w->move;
    if (!segue_move_converts(move)) {
        if (w->r->stream)
            w->ops->stream(rows);
        else
            w->ops->copy(rows);
        return;
    }
    for (uint64_t i = 0; i < rows->n; i++)
        segue_convert(w->ops, rows->dst + i * rows->dst_step, move->to,
                      rows->src + i * rows->src_step, move->from,
                      rows->run / segue_dtype_size(move->from), move->scale);
}

/* Adds where a row of the box lies and says its index on every axis. */
static void find_row(const struct segue_box *box, uint64_t row, uint64_t *index,
                     uint64_t *dst, uint64_t *src)
{
    for (unsigned i = box->n; i-- > 0; row /= box->axis[i].count) {
        index[i] = row % box->axis[i].count;
        *src += index[i] * box->axis[i].src;
        *dst += index[i] * box->axis[i].dst;
    }
}

/* Rows [row, row + n) of the box that begins at these offsets. */
static void copy_box(const struct walk *w, uint64_t dst, uint64_t src, uint64_t row,
                     uint64_t n)
{
    const struct segue_box *box = &w->box;
    uint64_t index[SEGUE_BOX_AXES];
    find_row(box, row, index, &dst, &src);
    const struct segue_axis one = {1, 0, 0};
    const struct segue_axis *inner = box->n > 0 ? &box->axis[box->n - 1] : &one;
    uint64_t left = box->n > 0 ? inner->count - index[box->n - 1] : 1;
    for (;;) {
        uint64_t some = left < n ? left : n;
        struct segue_rows rows = {w->dst + dst, w->src + src, inner->dst,
                                  inner->src,   box->run,     some};
        copy_rows(w, &rows);
        n -= some;
        if (n == 0)
            return;
        index[box->n - 1] += some;
        src += some * inner->src;
        dst += some * inner->dst;
        for (unsigned i = box->n - 1; i > 0 && index[i] == box->axis[i].count; i--) {
            src += box->axis[i - 1].src - box->axis[i].count * box->axis[i].src;
            dst += box->axis[i - 1].dst - box->axis[i].count * box->axis[i].dst;
            index[i] = 0;
            index[i - 1]++;
        }
        left = inner->count;
    }
}

static void turn_tile(const struct walk *w, struct segue_turn turn)
{
    const struct segue_axis *split = &w->box.split;
    for (uint64_t i = 0; i < split->count; i++) {
        w->ops->turn(&turn);
        turn.src += split->src;
        turn.dst += split->dst;
        turn.next = NULL;
    }
}

/* Rows [row, row + n) of a box that turns; both are whole rows of its far axis. */
static void turn_box(const struct walk *w, uint64_t dst, uint64_t src, uint64_t row,
                     uint64_t n)
{
    const struct segue_box *box = &w->box;
    const struct segue_axis *near = &box->axis[box->near], *far = &box->far;
    uint64_t most = TILE / (far->count * box->row) + 1;
    while (n > 0) {
        uint64_t index[SEGUE_BOX_AXES], to = dst, from = src;
        find_row(box, row, index, &to, &from);
        uint64_t some = near->count - index[box->near];
        some = some < most ? some : most;
        some = some < n / far->count ? some : n / far->count;
        struct segue_turn turn = {.dst = w->dst + to,
                                  .src = w->src + from,
                                  .run = box->run,
                                  .lead = box->lead.count,
                                  .lead_src = box->lead.src,
                                  .near = some,
                                  .near_src = near->src,
                                  .far = far->count,
                                  .far_src = far->src,
                                  .far_dst = far->dst,
                                  .fetch = box->run * box->split.count};
        row += some * far->count;
        n -= some * far->count;
        if (n == 0)
            turn.next = w->next;
        else if (index[box->near] + some < near->count)
            turn.next = turn.src + some * near->src;
        turn_tile(w, turn);
    }
}

/* The next bytes of one row that is too long to be copied at once. */
static void copy_part(const struct walk *w, uint64_t dst, uint64_t src,
                      const struct segue_relayout_at *at, uint64_t len)
{
    uint64_t index[SEGUE_BOX_AXES];
    find_row(&w->box, at->row, index, &dst, &src);
    struct segue_rows rows = {.dst = w->dst + dst + segue_move_scale(w->move, at->byte),
                              .src = w->src + src + at->byte,
                              .run = len,
                              .n = 1};
    copy_rows(w, &rows);
}

/* Where the box of this outer index and span begins, from the move's own origin. */
static void find_box(const struct walk *w, const struct segue_relayout_at *at,
                     uint64_t *dst, uint64_t *src)
{
    const struct segue_move *move = w->move;
    struct segue_span now = segue_span_at(&w->r->transfer->spans[at->span], at->time);
    const struct segue_span *span = &now;
    *src = span->src_block * move->src_block + span->src_token * move->src_token;
    *dst = span->dst_block * move->dst_block + span->dst_token * move->dst_token;
    uint64_t outer = at->outer;
    for (unsigned d = move->outer; d-- > 0; outer /= move->dim[d].count) {
        *src += outer % move->dim[d].count * move->dim[d].src;
        *dst += outer % move->dim[d].count * move->dim[d].dst;
    }
}

/* The span's next time, or the next span; false after the last. */
static bool step_span(const struct walk *w, struct segue_relayout_at *at)
{
    if (at->time++ < w->r->transfer->spans[at->span].more)
        return true;
    at->time = 0;
    return ++at->span < w->r->transfer->n_spans;
}

/* Where the span after this one is read, as long as the same outer index goes on. */
static const char *find_next(const struct walk *w, const struct segue_relayout_at *at)
{
    struct segue_relayout_at next = *at;
    if (!step_span(w, &next))
        return NULL;
    uint64_t dst, src;
    find_box(w, &next, &dst, &src);
    return w->src + src;
}

/* About `bytes` of what is left of one box; returns how much. */
static uint64_t work_box(struct walk *w, struct segue_relayout_at *at, uint64_t bytes,
                         bool copies)
{
    const struct segue_box *box = &w->box;
    uint64_t dst = 0, src = 0;
    if (copies) {
        find_box(w, at, &dst, &src);
        w->next = find_next(w, at);
    }
    if (box->run > PART) {
        uint64_t len = bytes > PART ? bytes & ~(PART - 1) : PART;
        if (len > box->run - at->byte)
            len = box->run - at->byte;
        if (copies)
            copy_part(w, dst, src, at, len);
        at->byte += len;
        if (at->byte == box->run) {
            at->byte = 0;
            at->row++;
        }
        return len;
    }
    uint64_t rows = bytes / box->row + (bytes % box->row != 0);
    if (rows > box->rows - at->row)
        rows = box->rows - at->row;
    if (box->turns) {
        uint64_t whole = box->far.count;
        rows = (rows + whole - 1) / whole * whole;
    }
    if (copies && box->turns)
        turn_box(w, dst, src, at->row, rows);
    else if (copies)
        copy_box(w, dst, src, at->row, rows);
    at->row += rows;
    return rows * box->row;
}

/* To the next box: the next span, then the next outer index; false: the move is done. */
static bool step_box(const struct walk *w, struct segue_relayout_at *at)
{
    at->row = 0;
    if (step_span(w, at))
        return true;
    at->span = 0;
    return ++at->outer < w->outer;
}

/* Works through the move the walk stands on; true when `bytes` ran out first. */
static bool work_move(struct walk *w, struct segue_relayout_at *at, uint64_t *bytes,
                      bool copies)
{
    do {
        uint32_t tokens = w->r->transfer->spans[at->span].tokens;
        if (tokens == 0)
            continue;
        if (tokens != w->box.tokens)
            segue_box_make(&w->box, w->move, tokens, w->r->stream);
        while (at->row < w->box.rows) {
            if (*bytes == 0)
                return true;
            uint64_t done = work_box(w, at, *bytes, copies);
            *bytes -= done < *bytes ? done : *bytes;
        }
    } while (step_box(w, at));
    return false;
}

static bool work(const struct segue_relayout *r, struct segue_relayout_at *at,
                 uint64_t bytes, bool copies)
{
    struct walk w = {.r = r, .ops = segue_rows_pick()};
    const struct segue_transfer *t = r->transfer;
    for (; at->move < t->n_moves && t->n_spans > 0; at->move++) {
        if (enter_move(&w, at->move, copies) && work_move(&w, at, &bytes, copies))
            return true;
        at->span = 0;
        at->time = 0;
        at->outer = at->row = 0;
    }
    return false;
}

bool segue_relayout_copy(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes)
{
    bool more = work(r, at, bytes, true);
    if (r->stream)
        segue_rows_pick()->fence();
    return more;
}

bool segue_relayout_skip(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes)
{
    return work(r, at, bytes, false);
}

bool segue_relayout_streams(uint64_t bytes)
{
    return bytes >= STREAM_BYTES;
}
