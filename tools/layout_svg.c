/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture of `segue layout`: both sides' memory in miniature, every cell where it lies.
 *
 * A miniature is the same order of axes with few tokens, heads and layers, so where two
 * cells touch there, two runs of bytes touch in the real cache. Memory is read left to
 * right, then down; frames are the axes outside the two innermost. The colour is the head,
 * darker with every token; V is paler than K.
 */
#include "layout.h"
#include "layout_mini.h"

#include <stdlib.h>
#include <string.h>

enum { CELL_W = 30, CELL_H = 20, PAD = 6, LABEL = 15, NAME = 62, GAP = 10, PANEL = 560 };

struct size {
    int w, h;
};

struct drawing {
    FILE *out;
    const struct mini *mini;
    const struct mini_side *side;
    const struct mini_rank *rank;
    const struct mini_piece *piece; /* outlined; NULL: none */
    bool source;
    int at_x, at_y; /* where the piece's last (source) or first cell is */
};

/* ---- how large ---- */

/* A box around what is inside, wide enough for its name. */
static struct size frame(struct size inside)
{
    int w = inside.w + 2 * PAD;
    return (struct size){w < NAME ? NAME : w, inside.h + 2 * PAD + LABEL};
}

static struct size measure(const struct mini_side *side, unsigned axis)
{
    unsigned left = side->n - axis;
    if (left <= 2) {
        int cols = (int)mini_count(side, side->n - 1);
        int rows = left == 2 ? (int)mini_count(side, side->n - 2) : 1;
        return (struct size){cols * CELL_W, rows * CELL_H};
    }
    struct size inner = measure(side, axis + 1), all = {0, 0};
    inner = frame(inner);
    int per_line = (PANEL + GAP) / (inner.w + GAP), n = (int)mini_count(side, axis);
    per_line = per_line < 1 ? 1 : per_line > n ? n : per_line;
    all.w = per_line * (inner.w + GAP) - GAP;
    all.h = (n + per_line - 1) / per_line * (inner.h + GAP) - GAP;
    return all;
}

/* ---- cells ---- */

static void colour(FILE *out, uint32_t head, uint32_t heads, uint32_t token,
                   uint32_t tokens, bool v)
{
    static const int hues[] = {210, 28, 145, 340, 265, 55, 185, 0};
    (void)heads;
    int light = 80 - (int)(34 * token / (tokens > 1 ? tokens - 1 : 1));
    fprintf(out, "hsl(%d,%d%%,%d%%)", hues[head % 8], v ? 45 : 68,
            v ? light + (96 - light) / 2 : light);
}

static void cell_part(struct drawing *d, const struct mini_cell *c, int x, int y, int w,
                      bool v)
{
    fprintf(d->out, "<rect x='%d' y='%d' width='%d' height='%d' fill='", x, y, w, CELL_H);
    colour(d->out, c->head, d->mini->heads, c->token, d->mini->tokens, v);
    fprintf(d->out, "'/>");
}

static void cell(struct drawing *d, const struct mini_cell *c, int x, int y)
{
    if (c->token >= d->mini->tokens) { /* room that this hand-off does not use */
        fprintf(d->out, "<rect x='%d' y='%d' width='%d' height='%d' fill='#f4f4f2'/>\n",
                x, y, CELL_W, CELL_H);
        return;
    }
    if (d->side->both) {
        cell_part(d, c, x, y, CELL_W / 2, false);
        cell_part(d, c, x + CELL_W / 2, y, CELL_W / 2, true);
    } else {
        cell_part(d, c, x, y, CELL_W, c->v);
    }
    fprintf(d->out, "<text x='%d' y='%d' class='n'>%u</text>\n", x + CELL_W / 2,
            y + CELL_H / 2 + 4, c->token);
    if (d->piece && mini_piece_has(d->piece, d->rank, c, d->source)) {
        if (d->source || d->at_x < 0) {
            d->at_x = d->source ? x + (d->side->both && d->piece->parts == 1 ? CELL_W / 2
                                                                             : CELL_W)
                                : x;
            d->at_y = y + CELL_H / 2;
        }
    }
}

/* The outline of a cell of the piece, over everything else. */
static void outline(struct drawing *d, const struct mini_cell *c, int x, int y)
{
    if (!d->piece || !mini_piece_has(d->piece, d->rank, c, d->source))
        return;
    int w = d->side->both && d->piece->parts == 1 ? CELL_W / 2 : CELL_W;
    fprintf(d->out, "<rect x='%d' y='%d' width='%d' height='%d' class='piece'/>\n", x, y,
            w, CELL_H);
}

static void grid(struct drawing *d, struct mini_cell at, unsigned axis, int x, int y)
{
    const struct mini_side *side = d->side;
    bool rows = side->n - axis == 2;
    for (int over = 0; over < 2; over++)
        for (uint32_t r = 0; r < (rows ? mini_count(side, axis) : 1); r++)
            for (uint32_t c = 0; c < mini_count(side, side->n - 1); c++) {
                if (rows)
                    mini_set(side, &at, axis, r);
                mini_set(side, &at, side->n - 1, c);
                struct mini_cell seen = mini_seen(d->rank, side, &at);
                (over ? outline : cell)(d, &seen, x + (int)c * CELL_W,
                                        y + (int)r * CELL_H);
            }
}

static void boxes(struct drawing *d, struct mini_cell at, unsigned axis, int x, int y)
{
    const struct mini_side *side = d->side;
    if (side->n - axis <= 2) {
        grid(d, at, axis, x, y);
        return;
    }
    struct size inner = frame(measure(side, axis + 1)), all = measure(side, axis);
    int left = x;
    for (uint32_t i = 0; i < mini_count(side, axis); i++) {
        if (i > 0 && left + inner.w > x + all.w) {
            left = x;
            y += inner.h + GAP;
        }
        char name[32];
        mini_set(side, &at, axis, i);
        mini_name(side, d->rank, axis, i, name);
        fprintf(d->out,
                "<rect x='%d' y='%d' width='%d' height='%d' rx='4' class='box'/>"
                "<text x='%d' y='%d' class='l'>%s</text>\n",
                left, y, inner.w, inner.h, left + PAD, y + LABEL - 2, name);
        boxes(d, at, axis + 1, left + PAD, y + PAD + LABEL);
        left += inner.w + GAP;
    }
}

/* ---- the page ---- */

static void head(FILE *out, int w, int h, const struct layout_side *from,
                 const struct layout_side *to)
{
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
            "viewBox='0 0 %d %d' font-family='DejaVu Sans,Helvetica,Arial,sans-serif'>\n"
            "<style>.n{font-size:11px;text-anchor:middle;fill:#1d2330}"
            ".l{font-size:11px;fill:#6b7280}.t{font-size:15px;font-weight:bold;"
            "fill:#1d2330}.s{font-size:12px;fill:#4b5563}"
            ".box{fill:none;stroke:#c9ccd3}.rank{fill:#fcfcfb;stroke:#9aa0ab}"
            ".piece{fill:none;stroke:#111827;stroke-width:2.2}"
            ".halo{fill:none;stroke:white;stroke-width:6;opacity:.8}"
            ".way{fill:none;stroke:#111827;stroke-width:2.2}</style>\n"
            "<title>%s, blocks of %u, TP %u to %s, blocks of %u, TP %u</title>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n"
            "<defs><marker id='a' markerWidth='9' markerHeight='9' refX='8' refY='4' "
            "orient='auto'><path d='M0,0 L9,4 L0,8 z' fill='#111827'/></marker></defs>\n",
            w, h, w, h, from->order, from->block, from->tp, to->order, to->block, to->tp);
}

static void side_title(FILE *out, const char *what, const struct layout_side *s, int x)
{
    fprintf(out,
            "<text x='%d' y='30' class='t'>%s: %s</text><text x='%d' y='48' class='s'>"
            "blocks of %u tokens, TP %u, %s</text>\n",
            x, what, layout_side_name(s), x, s->block, s->tp, segue_dtype_name(s->dtype));
}

static int panel(struct drawing *d, int x, int y, int w)
{
    struct size all = measure(d->side, 0);
    int h = all.h + 2 * PAD + LABEL + 4;
    char name[64];
    mini_rank_name(d->mini, d->side, d->rank, name);
    fprintf(d->out,
            "<rect x='%d' y='%d' width='%d' height='%d' rx='6' class='rank'/>"
            "<text x='%d' y='%d' class='l'>%s</text>\n",
            x, y, w, h, x + PAD + 2, y + LABEL, name);
    boxes(d, (struct mini_cell){0}, 0, x + PAD, y + PAD + LABEL);
    return h;
}

static int panels(FILE *out, const struct mini *mini, const struct mini_side *side,
                  const struct mini_piece *piece, bool source, int x, int w, int *px,
                  int *py)
{
    int y = 64;
    for (uint32_t r = 0; r < side->ranks; r++) {
        struct drawing d = {out, mini, side, &side->rank[r], piece, source, -1, -1};
        y += panel(&d, x, y, w) + GAP;
        if (d.at_x >= 0 && *px < 0) {
            *px = d.at_x;
            *py = d.at_y;
        }
    }
    return y;
}

static int height(const struct mini_side *side)
{
    return (int)side->ranks * (measure(side, 0).h + 2 * PAD + LABEL + 4 + GAP);
}

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

static void foot(FILE *out, const struct mini *mini, int y)
{
    fprintf(out, "<text x='20' y='%d' class='s'>%s</text>\n", y, mini->says);
    fprintf(out,
            "<text x='20' y='%d' class='s'>Colour: the head. Darker: later tokens, which "
            "the numbers count. Paler: V. Outlined: what one piece carries.</text>\n",
            y + 18);
}

enum segue_status layout_svg(FILE *out, const struct layout_side *from,
                             const struct layout_side *to)
{
    struct mini mini;
    enum segue_status status = mini_make(&mini, from, to);
    if (status < 0)
        return status;
    int left_w = at_least(measure(&mini.from, 0).w + 2 * PAD, 250);
    int right_w = at_least(measure(&mini.to, 0).w + 2 * PAD, 250);
    int right_x = 20 + left_w + 110;
    int w = at_least(right_x + right_w + 20, 780);
    int h = 64 + at_least(height(&mini.from), height(&mini.to)) + 54;
    int ax = -1, ay = -1, bx = -1, by = -1;
    head(out, w, h, from, to);
    side_title(out, "from", from, 20);
    side_title(out, "to", to, right_x);
    panels(out, &mini, &mini.from, &mini.piece, true, 20, left_w, &ax, &ay);
    panels(out, &mini, &mini.to, &mini.piece, false, right_x, right_w, &bx, &by);
    for (int over = 0; over < 2 && ax >= 0 && bx >= 0; over++)
        fprintf(out, "<path d='M%d,%d C%d,%d %d,%d %d,%d' class='%s'/>\n", ax, ay,
                ax + 90, ay, bx - 90, by, bx - (over ? 2 : 9), by,
                over ? "way' marker-end='url(#a)" : "halo");
    foot(out, &mini, h - 34);
    fprintf(out, "</svg>\n");
    return SEGUE_OK;
}
