/* SPDX-License-Identifier: Apache-2.0 */
/* Block lists as spans: the sequence is cut wherever a block ends on either side.
 *
 *     src   |----- 12 ----|----- 7 -----|--
 *     dst   |- 3 -|- 9 -|- 1 -|- 4 -|- 8 -|
 *     spans |     |     | |   |   | |     |
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

enum segue_status segue_spans_bind(const struct segue_tokens *src,
                                   const struct segue_tokens *dst, uint64_t tokens,
                                   struct segue_span *spans, size_t max, size_t *n_spans)
{
    *n_spans = 0;
    if (tokens == 0)
        return SEGUE_OK;
    SEGUE_TRY(check_list(src, tokens, "source"));
    SEGUE_TRY(check_list(dst, tokens, "destination"));
    struct place from = place_of(src), to = place_of(dst);
    size_t n = 0;
    while (tokens > 0) {
        uint32_t step = place_left(&from);
        if (place_left(&to) < step)
            step = place_left(&to);
        if (tokens < step)
            step = (uint32_t)tokens;
        if (n == max)
            return segue_fail(SEGUE_E_RANGE,
                              "there is room for %zu spans only, %llu tokens are left",
                              max, (unsigned long long)tokens);
        spans[n++] = (struct segue_span){src->blocks[from.block], from.token,
                                         dst->blocks[to.block], to.token, step};
        place_step(&from, step);
        place_step(&to, step);
        tokens -= step;
    }
    *n_spans = n;
    return SEGUE_OK;
}
