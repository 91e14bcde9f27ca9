/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random moves x spans, copied by every kernel this CPU runs in random chunks, beside the
 * loops that base/move.h defines: the same bytes, and none besides.
 *
 * A case is a box of axes (block, token, up to four more), laid out in an order of its own
 * on each side, with gaps; its tokens are cut into spans between random blocks.
 */
#include "test.h"
#include "device/relayout.h"
#include "device/rows.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AXES = SEGUE_MOVE_DIMS + 2, BLOCK = 0, TOKEN = 1, SPANS = 64 };

static uint64_t seed, state_;

static uint32_t pick(uint32_t n)
{
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) % n);
}

static uint64_t cases_wanted(void)
{
    const char *text = getenv("SEGUE_TEST_CASES");
    if (text)
        return strtoull(text, NULL, 10);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 200;
#else
    return 1000;
#endif
}

struct side {
    uint64_t step[AXES], len; /* bytes */
    uint32_t blocks, tokens;  /* of a block */
    char *room, *base;
    struct segue_extent extent;
};

struct shape {
    uint32_t run, dims, count[SEGUE_MOVE_DIMS], from_blocks, to_blocks, from_tokens,
        to_tokens;
};

/* Sizes as caches have them, and others. */
static struct shape pick_shape(void)
{
    static const uint32_t runs[] = {16, 32, 64, 128, 192, 256, 512, 1024, 2048, 4160};
    static const uint32_t tokens[] = {1, 8, 16, 24, 64, 128};
    struct shape s = {.run = pick(5) ? runs[pick(sizeof runs / sizeof *runs)]
                                     : 1 + pick(pick(2) ? 100 : 2000),
                      .dims = pick(SEGUE_MOVE_DIMS + 1),
                      .from_tokens = tokens[pick(6)],
                      .to_tokens = tokens[pick(6)]};
    uint64_t each = s.run;
    for (uint32_t d = 0; d < s.dims; d++) {
        s.count[d] = 1 + pick(pick(2) ? 2 : 8);
        each *= s.count[d];
    }
    uint32_t all = 1 + (uint32_t)((pick(4) ? 200000 : 2000000) / each) % 700;
    s.from_blocks = 2 + all / s.from_tokens;
    s.to_blocks = 2 + all / s.to_tokens;
    return s;
}

/* Strides of a random order of the axes, the run innermost; mostly whole lines. */
static void lay_out(struct side *side, const struct shape *s, uint32_t blocks,
                    uint32_t tokens)
{
    uint32_t order[AXES], n = s->dims + 2;
    uint32_t count[AXES] = {blocks, tokens};
    memcpy(count + 2, s->count, sizeof s->count);
    uint64_t step = s->run + (pick(4) ? 0 : pick(2) ? 64 : pick(40));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = pick(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        side->step[order[i]] = step;
        step *= count[order[i]];
        step += pick(6) ? 0 : pick(2) ? 128 : pick(70);
    }
    side->blocks = blocks;
    side->tokens = tokens;
    side->len = step;
    side->room = aligned_alloc(64, (step + 3 * 64) / 64 * 64);
    side->base = side->room + (pick(3) ? 0 : pick(64));
    side->extent = (struct segue_extent){side->base, step};
    memset(side->room, 0, (step + 3 * 64) / 64 * 64);
}

static struct segue_move move_of(const struct shape *s, const struct side *from,
                                 const struct side *to)
{
    struct segue_move move = {.run = s->run,
                              .src_block = from->step[BLOCK],
                              .dst_block = to->step[BLOCK],
                              .src_token = from->step[TOKEN],
                              .dst_token = to->step[TOKEN],
                              .dims = (uint8_t)s->dims,
                              .outer = (uint8_t)pick(s->dims + 1)};
    for (uint32_t d = 0; d < s->dims; d++)
        move.dim[d] = (struct segue_dim){s->count[d], from->step[2 + d], to->step[2 + d]};
    return move;
}

/* Each destination token at most once, in blocks of a random order; sources anywhere. */
static size_t cut_spans(struct segue_span *spans, const struct side *from,
                        const struct side *to)
{
    size_t n = 0;
    uint32_t first = pick(to->blocks);
    for (uint32_t b = 0; b < to->blocks && n < SPANS; b++) {
        uint32_t block = (b * 7 + first) % to->blocks;
        if (to->blocks % 7 == 0)
            block = b;
        for (uint32_t t = pick(4) ? 0 : pick(to->tokens); t < to->tokens && n < SPANS;) {
            uint32_t at = pick(3) ? 0 : pick(from->tokens);
            uint32_t most = from->tokens - at < to->tokens - t ? from->tokens - at
                                                               : to->tokens - t;
            spans[n] = (struct segue_span){pick(from->blocks), at, block, t,
                                           pick(5) ? most : pick(most + 1)};
            t += spans[n].tokens + (pick(8) == 0);
            n++;
        }
    }
    return n;
}

/* The definition, for one move. */
static void copy_by_definition(const struct segue_transfer *t, const char *src, char *dst)
{
    const struct segue_move *m = t->moves;
    uint64_t indices = 1;
    for (uint32_t d = 0; d < m->dims; d++)
        indices *= m->dim[d].count;
    for (uint64_t index = 0; index < indices; index++)
        for (size_t i = 0; i < t->n_spans; i++)
            for (uint32_t token = 0; token < t->spans[i].tokens; token++) {
                const struct segue_span *span = &t->spans[i];
                uint64_t a = span->src_block * m->src_block +
                             (span->src_token + token) * m->src_token;
                uint64_t b = span->dst_block * m->dst_block +
                             (span->dst_token + token) * m->dst_token;
                uint64_t rest = index;
                for (uint32_t d = 0; d < m->dims; d++) {
                    a += rest % m->dim[d].count * m->dim[d].src;
                    b += rest % m->dim[d].count * m->dim[d].dst;
                    rest /= m->dim[d].count;
                }
                memcpy(dst + b, src + a, m->run);
            }
}

static void copy_in_chunks(const struct segue_relayout *r, uint64_t bytes)
{
    struct segue_relayout_at at = {0}, skipped = {0};
    uint64_t chunk = pick(3) == 0 ? UINT64_MAX
                     : pick(2) == 0
                         ? 1 + pick(4000)
                         : (16 << 10) + pick((uint32_t)(bytes & 0xfffffff) + 1);
    for (bool more = true; more;) {
        bool left = segue_relayout_skip(r, &skipped, chunk);
        more = segue_relayout_copy(r, &at, chunk);
        assert_int_equal(left, more);
        assert_memory_equal(&at, &skipped, sizeof at);
    }
}

static void one_case(bool *streamed)
{
    struct shape shape = pick_shape();
    struct side from, to;
    struct segue_span spans[SPANS];
    lay_out(&from, &shape, shape.from_blocks, shape.from_tokens);
    lay_out(&to, &shape, shape.to_blocks, shape.to_tokens);
    for (uint64_t i = 0; i < from.len; i++)
        from.base[i] = (char)(i ^ i >> 8 ^ i >> 16);
    struct segue_move move = move_of(&shape, &from, &to);
    struct segue_transfer t = {&move, 1, spans, cut_spans(spans, &from, &to)};
    assert_ok(segue_transfer_check(&t, &from.extent, 1, &to.extent, 1));
    uint64_t room = (uint64_t)(to.base - to.room) + to.len + 64;
    char *want = calloc(1, room);
    copy_by_definition(&t, from.base, want + (to.base - to.room));
    const struct segue_rows_ops *ops;
    bool runs;
    for (unsigned i = 0; (ops = segue_rows_table(i, &runs)); i++)
        for (int stream = 0; runs && stream < 2; stream++) {
            struct segue_relayout r = {.transfer = &t,
                                       .src = &from.extent,
                                       .dst = &to.extent,
                                       .stream = stream,
                                       .ops = ops};
            memset(to.room, 0, room);
            copy_in_chunks(&r, segue_transfer_bytes(&t));
            if (memcmp(to.room, want, room) != 0)
                fail_msg("%s, %s: differs from the definition", ops->name,
                         stream ? "streaming" : "ordinary stores");
            streamed[i] = streamed[i] || stream;
        }
    free(want);
    free(from.room);
    free(to.room);
}

static void every_kernel_copies_as_defined(void **state)
{
    uint64_t cases = cases_wanted();
    const char *text = getenv("SEGUE_TEST_SEED");
    seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    printf("cells: %llu, seed %llu (SEGUE_TEST_SEED)\n", (unsigned long long)cases,
           (unsigned long long)seed);
    fflush(stdout);
    bool streamed[8] = {false};
    for (uint64_t i = 0; i < cases; i++) {
        state_ = seed + i;
        one_case(streamed);
    }
    const struct segue_rows_ops *ops;
    bool runs;
    for (unsigned i = 0; (ops = segue_rows_table(i, &runs)); i++) {
        if (!runs)
            printf("not tested here: %s, which this CPU has not\n", ops->name);
        assert_true(streamed[i] == runs);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kernel_copies_as_defined),
};
TEST_MAIN(tests)
