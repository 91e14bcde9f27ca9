/* SPDX-License-Identifier: Apache-2.0 */
/* Random transfers for conformance tests, and what they mean, straight from the words
 * of move.h. */
#include "conformance/pair.h"

#include <string.h>

struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *d, uint64_t below)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (d->state >> 11) % below;
}

/* One side's block table. */
struct shape {
    uint32_t tokens;  /* of a block */
    bool heads_first; /* HND, else NHD */
    uint64_t pad;     /* bytes between blocks */
    uint64_t offset;  /* of block 0 */
    uint64_t block;   /* bytes from one to the next */
    uint64_t head, token;
    uint32_t blocks,
        shift; /* block i of the sequence is block (i * 7 + shift) % blocks */
};

static void shape_roll(struct dice *d, struct shape *s, uint32_t heads, uint32_t run,
                       uint32_t tokens, bool strided)
{
    static const uint32_t sizes[] = {1, 2, 3, 8, 16, 32, 128};
    s->tokens = sizes[roll(d, 7)];
    s->heads_first = strided && roll(d, 2);
    s->pad = roll(d, 3) ? 0 : roll(d, 100);
    s->offset = roll(d, 2) ? 0 : roll(d, 64);
    s->head = s->heads_first ? (uint64_t)s->tokens * run : run;
    s->token = s->heads_first ? run : (uint64_t)heads * run;
    s->block = (uint64_t)s->tokens * heads * run + s->pad;
    s->blocks = tokens / s->tokens + 2;
    s->blocks += s->blocks % 7 == 0; /* so that steps of 7 visit every block */
    s->shift = (uint32_t)roll(d, s->blocks);
}

static uint32_t shape_block(const struct shape *s, uint32_t i)
{
    return (uint32_t)(((uint64_t)i * 7 + s->shift) % s->blocks);
}

static uint64_t shape_bytes(const struct shape *s)
{
    return s->offset + s->blocks * s->block;
}

static size_t make_spans(struct plan *plan, const struct shape *src,
                         const struct shape *dst, uint32_t from, uint32_t tokens)
{
    size_t n = 0;
    for (uint32_t at = 0; at < tokens && n < 4096; n++) {
        uint32_t s =
            from + at; /* the consumer begins a block where the producer is inside one */
        uint32_t left_src = src->tokens - s % src->tokens;
        uint32_t left_dst = dst->tokens - at % dst->tokens;
        uint32_t take = left_src < left_dst ? left_src : left_dst;
        take = take < tokens - at ? take : tokens - at;
        plan->spans[n] = (struct segue_span){
            shape_block(src, s / src->tokens), s % src->tokens,
            shape_block(dst, at / dst->tokens), at % dst->tokens, take};
        at += take;
    }
    return n;
}

void transfer_make(struct plan *plan, unsigned seed, uint64_t len, bool strided)
{
    static const uint32_t runs[] = {1, 3, 8, 17, 64, 128, 256, 640, 1024};
    struct dice d = {seed * 0x9e3779b97f4a7c15u + 88172645463325252u};
    for (int i = 0; i < 8; i++)
        roll(&d, 2);
    uint32_t layers = 1 + (uint32_t)roll(&d, 6), heads = strided ? 1 + roll(&d, 5) : 1;
    uint32_t run = runs[roll(&d, 9)], tokens = 1 + (uint32_t)roll(&d, 1500);
    uint32_t from = (uint32_t)roll(&d, 20);
    struct shape src, dst;
    /* Layers alternate between the regions and share one behind the other. */
    uint64_t share = len / ((layers + PAIR_REGIONS - 1) / PAIR_REGIONS);
    do {
        tokens -= tokens / 3;
        shape_roll(&d, &src, heads, run, tokens + from, strided);
        shape_roll(&d, &dst, heads, run, tokens, strided);
        if (tokens == 1)
            run = 1;
    } while (shape_bytes(&src) > share || shape_bytes(&dst) > share);
    plan->t = (struct segue_transfer){plan->moves, layers, plan->spans, 0};
    plan->t.n_spans = make_spans(plan, &src, &dst, from, tokens);
    for (uint32_t l = 0; l < layers; l++) {
        uint64_t base = l / PAIR_REGIONS * share;
        plan->moves[l] = (struct segue_move){.src_region = l % PAIR_REGIONS,
                                             .dst_region = (l + 1) % PAIR_REGIONS,
                                             .src_offset = base + src.offset,
                                             .dst_offset = base + dst.offset,
                                             .src_block = src.block,
                                             .dst_block = dst.block,
                                             .src_token = src.token,
                                             .dst_token = dst.token,
                                             .run = run};
        if (heads > 1) {
            plan->moves[l].dims = 1;
            plan->moves[l].outer = (uint8_t)(seed % 2);
            plan->moves[l].dim[0] = (struct segue_dim){heads, src.head, dst.head};
        }
    }
    if (seed % 16 == 7)
        plan->t.n_spans = 0;
    if (seed % 16 == 15)
        plan->t.n_moves = 0;
}

void transfer_plain(struct plan *plan, uint64_t bytes)
{
    uint32_t run = 1 << 16;
    while (bytes % run)
        run >>= 1;
    plan->moves[0] = (struct segue_move){.src_token = run, .dst_token = run, .run = run};
    plan->spans[0] = (struct segue_span){.tokens = (uint32_t)(bytes / run)};
    plan->t = (struct segue_transfer){plan->moves, 1, plan->spans, 1};
}

static void reference_span(const struct segue_move *m, const struct segue_span *s,
                           uint64_t src, uint64_t dst, char *const *from, char *const *to)
{
    for (uint32_t t = 0; t < s->tokens; t++)
        memcpy(to[m->dst_region] + m->dst_offset + dst + s->dst_block * m->dst_block +
                   (s->dst_token + t) * m->dst_token,
               from[m->src_region] + m->src_offset + src + s->src_block * m->src_block +
                   (s->src_token + t) * m->src_token,
               m->run);
}

void transfer_reference(const struct segue_transfer *t, char *const *src,
                        char *const *dst)
{
    for (size_t i = 0; i < t->n_moves; i++) {
        const struct segue_move *m = &t->moves[i];
        uint32_t heads = m->dims ? m->dim[0].count : 1;
        for (uint32_t h = 0; h < heads; h++)
            for (size_t k = 0; k < t->n_spans; k++)
                reference_span(m, &t->spans[k], h * (m->dims ? m->dim[0].src : 0),
                               h * (m->dims ? m->dim[0].dst : 0), src, dst);
    }
}
