/* SPDX-License-Identifier: Apache-2.0 */
/* How small a miniature is, and which of its cells one piece carries. */
#include "layout_mini.h"

#include <inttypes.h>
#include <string.h>

enum { TOKENS_MOST = 16, HEADS_WISH = 4, HEADS_MOST = 8 };

/* ---- axes ---- */

uint32_t mini_count(const struct mini_side *side, unsigned axis)
{
    switch (side->axis[axis]) {
    case 'L':
        return side->layers;
    case 'B':
        return side->blocks;
    case 'H':
        return side->heads;
    case 'N':
        return side->block_tokens;
    default:
        return 2;
    }
}

void mini_set(const struct mini_side *side, struct mini_cell *cell, unsigned axis,
              uint32_t index)
{
    switch (side->axis[axis]) {
    case 'L':
        cell->layer = index;
        break;
    case 'B':
        cell->block = index;
        break;
    case 'H':
        cell->head = index;
        break;
    case 'N':
        cell->token = index;
        break;
    default:
        cell->v = index == 1;
    }
}

void mini_name(const struct mini_side *side, const struct mini_rank *rank, unsigned axis,
               uint32_t index, char out[32])
{
    switch (side->axis[axis]) {
    case 'L':
        snprintf(out, 32, "layer %u", index);
        break;
    case 'B':
        snprintf(out, 32, "block %u", index);
        break;
    case 'H':
        snprintf(out, 32, "head %u", rank->head_first + index);
        break;
    case 'N':
        snprintf(out, 32, "token %u", index);
        break;
    default:
        snprintf(out, 32, "%s", index ? "V" : "K");
    }
}

void mini_rank_name(const struct mini *mini, const struct mini_side *side,
                    const struct mini_rank *rank, char out[64])
{
    if (side->real->tp == 1)
        snprintf(out, 64, "one rank, all heads");
    else if (rank->heads == 1)
        snprintf(out, 64, "rank %u, head %u", rank->number, rank->head_first);
    else
        snprintf(out, 64, "rank %u, heads %u to %u", rank->number, rank->head_first,
                 rank->head_first + rank->heads - 1);
}

struct mini_cell mini_seen(const struct mini_rank *rank, const struct mini_side *side,
                           const struct mini_cell *cell)
{
    struct mini_cell seen = *cell;
    seen.head += rank->head_first;
    seen.token += cell->block * side->block_tokens;
    return seen;
}

/* ---- sizes ---- */

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Heads such that every rank has whole ones, and an order of heads shows. */
static uint32_t mini_heads(const struct layout_side *from, const struct layout_side *to)
{
    uint32_t a = smaller(from->tp, from->heads), b = smaller(to->tp, to->heads);
    uint32_t both = a / layout_gcd(a, b) * b, heads = both;
    while (heads < smaller(HEADS_WISH, from->heads) && from->heads % (heads + both) == 0)
        heads += both;
    return smaller(heads, HEADS_MOST);
}

/* Tokens a block of both sides in the right proportion, if that is small enough. */
static void mini_blocks(struct mini *mini)
{
    uint32_t a = mini->from.real->block, b = mini->to.real->block;
    uint32_t gcd = layout_gcd(a, b), larger = a > b ? a : b;
    uint32_t unit = gcd;
    if (larger / unit * 2 <= TOKENS_MOST && gcd > 1)
        unit = gcd / (gcd % 2 == 0 ? 2 : 1); /* a block of one token shows no order */
    if (larger / unit > TOKENS_MOST)
        unit = larger / TOKENS_MOST;
    mini->from.block_tokens = a / unit > 0 ? a / unit : 1;
    mini->to.block_tokens = b / unit > 0 ? b / unit : 1;
    a = mini->from.block_tokens;
    b = mini->to.block_tokens;
    uint64_t cycle = (uint64_t)a / layout_gcd(a, b) * b;
    mini->tokens = a > b ? a : b;
    if (mini->tokens < cycle && cycle <= TOKENS_MOST)
        mini->tokens = (uint32_t)cycle;
    if (mini->tokens < 8 && mini->tokens * 2 <= 8)
        mini->tokens *= 2;
    mini->from.blocks = (mini->tokens + a - 1) / a;
    mini->to.blocks = (mini->tokens + b - 1) / b;
}

static void mini_axes(struct mini_side *side)
{
    side->both = side->real->vdim > 0 && !strchr(side->real->order, '2');
    for (const char *p = side->real->order; *p && *p != 'C'; p++)
        if ((*p != '2' || side->real->vdim > 0) && (*p != 'L' || side->layers > 1))
            side->axis[side->n++] = *p;
}

static enum segue_status mini_ranks(struct mini *mini, struct mini_side *side)
{
    uint32_t tp = side->real->tp, own = smaller(tp, side->real->heads);
    side->heads = mini->heads / own > 0 ? mini->heads / own : 1;
    side->ranks = smaller(tp, MINI_RANKS);
    for (uint32_t r = 0; r < side->ranks; r++) {
        side->rank[r].number = r;
        enum segue_status status = segue_plan_heads(
            mini->heads, r, tp, &side->rank[r].head_first, &side->rank[r].heads);
        if (status < 0)
            return status;
    }
    return SEGUE_OK;
}

/* ---- the piece ---- */

static uint64_t place(const struct mini_side *side, const struct mini_rank *rank,
                      const struct mini_cell *seen)
{
    uint64_t at = 0;
    for (unsigned i = 0; i < side->n; i++) {
        uint32_t index = side->axis[i] == 'L'   ? seen->layer
                         : side->axis[i] == 'B' ? seen->token / side->block_tokens
                         : side->axis[i] == 'H' ? seen->head - rank->head_first
                         : side->axis[i] == 'N' ? seen->token % side->block_tokens
                                                : seen->v;
        at = at * mini_count(side, i) + index;
    }
    return side->both ? 2 * at + seen->v : at;
}

/* Whether `b` follows `a` by `n` cells on both sides. */
static bool follows(const struct mini *mini, const struct mini_piece *p,
                    const struct mini_cell *b, uint64_t n)
{
    return place(&mini->from, p->src, b) == place(&mini->from, p->src, &p->first) + n &&
           place(&mini->to, p->dst, b) == place(&mini->to, p->dst, &p->first) + n;
}

/* Whether a box of tokens x heads x parts from p->first on is one stretch on both sides. */
static bool one_stretch(const struct mini *mini, const struct mini_piece *p,
                        uint32_t tokens, uint32_t heads)
{
    for (int by_head = 0; by_head < 2; by_head++) {
        bool good = true;
        for (uint32_t t = 0; t < tokens && good; t++)
            for (uint32_t h = 0; h < heads && good; h++)
                for (uint32_t v = 0; v < p->parts && good; v++) {
                    struct mini_cell c = p->first;
                    c.token += t;
                    c.head += h;
                    c.v = v == 1;
                    uint32_t n = by_head ? h * tokens + t : t * heads + h;
                    good = follows(mini, p, &c, n * p->parts + v);
                }
        if (good)
            return true;
    }
    return false;
}

/* The largest box from a corner of what the last of the first consumer rank's producers
 * and it have in common. */
static void find_piece(struct mini *mini)
{
    struct mini_piece *p = &mini->piece;
    p->dst = &mini->to.rank[mini->to.ranks > 1 ? 1 : 0];
    for (uint32_t r = mini->from.ranks; r-- > 0;) {
        const struct mini_rank *s = &mini->from.rank[r];
        if (s->head_first < p->dst->head_first + p->dst->heads &&
            p->dst->head_first < s->head_first + s->heads)
            p->src = s;
    }
    uint32_t begin = p->src->head_first > p->dst->head_first ? p->src->head_first
                                                             : p->dst->head_first;
    uint32_t end = smaller(p->src->head_first + p->src->heads,
                           p->dst->head_first + p->dst->heads);
    p->first = (struct mini_cell){.head = begin};
    p->tokens = p->heads = 1;
    p->parts = mini->from.both && mini->to.both ? 2 : 1;
    for (uint32_t t = 1; t <= mini->tokens; t++)
        for (uint32_t h = 1; h <= end - begin; h++)
            if (t * h > p->tokens * p->heads && one_stretch(mini, p, t, h)) {
                p->tokens = t;
                p->heads = h;
            }
    /* A small one is easier to follow a little further in. */
    if (p->heads == 1 && end - begin > 1)
        p->first.head++;
    if (p->tokens * 2 <= mini->tokens && p->heads <= end - begin)
        p->first.token = p->tokens;
}

bool mini_piece_has(const struct mini_piece *p, const struct mini_rank *rank,
                    const struct mini_cell *seen, bool source)
{
    return rank == (source ? p->src : p->dst) && seen->layer == p->first.layer &&
           seen->v == p->first.v && seen->token - p->first.token < p->tokens &&
           seen->head - p->first.head < p->heads;
}

/* ---- all of it ---- */

struct tally {
    uint32_t moves, run;
    uint64_t bytes;
};

static enum segue_status add_pair(void *user, uint32_t src, uint32_t dst,
                                  const struct segue_plan_side *a,
                                  const struct segue_plan_side *b)
{
    struct tally *tally = user;
    struct segue_plan_info info;
    segue_plan *plan;
    enum segue_status status = segue_plan_create(a, b, &plan);
    if (status < 0)
        return status;
    segue_plan_about(plan, &info);
    tally->moves += info.moves;
    tally->bytes += info.bytes_per_token;
    if (tally->run == 0 || info.run < tally->run)
        tally->run = info.run;
    segue_plan_destroy(plan);
    return SEGUE_OK;
}

enum segue_status mini_make(struct mini *mini, const struct layout_side *from,
                            const struct layout_side *to)
{
    struct tally tally = {0};
    enum segue_status status = layout_pairs(from, to, add_pair, &tally);
    if (status < 0)
        return status;
    *mini = (struct mini){.from = {.real = from}, .to = {.real = to}};
    mini->layers = from->layers > 1 && (from->order[0] != 'L' || to->order[0] != 'L') ? 2
                                                                                      : 1;
    mini->heads = mini_heads(from, to);
    mini->from.layers = mini->to.layers = mini->layers;
    mini_blocks(mini);
    struct mini_side *sides[] = {&mini->from, &mini->to};
    for (int i = 0; i < 2; i++) {
        status = mini_ranks(mini, sides[i]);
        if (status < 0)
            return status;
        mini_axes(sides[i]);
    }
    find_piece(mini);
    snprintf(mini->says, sizeof mini->says,
             "In full: %u layers, %u KV head%s; %u move%s for %" PRIu64
             " bytes a token, in pieces of %u bytes%s",
             from->layers, from->heads, from->heads == 1 ? "" : "s", tally.moves,
             tally.moves == 1 ? "" : "s", tally.bytes, tally.run,
             from->dtype != to->dtype ? ", converted on their way." : ".");
    return SEGUE_OK;
}
