/* SPDX-License-Identifier: Apache-2.0 */
/* Two layouts in miniature: the same orders of axes with few cells, and what of them one
 * piece of the plan carries. */
#ifndef TOOLS_LAYOUT_MINI_H
#define TOOLS_LAYOUT_MINI_H

#include "layout.h"

enum { MINI_RANKS = 8 };

/* One cell: indices on all axes. From mini_seen: of the model and the prompt. */
struct mini_cell {
    uint32_t layer, block, head, token;
    bool v;
};

struct mini_rank {
    uint32_t number;
    uint32_t head_first, heads; /* of the miniature's heads */
};

struct mini_side {
    const struct layout_side *real;
    char axis[6]; /* letters outermost first, with 2 where K and V are apart */
    unsigned n;
    uint32_t layers, blocks, block_tokens, heads; /* heads a rank */
    bool both;                                    /* a cell is K and V side by side */
    uint32_t ranks;                               /* drawn, at most MINI_RANKS */
    struct mini_rank rank[MINI_RANKS];
};

/* Cells that are contiguous on both sides: those of `rank` on either side between two
 * places in its memory. */
struct mini_piece {
    const struct mini_rank *src, *dst;
    struct mini_cell first; /* as seen */
    uint32_t tokens, heads; /* it is this box of tokens and heads ... */
    uint32_t parts;         /* ... of K and V (2), or of one of them */
};

struct mini {
    struct mini_side from, to;
    uint32_t layers, heads, tokens;
    struct mini_piece piece;
    char says[400];
};

/* What: E_MISMATCH and the like as the planner says. */
enum segue_status mini_make(struct mini *mini, const struct layout_side *from,
                            const struct layout_side *to);

uint32_t mini_count(const struct mini_side *side, unsigned axis);
void mini_set(const struct mini_side *side, struct mini_cell *cell, unsigned axis,
              uint32_t index);
void mini_name(const struct mini_side *side, const struct mini_rank *rank, unsigned axis,
               uint32_t index, char out[32]);
void mini_rank_name(const struct mini *mini, const struct mini_side *side,
                    const struct mini_rank *rank, char out[64]);

/* What: a rank's cell as model and prompt count it: its head, and the token of the prompt
 * (blocks in order). */
struct mini_cell mini_seen(const struct mini_rank *rank, const struct mini_side *side,
                           const struct mini_cell *cell);

bool mini_piece_has(const struct mini_piece *piece, const struct mini_rank *rank,
                    const struct mini_cell *seen, bool source);

#endif
