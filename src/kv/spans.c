/* SPDX-License-Identifier: Apache-2.0 */
/* Block lists as spans: the sequence is cut wherever a block ends on either side.
 *
 *     src   |----- 12 ----|----- 7 -----|--
 *     dst   |- 3 -|- 9 -|- 1 -|- 4 -|- 8 -|
 *     spans |     |     | |   |   | |     |
 *
 * A span that lies as far behind the one before on each side as that one behind its own
 * is another time of it. Stretches in consecutive blocks thus are one span, and a side
 * whose tokens run on over blocks (src_linear) helps the other to even steps:
 *
 *     src   |------- 12 -------|------- 13 -------|     linear: 32 tokens from 12/0
 *     dst   |- 3 -|- 4 -|- 5 -|- 6 -|- 7 -|- 8 -| ...   one span, 8 times
 */
#include "kv/plan.h"

#include "base/status.h"

size_t segue_spans_max(const struct segue_tokens *src, const struct segue_tokens *dst,
                       uint64_t tokens)
{
    if (tokens == 0 || src->block_tokens == 0 || dst->block_tokens == 0)
        return 0;
    uint64_t most;
    if (__builtin_add_overflow(tokens / src->block_tokens, tokens / dst->block_tokens,
                               &most) ||
        most > SIZE_MAX / sizeof(struct segue_span) - 3)
        return SIZE_MAX;
    most += 3; /* a first and a last block on each side, cut where the other one's end */
    return most < tokens ? most : tokens;
}

static enum segue_status check_list(const struct segue_tokens *list, uint64_t tokens,
                                    const char *name)
{
    uint64_t end;
    if (list->block_tokens == 0)
        return segue_fail(SEGUE_E_INVALID, "the %s has blocks of 0 tokens", name);
    if (__builtin_add_overflow(list->first, tokens, &end) ||
        (end > 0 && (end - 1) / list->block_tokens >= list->n_blocks))
        return segue_fail(SEGUE_E_RANGE,
                          "the %s names %zu blocks of %u tokens: too few for tokens "
                          "%llu to %llu",
                          name, list->n_blocks, list->block_tokens,
                          (unsigned long long)list->first,
                          (unsigned long long)(list->first + tokens));
    return SEGUE_OK;
}

/* A place in a list, stepped without a division a span. */
struct place {
    const struct segue_tokens *list;
    size_t block;
    uint32_t token;
};

static struct place place_of(const struct segue_tokens *list)
{
    return (struct place){list, list->first / list->block_tokens,
                          (uint32_t)(list->first % list->block_tokens)};
}

static uint32_t place_left(const struct place *place)
{
    return place->list->block_tokens - place->token;
}

static void place_step(struct place *place, uint32_t tokens)
{
    place->token += tokens;
    if (place->token == place->list->block_tokens) {
        place->token = 0;
        place->block++;
    }
}

/* One side of a span, with its place in linear memory normalized: token t of block b + 1 is
 * token t + block_tokens of block b. */
static void step_side(uint32_t *block, uint32_t *token, uint32_t next_block,
                      uint32_t next_token, uint32_t block_tokens, bool linear)
{
    uint64_t over = (uint64_t)(next_block - *block) * block_tokens + next_token;
    if (linear && next_block >= *block && over <= INT32_MAX) {
        *token = (uint32_t)over;
        return;
    }
    *block = next_block;
    *token = next_token;
}

/* Spans as they come, the last of them still open for what follows. */
struct out {
    const struct segue_plan *plan;
    uint32_t src_tokens, dst_tokens; /* a block */
    struct segue_span *spans;
    size_t n, max;
};

static bool up(uint32_t from, uint32_t to, uint32_t *step)
{
    *step = to - from;
    return to >= from;
}

/* Whether `next` can be another time of `last`; then it is. */
static bool repeat(struct segue_span *last, const struct segue_span *next)
{
    struct segue_span end = segue_span_at(last, last->more), step;
    if (next->tokens != last->tokens || last->more == UINT32_MAX ||
        !up(end.src_block, next->src_block, &step.src_block_step) ||
        !up(end.src_token, next->src_token, &step.src_token_step) ||
        !up(end.dst_block, next->dst_block, &step.dst_block_step) ||
        !up(end.dst_token, next->dst_token, &step.dst_token_step))
        return false;
    if (last->more > 0 && (step.src_block_step != last->src_block_step ||
                           step.src_token_step != last->src_token_step ||
                           step.dst_block_step != last->dst_block_step ||
                           step.dst_token_step != last->dst_token_step))
        return false;
    last->src_block_step = step.src_block_step;
    last->src_token_step = step.src_token_step;
    last->dst_block_step = step.dst_block_step;
    last->dst_token_step = step.dst_token_step;
    last->more++;
    return true;
}

/* Whether `next` goes on where `last`, of one time, ends on both sides; then it does. */
static bool join(struct segue_span *last, const struct segue_span *next)
{
    if (last->more > 0 || next->src_block != last->src_block ||
        next->dst_block != last->dst_block ||
        next->src_token != last->src_token + last->tokens ||
        next->dst_token != last->dst_token + last->tokens ||
        (uint64_t)last->tokens + next->tokens > INT32_MAX)
        return false;
    last->tokens += next->tokens;
    return true;
}

static bool add(struct out *out, const struct segue_span *span)
{
    struct segue_span next = *span;
    if (out->n > 0) {
        struct segue_span *last = &out->spans[out->n - 1];
        struct segue_span end = segue_span_at(last, last->more);
        bool linear = out->plan && out->plan->src_linear;
        step_side(&end.src_block, &end.src_token, span->src_block, span->src_token,
                  out->src_tokens, linear);
        linear = out->plan && out->plan->dst_linear;
        step_side(&end.dst_block, &end.dst_token, span->dst_block, span->dst_token,
                  out->dst_tokens, linear);
        end.tokens = span->tokens;
        next = end;
        if ((out->plan && out->plan->spans_join && join(last, &next)) ||
            repeat(last, &next))
            return true;
    }
    if (out->n == out->max)
        return false;
    out->spans[out->n++] = *span;
    return true;
}

enum segue_status segue_spans_bind(const struct segue_plan *plan,
                                   const struct segue_tokens *src,
                                   const struct segue_tokens *dst, uint64_t tokens,
                                   struct segue_span *spans, size_t max, size_t *n_spans)
{
    *n_spans = 0;
    if (tokens == 0)
        return SEGUE_OK;
    SEGUE_TRY(check_list(src, tokens, "source"));
    SEGUE_TRY(check_list(dst, tokens, "destination"));
    struct place from = place_of(src), to = place_of(dst);
    struct out out = {plan, src->block_tokens, dst->block_tokens, spans, 0, max};
    while (tokens > 0) {
        uint32_t step = place_left(&from);
        if (place_left(&to) < step)
            step = place_left(&to);
        if (tokens < step)
            step = (uint32_t)tokens;
        struct segue_span span = {.src_block = src->blocks[from.block],
                                  .src_token = from.token,
                                  .dst_block = dst->blocks[to.block],
                                  .dst_token = to.token,
                                  .tokens = step};
        if (!add(&out, &span))
            return segue_fail(SEGUE_E_RANGE,
                              "there is room for %zu spans only, %llu tokens are left",
                              max, (unsigned long long)tokens);
        place_step(&from, step);
        place_step(&to, step);
        tokens -= step;
    }
    *n_spans = out.n;
    return SEGUE_OK;
}
