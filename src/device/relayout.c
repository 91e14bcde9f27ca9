/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves x spans as boxes: one span of one move is a box of rows with at most five axes.
 * What is contiguous on both sides becomes the row, the axes left are walked in the
 * source's order.
 */
#include "device/relayout.h"

#include <segue/layout.h>
#include "device/rows.h"

/* Larger than the L2 of any core we know; the destination will not be found in a cache by
 * the time somebody reads it. */
#define STREAM_BYTES (UINT64_C(4) << 20)

/* Rows longer than this are copied in parts, so that a chunk is never much too large. */
#define PART (UINT64_C(64) << 10)

/* Two axes that change places are copied in tiles of this size, so that what is read in
 * one order and written in another meets in a cache. Longer rows need no tiles. */
#define TILE     (UINT64_C(32) << 10)
#define TILE_RUN 1024

struct axis {
    uint64_t count, src, dst;
};

#define BOX_AXES (SEGUE_MOVE_DIMS + 1)

struct box {
    struct axis axis[BOX_AXES]; /* outermost first */
    unsigned n;
    uint64_t run, dst_run; /* bytes of a row on each side */
    uint64_t rows;
    uint32_t tokens; /* of the span it was made for */
    bool turns;      /* the two innermost axes change places */
};

/* One walk: what does not change while it runs. */
struct walk {
    const struct segue_relayout *r;
    const struct segue_rows_ops *ops;
    const struct segue_move *move;
    uint64_t outer; /* how many indices the outer dims have together */
    char *src, *dst;
    const char *next; /* where the box after this one is read, or NULL */
    struct box box;
};

static void drop_axis(struct box *box, unsigned i)
{
    for (box->n--; i < box->n; i++)
        box->axis[i] = box->axis[i + 1];
}

/* One axis less, or false. */
static bool fold_axis(struct box *box)
{
    for (unsigned i = 0; i < box->n; i++) {
        struct axis axis = box->axis[i];
        if (axis.count == 1) {
            drop_axis(box, i);
            return true;
        }
        if (axis.src == box->run && axis.dst == box->dst_run) {
            box->run *= axis.count;
            box->dst_run *= axis.count;
            drop_axis(box, i);
            return true;
        }
        struct axis *inner = &box->axis[i + 1];
        if (i + 1 < box->n && axis.src == inner->src * inner->count &&
            axis.dst == inner->dst * inner->count) {
            inner->count *= axis.count;
            drop_axis(box, i);
            return true;
        }
    }
    return false;
}

static void add_axis(struct box *box, struct axis axis)
{
    unsigned at = box->n++;
    for (; at > 0 && box->axis[at - 1].src < axis.src; at--)
        box->axis[at] = box->axis[at - 1];
    box->axis[at] = axis;
}

/* Destination bytes of so many source bytes. */
static uint64_t scale(const struct segue_move *move, uint64_t bytes)
{
    if (move->from == move->to)
        return bytes;
    return bytes / segue_dtype_size(move->from) * segue_dtype_size(move->to);
}

static void make_box(struct box *box, const struct segue_move *move, uint32_t tokens)
{
    *box = (struct box){
        .run = move->run, .dst_run = scale(move, move->run), .tokens = tokens};
    for (unsigned d = move->outer; d < move->dims; d++)
        add_axis(box,
                 (struct axis){move->dim[d].count, move->dim[d].src, move->dim[d].dst});
    add_axis(box, (struct axis){tokens, move->src_token, move->dst_token});
    while (fold_axis(box))
        ;
    box->rows = 1;
    for (unsigned i = 0; i < box->n; i++)
        box->rows *= box->axis[i].count;
    box->turns = box->n >= 2 && box->axis[box->n - 2].dst == box->run &&
                 move->from == move->to && box->run <= TILE_RUN;
}

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
    if (move->from == move->to) {
        if (w->r->stream)
            w->ops->stream(rows);
        else
            w->ops->copy(rows);
        return;
    }
    for (uint64_t i = 0; i < rows->n; i++)
        segue_rows_convert(w->ops, rows->dst + i * rows->dst_step, move->to,
                           rows->src + i * rows->src_step, move->from,
                           rows->run / segue_dtype_size(move->from));
}

/* Adds where a row of the box lies and says its index on every axis. */
static void find_row(const struct box *box, uint64_t row, uint64_t *index, uint64_t *dst,
                     uint64_t *src)
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
    const struct box *box = &w->box;
    uint64_t index[BOX_AXES];
    find_row(box, row, index, &dst, &src);
    const struct axis one = {1, 0, 0};
    const struct axis *inner = box->n > 0 ? &box->axis[box->n - 1] : &one;
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

/* Rows [row, row + n) of a box that turns; both are whole rows of its last axis. */
static void turn_box(const struct walk *w, uint64_t dst, uint64_t src, uint64_t row,
                     uint64_t n)
{
    const struct box *box = &w->box;
    const struct axis *far = &box->axis[box->n - 1], *near = &box->axis[box->n - 2];
    uint64_t most = TILE / (far->count * box->run);
    if (most == 0)
        most = 1;
    while (n > 0) {
        uint64_t index[BOX_AXES], to = dst, from = src;
        find_row(box, row, index, &to, &from);
        uint64_t some = near->count - index[box->n - 2];
        some = some < most ? some : most;
        some = some < n / far->count ? some : n / far->count;
        struct segue_turn turn = {.dst = w->dst + to,
                                  .src = w->src + from,
                                  .run = box->run,
                                  .near = some,
                                  .near_src = near->src,
                                  .far = far->count,
                                  .far_src = far->src,
                                  .far_dst = far->dst};
        row += some * far->count;
        n -= some * far->count;
        if (n == 0)
            turn.next = w->next;
        else if (index[box->n - 2] + some < near->count)
            turn.next = turn.src + some * near->src;
        w->ops->turn(&turn);
    }
}

/* The next bytes of one row that is too long to be copied at once. */
static void copy_part(const struct walk *w, uint64_t dst, uint64_t src,
                      const struct segue_relayout_at *at, uint64_t len)
{
    uint64_t index[BOX_AXES];
    find_row(&w->box, at->row, index, &dst, &src);
    struct segue_rows rows = {.dst = w->dst + dst + scale(w->move, at->byte),
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
    const struct segue_span *span = &w->r->transfer->spans[at->span];
    *src = span->src_block * move->src_block + span->src_token * move->src_token;
    *dst = span->dst_block * move->dst_block + span->dst_token * move->dst_token;
    uint64_t outer = at->outer;
    for (unsigned d = move->outer; d-- > 0; outer /= move->dim[d].count) {
        *src += outer % move->dim[d].count * move->dim[d].src;
        *dst += outer % move->dim[d].count * move->dim[d].dst;
    }
}

/* Where the span after this one is read, as long as the same outer index goes on. */
static const char *find_next(const struct walk *w, const struct segue_relayout_at *at)
{
    struct segue_relayout_at next = *at;
    if (++next.span == w->r->transfer->n_spans)
        return NULL;
    uint64_t dst, src;
    find_box(w, &next, &dst, &src);
    return w->src + src;
}

/* About `bytes` of what is left of one box; returns how much. */
static uint64_t work_box(struct walk *w, struct segue_relayout_at *at, uint64_t bytes,
                         bool copies)
{
    const struct box *box = &w->box;
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
    uint64_t rows = bytes / box->run + (bytes % box->run != 0);
    if (rows > box->rows - at->row)
        rows = box->rows - at->row;
    bool turns = w->r->stream && box->turns;
    if (turns) {
        uint64_t whole = box->axis[box->n - 1].count;
        rows = (rows + whole - 1) / whole * whole;
    }
    if (copies && turns)
        turn_box(w, dst, src, at->row, rows);
    else if (copies)
        copy_box(w, dst, src, at->row, rows);
    at->row += rows;
    return rows * box->run;
}

/* To the next box: the next span, then the next outer index; false: the move is done. */
static bool step_box(const struct walk *w, struct segue_relayout_at *at)
{
    at->row = 0;
    if (++at->span < w->r->transfer->n_spans)
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
            make_box(&w->box, w->move, tokens);
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
