/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves x spans, a box at a time and within chunks of bytes.
 *
 * A chunk that is streamed is cut in SEGUE_STREAMS parts, each with a walk of its own, and
 * the rows they stand at are copied in turn (rows_vector.h says why):
 *
 *     chunk   |  box  |  box  |  box  |  box  |  box  |  box  |  box  |  box  |
 *     walk    0->             1 ->              2  ->             3   ->
 *
 * Each stands in another quarter of its box, as boxes begin on pages, and lines at one
 * place of several pages, written shortly after each other, wait for each other.
 */
#include "device/relayout.h"

#include <segue/layout.h>
#include <string.h>
#include "device/box.h"
#include "device/convert.h"
#include "device/rows.h"

/* Larger than the L2 of any core we know; the destination will not be found in a cache by
 * the time somebody reads it. */
#define STREAM_BYTES (UINT64_C(4) << 20)

/* Rows longer than this are copied in parts of whole pages, so that a chunk is never much
 * too large. */
#define PART (UINT64_C(64) << 10)
#define PAGE (UINT64_C(4) << 10)

/* Axes that change places are copied in tiles of about this size, so that what is read in
 * one order and written in another meets in a cache. */
#define TILE (UINT64_C(32) << 10)

/* Less is not worth parting. */
#define PARTED (UINT64_C(16) << 10)

/* Rows that are longer are streamed in pieces, so that walks take turns soon enough. */
#define PIECE 512

struct walk {
    const struct segue_relayout *r;
    const struct segue_rows_ops *ops;
    struct segue_relayout_at at;
    uint64_t bytes; /* that it may still take */
    /* The move it stands on, or NULL. */
    const struct segue_move *move;
    uint64_t
        outer; /* how many indices the outer dims have together; 0: nothing to copy */
    char *src, *dst;
    bool lines; /* the destination's addresses are whole lines */
    struct segue_box box;
    /* What it has taken and not handed out: rows [row, row + rows) of the box at `here`, or
     * bytes [byte, byte + len) of row `row`, which is a long one. */
    struct segue_relayout_at here;
    uint64_t row, rows, byte, len;
};

static struct walk walk_from(const struct segue_relayout *r, struct segue_relayout_at at,
                             uint64_t bytes)
{
    return (struct walk){
        .r = r, .ops = r->ops ? r->ops : segue_rows_pick(), .at = at, .bytes = bytes};
}

static char *reach(const struct segue_relayout *r, char *base)
{
    return r->reach ? r->reach(r->user, base) : base;
}

static void enter_move(struct walk *w)
{
    const struct segue_relayout *r = w->r;
    const struct segue_move *move = &r->transfer->moves[w->at.move];
    w->move = move;
    w->outer = move->run > 0;
    w->box.tokens = 0;
    w->src = reach(r, r->src[move->src_region].base) + move->src_offset;
    w->dst = reach(r, r->dst[move->dst_region].base) + move->dst_offset;
    uint64_t lies = (uintptr_t)w->dst | move->dst_block | move->dst_token;
    for (unsigned d = 0; d < move->dims; d++) {
        lies |= move->dim[d].dst;
        if (d < move->outer || move->dim[d].count == 0)
            w->outer *= move->dim[d].count;
    }
    w->lines = lies % SEGUE_LINE == 0;
}

/* The span's next time, or the next span; false after the last. */
static bool step_span(const struct walk *w, struct segue_relayout_at *at)
{
    if (at->time++ < w->r->transfer->spans[at->span].more)
        return true;
    at->time = 0;
    return ++at->span < w->r->transfer->n_spans;
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

/* Steps to where something is left to copy; false: nothing is. */
static bool settle(struct walk *w)
{
    const struct segue_transfer *t = w->r->transfer;
    while (w->at.move < t->n_moves && t->n_spans > 0) {
        if (w->move != &t->moves[w->at.move])
            enter_move(w);
        if (w->outer > 0)
            do {
                uint32_t tokens = t->spans[w->at.span].tokens;
                if (tokens == 0)
                    continue;
                if (tokens != w->box.tokens)
                    segue_box_make(&w->box, w->move, tokens, w->r->stream, w->lines);
                if (w->at.row < w->box.rows)
                    return true;
            } while (step_box(w, &w->at));
        w->at = (struct segue_relayout_at){.move = w->at.move + 1};
    }
    return false;
}

/* How many rows are never parted: where they change places, and where they are streamed,
 * so that walks stay in step. */
static uint64_t whole_rows(const struct walk *w)
{
    const struct segue_box *box = &w->box;
    if (box->turns)
        return box->far.count;
    return w->r->stream && box->n > 0 ? box->axis[box->n - 1].count : 1;
}

/* Takes about as many bytes as it may of the box it stands in, where settle() left it. */
static void take(struct walk *w)
{
    const struct segue_box *box = &w->box;
    struct segue_relayout_at *at = &w->at;
    uint64_t bytes = w->bytes;
    w->here = *at;
    w->row = at->row;
    w->rows = w->len = 0;
    if (box->run > PART) {
        uint64_t len = box->run - at->byte;
        uint64_t pages = bytes < len ? (bytes + PAGE - 1) & ~(PAGE - 1) : len;
        if (pages < len)
            len = pages;
        w->byte = at->byte;
        w->len = len;
        at->byte += len;
        if (at->byte == box->run) {
            at->byte = 0;
            at->row++;
        }
    } else {
        uint64_t rows = bytes / box->row + (bytes % box->row != 0);
        uint64_t whole = whole_rows(w); /* of which a box has no part */
        if (rows > box->rows - at->row)
            rows = box->rows - at->row;
        rows = (rows + whole - 1) / whole * whole;
        w->rows = rows;
        at->row += rows;
    }
    uint64_t taken = w->len + w->rows * box->row;
    w->bytes -= taken < bytes ? taken : bytes;
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
static void turn_box(struct walk *w)
{
    uint64_t dst, src, row = w->row, n = w->rows;
    find_box(w, &w->here, &dst, &src);
    const char *next = find_next(w, &w->here);
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
            turn.next = next;
        else if (index[box->near] + some < near->count)
            turn.next = turn.src + some * near->src;
        turn_tile(w, turn);
    }
}

static void convert_rows(const struct walk *w, const struct segue_rows *rows)
{
    const struct segue_move *move = w->move;
    for (uint64_t o = 0; o < rows->outer.count; o++)
        for (uint64_t i = 0; i < rows->inner.count; i++)
            segue_convert(w->ops, rows->dst + o * rows->outer.dst + i * rows->inner.dst,
                          move->to, rows->src + o * rows->outer.src + i * rows->inner.src,
                          move->from, rows->run / segue_dtype_size(move->from),
                          move->scale);
}

/* The next of what was taken, as many rows as have two axes at most. */
static struct segue_rows hand_out(struct walk *w)
{
    const struct segue_axis one = {1, 0, 0};
    const struct segue_box *box = &w->box;
    uint64_t index[SEGUE_BOX_AXES] = {0}, dst, src;
    find_box(w, &w->here, &dst, &src);
    find_row(box, w->row, index, &dst, &src);
    struct segue_rows rows = {.dst = w->dst + dst,
                              .src = w->src + src,
                              .run = box->run,
                              .inner = one,
                              .outer = one};
    if (w->len > 0) {
        rows.dst += segue_move_scale(w->move, w->byte);
        rows.src += w->byte;
        rows.run = w->len;
        w->len = 0;
        return rows;
    }
    /* Longer ones one by one: their ends are seen to apart. */
    if (box->n > 0 && !(w->r->stream && box->run > 2 * PIECE)) {
        rows.inner = box->axis[box->n - 1];
        rows.inner.count -= index[box->n - 1];
        if (rows.inner.count > w->rows)
            rows.inner.count = w->rows;
        if (box->n > 1 && rows.inner.count == box->axis[box->n - 1].count) {
            uint64_t n = w->rows / rows.inner.count;
            rows.outer = box->axis[box->n - 2];
            rows.outer.count -= index[box->n - 2];
            if (rows.outer.count > n)
                rows.outer.count = n;
        }
    }
    w->row += rows.inner.count * rows.outer.count;
    w->rows -= rows.inner.count * rows.outer.count;
    return rows;
}

/* Copies the ends of one long row that fill no piece, and leaves the pieces. */
static void trim(const struct walk *w, struct segue_rows *rows)
{
    uint64_t head = -(uintptr_t)rows->dst % SEGUE_LINE;
    uint64_t pieces = (rows->run - head) / PIECE, at = head + pieces * PIECE;
    struct segue_rows lines = *rows;
    lines.dst += at;
    lines.src += at;
    lines.run = (rows->run - at) / SEGUE_LINE * SEGUE_LINE;
    memcpy(rows->dst, rows->src, head);
    if (lines.run > 0)
        w->ops->stream(&lines, 1, 1, 1);
    at += lines.run;
    memcpy(rows->dst + at, rows->src + at, rows->run - at);
    rows->dst += head;
    rows->src += head;
    rows->run = PIECE;
    rows->inner = (struct segue_axis){pieces, PIECE, PIECE};
}

/* The next rows of the walk that are to be streamed; false: there are no more. What is not
 * to be streamed is copied on the way. */
static bool next_rows(struct walk *w, struct segue_rows *rows)
{
    for (;;) {
        if (w->rows == 0 && w->len == 0) {
            if (w->bytes == 0 || !settle(w))
                return false;
            take(w);
            if (w->box.turns) {
                turn_box(w);
                w->rows = 0;
                continue;
            }
        }
        *rows = hand_out(w);
        if (segue_move_converts(w->move)) {
            convert_rows(w, rows);
        } else if (w->r->stream && w->lines && rows->run <= 2 * PIECE &&
                   rows->run % SEGUE_LINE == 0) {
            return true;
        } else if (w->r->stream && rows->run > 2 * PIECE) {
            trim(w, rows);
            return true;
        } else {
            w->ops->copy(rows);
        }
    }
}

/* How many of their rows sets have in common; false: they are copied one by one. */
static bool in_step(const struct segue_rows *sets, unsigned n, uint64_t *inner,
                    uint64_t *outer)
{
    bool flat = true, even = true;
    *inner = *outer = UINT64_MAX;
    for (unsigned k = 0; k < n; k++) {
        if (sets[k].run != sets[0].run)
            return false;
        flat = flat && sets[k].outer.count == 1;
        even = even && sets[k].inner.count == sets[0].inner.count;
        *inner = sets[k].inner.count < *inner ? sets[k].inner.count : *inner;
        *outer = sets[k].outer.count < *outer ? sets[k].outer.count : *outer;
    }
    return flat || even;
}

/* Past what was copied; false: that was all. */
static bool step_rows(struct segue_rows *rows, uint64_t inner, uint64_t outer)
{
    struct segue_axis *axis = inner < rows->inner.count ? &rows->inner : &rows->outer;
    uint64_t n = inner < rows->inner.count ? inner : outer;
    rows->dst += n * axis->dst;
    rows->src += n * axis->src;
    axis->count -= n;
    return axis->count > 0;
}

static void run_walks(struct walk *walks, unsigned n)
{
    struct walk *left[SEGUE_STREAMS];
    struct segue_rows sets[SEGUE_STREAMS];
    unsigned running = 0;
    for (unsigned k = 0; k < n; k++) {
        left[running] = &walks[k];
        running += next_rows(&walks[k], &sets[running]);
    }
    while (running > 0) {
        uint64_t inner, outer;
        unsigned together = running;
        if (!in_step(sets, running, &inner, &outer)) {
            together = 1;
            inner = sets[0].inner.count;
            outer = sets[0].outer.count;
        }
        walks->ops->stream(sets, together, inner, outer);
        for (unsigned k = together; k-- > 0;) {
            if (step_rows(&sets[k], inner, outer) || next_rows(left[k], &sets[k]))
                continue;
            running--;
            sets[k] = sets[running];
            left[k] = left[running];
        }
    }
}

/* Steps over what the walk may take; false: nothing is left after it. */
static bool pass(struct walk *w)
{
    bool more;
    while ((more = settle(w)) && w->bytes > 0)
        take(w);
    return more;
}

/* Where part k of a chunk begins, so that each stands in another place of its box. */
static uint64_t part_start(const struct walk *w, uint64_t bytes, unsigned k)
{
    uint64_t box = w->box.rows * w->box.row, each = bytes / SEGUE_STREAMS;
    if (k == SEGUE_STREAMS)
        return bytes;
    if (box <= each)
        each = each / box * box + box / SEGUE_STREAMS;
    return k * each;
}

/* Cuts the next `bytes` into walks and moves `at` past them; whether any are left. */
static bool cut(const struct segue_relayout *r, struct segue_relayout_at *at,
                uint64_t bytes, struct walk *walks, unsigned *n)
{
    struct walk first = walk_from(r, *at, bytes);
    bool more = settle(&first);
    *n = more && r->stream && bytes >= PARTED ? SEGUE_STREAMS : 1;
    for (unsigned k = 0; k < *n; k++) {
        uint64_t part = *n == 1 ? bytes
                                : part_start(&first, bytes, k + 1) -
                                      part_start(&first, bytes, k);
        walks[k] = walk_from(r, *at, part);
        struct walk past = walks[k];
        more = pass(&past);
        *at = past.at;
    }
    return more;
}

bool segue_relayout_copy(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes)
{
    struct walk walks[SEGUE_STREAMS];
    unsigned n;
    bool more = cut(r, at, bytes, walks, &n);
    run_walks(walks, n);
    if (r->stream)
        walks->ops->fence();
    return more;
}

bool segue_relayout_skip(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes)
{
    struct walk walks[SEGUE_STREAMS];
    unsigned n;
    return cut(r, at, bytes, walks, &n);
}

bool segue_relayout_streams(uint64_t bytes)
{
    return bytes >= STREAM_BYTES;
}
