/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a copy is: moves x spans. The planner makes the moves once for two layouts
 * (O(layers) of them); a hand-off binds them to its blocks with one array of spans shared
 * by all its moves. Whoever copies does, for every move,
 *
 *     for each index of dim[0] .. dim[outer - 1], outermost first
 *         for each span, `more` + 1 times, a step further on each time
 *             for each index of dim[outer] .. dim[dims - 1]
 *                 for each token t of the span
 *                     src = src_offset + sum(index * dim.src)
 *                         + span.src_block * src_block + (span.src_token + t) * src_token
 *                     dst = the same with the dst fields
 *                     copy `run` bytes from region[src_region].base + src
 *                                        to region[dst_region].base + dst
 *
 * in any order it likes. A byte stream (segue_cursor) takes exactly the order written
 * here, so two sides that hold the same moves, and spans that say the same token counts in
 * turn, agree on the order of the bytes whatever their block ids. Nothing here is checked:
 * segue_transfer_check() proves once that no index leaves its region, and only then may
 * bytes move.
 */
#ifndef BASE_MOVE_H
#define BASE_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <segue/status.h>

#define SEGUE_MOVE_DIMS 4

struct segue_dim {
    uint32_t count;
    uint64_t src, dst; /* bytes from one index to the next on each side */
};

struct segue_move {
    uint32_t src_region, dst_region; /* indices into the copy's two tables of regions */
    uint64_t src_offset, dst_offset; /* bytes to (block 0, token 0, all dims 0) */
    uint64_t src_block, dst_block;   /* bytes from one block to the next */
    uint64_t src_token, dst_token;   /* bytes from one token of a block to the next */
    uint32_t
        run; /* contiguous source bytes; at the destination scaled by the conversion */
    uint8_t from, to; /* enum segue_dtype of each side */
    float scale;      /* each element is multiplied by it on its way; 0: it is not. Equal
                         types without a scale are copied as bytes */
    uint8_t dims;     /* how many of dim[] are used */
    uint8_t outer;    /* how many of those go around the spans: the ones that step further
                      than a block */
    struct segue_dim dim[SEGUE_MOVE_DIMS];
};

/* A stretch of tokens whose places step by one token stride on each side, and as many more
 * of its length as follow at even steps: consecutive blocks are one span. */
struct segue_span {
    uint32_t src_block, src_token, dst_block, dst_token, tokens;
    uint32_t more; /* how many times again; each time the steps are added */
    uint32_t src_block_step, src_token_step, dst_block_step, dst_token_step;
};

/* What: the n-th time of a span, n <= more, alone. Pure. */
static inline struct segue_span segue_span_at(const struct segue_span *span, uint32_t n)
{
    return (struct segue_span){.src_block = span->src_block + n * span->src_block_step,
                               .src_token = span->src_token + n * span->src_token_step,
                               .dst_block = span->dst_block + n * span->dst_block_step,
                               .dst_token = span->dst_token + n * span->dst_token_step,
                               .tokens = span->tokens};
}

/* One side's memory, by region index. `base` is an address the copying device reaches. */
struct segue_extent {
    char *base;
    uint64_t len; /* bytes */
};

/* A whole copy: borrowed by whoever carries it out until it is done. */
struct segue_transfer {
    const struct segue_move *moves;
    size_t n_moves;
    const struct segue_span *spans;
    size_t n_spans;
};

/* What: whether every byte of `t` lies inside its regions (lengths only, bases are not
 * read). Any overflow is outside. Returns E_RANGE with a sentence naming the move, the
 * side and the numbers. Pure. */
enum segue_status segue_transfer_check(const struct segue_transfer *t,
                                       const struct segue_extent *src, size_t n_src,
                                       const struct segue_extent *dst, size_t n_dst);

/* What: source bytes the transfer carries; UINT64_MAX when there are more than that can
 * say. Pure. */
uint64_t segue_transfer_bytes(const struct segue_transfer *t);

/* What: how many bytes `bytes` of the source are at the destination. Pure. */
uint64_t segue_move_scale(const struct segue_move *move, uint64_t bytes);

/* What: whether a move, or any of a transfer, changes its elements, so that the two sides
 * differ in bytes. Pure. */
static inline bool segue_move_converts(const struct segue_move *move)
{
    return move->from != move->to || move->scale != 0;
}
bool segue_transfer_converts(const struct segue_transfer *t);

/* One contiguous piece on both sides. */
struct segue_piece {
    uint32_t src_region, dst_region;
    uint64_t src_offset, dst_offset;
    uint64_t len; /* bytes; equal on both sides, as a cursor never converts */
};

/* Walks a transfer in stream order and yields contiguous pieces, as long as they get
 * (consecutive tokens, dims, spans and moves are merged). Only for transfers that do not
 * convert. */
struct segue_cursor {
    const struct segue_transfer *t;
    size_t move, span;
    uint32_t index[SEGUE_MOVE_DIMS], time, token;
    struct segue_piece held; /* not yet handed out; len 0: nothing */
};

void segue_cursor_init(struct segue_cursor *c, const struct segue_transfer *t);

/* What: the next piece of at most `max` bytes (0: no limit; a longer piece is handed out
 * in parts). false at the end. */
bool segue_cursor_next(struct segue_cursor *c, uint64_t max, struct segue_piece *piece);

#endif
