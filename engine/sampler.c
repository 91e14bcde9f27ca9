/* SPDX-License-Identifier: Apache-2.0 */
/* Greedy, or by lot among the tokens that temperature, top-k, top-p and min-p leave. */
#include "sampler.h"

#include <math.h>
#include <stddef.h>

/* A number in [0, 1) that depends on seed and step alone (splitmix64). */
static double lot(uint64_t seed, uint64_t step)
{
    uint64_t x = seed + (step + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (double)(x >> 11) * 0x1p-53;
}

static uint32_t likeliest(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t id = 1; id < vocab; id++)
        if (logits[id] > logits[best])
            best = id;
    return best;
}

static bool above(const float *logits, uint32_t a, uint32_t b)
{
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

static void sift_down(const float *logits, uint32_t *heap, uint32_t count, uint32_t at)
{
    uint32_t id = heap[at];
    for (uint32_t down; (down = 2 * at + 1) < count; at = down) {
        if (down + 1 < count && above(logits, heap[down + 1], heap[down]))
            down++;
        if (!above(logits, heap[down], id))
            break;
        heap[at] = heap[down];
    }
    heap[at] = id;
}

static double weight_of(const struct sampling *s, const float *logits, float top,
                        uint32_t id)
{
    return exp(((double)logits[id] - top) / s->temperature);
}

/* By lot among the first `count` of `ids`, or among all ids in order when that is NULL.
 */
static uint32_t draw(const struct sampling *s, double chance, const float *logits,
                     float top, const uint32_t *ids, uint32_t count)
{
    double mass = 0, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        mass += weight_of(s, logits, top, ids != NULL ? ids[i] : i);
    uint32_t last = ids != NULL ? ids[0] : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = ids != NULL ? ids[i] : i;
        double weight = weight_of(s, logits, top, id);
        if (!(weight > 0))
            continue;
        last = id;
        sum += weight;
        if (sum > chance * mass)
            break;
    }
    return last;
}

/* Takes the likeliest `count` ids out of the heap, or fewer: until their mass is
 * `enough`, or the next is less likely than `least`. They end up at the end of the array,
 * the likeliest last. Returns how many. */
static uint32_t take_best(const struct sampling *s, const float *logits, float top,
                          uint32_t *heap, uint32_t vocab, uint32_t count, double enough)
{
    double mass = 0;
    uint32_t left = vocab;
    while (vocab - left < count && mass < enough) {
        uint32_t id = heap[0];
        double weight = weight_of(s, logits, top, id);
        if (left < vocab && !(weight >= s->min_p))
            break;
        mass += weight;
        heap[0] = heap[--left];
        sift_down(logits, heap, left, 0);
        heap[left] = id;
    }
    return vocab - left;
}

static void reverse(uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t id = ids[i];
        ids[i] = ids[count - 1 - i];
        ids[count - 1 - i] = id;
    }
}

/* The ids that top-k, then top-p of what is left, and min-p leave, the likeliest first.
 */
static const uint32_t *cut(const struct sampling *s, const float *logits, float top,
                           uint32_t vocab, uint32_t *work, uint32_t *count)
{
    bool by_k = s->top_k > 0 && s->top_k < vocab;
    double mass = 0, sum = 0;
    for (uint32_t id = 0; id < vocab; id++) {
        work[id] = id;
        mass += weight_of(s, logits, top, id);
    }
    for (uint32_t at = vocab / 2; at-- > 0;)
        sift_down(logits, work, vocab, at);
    uint32_t kept = take_best(s, logits, top, work, vocab, by_k ? s->top_k : vocab,
                              by_k ? INFINITY : s->top_p * mass);
    uint32_t *ids = work + vocab - kept;
    reverse(ids, kept);
    if (by_k) {
        mass = 0;
        for (uint32_t i = 0; i < kept; i++)
            mass += weight_of(s, logits, top, ids[i]);
        uint32_t within = 0;
        while (within < kept && sum < s->top_p * mass)
            sum += weight_of(s, logits, top, ids[within++]);
        kept = within;
    }
    *count = kept > 0 ? kept : 1;
    return ids;
}

uint32_t sampler_pick(const struct sampling *s, uint64_t step, const float *logits,
                      uint32_t vocab, uint32_t *work)
{
    uint32_t best = likeliest(logits, vocab);
    if (!(s->temperature > 0) || !isfinite(logits[best]))
        return best;
    double chance = lot(s->seed, step);
    if (s->top_p >= 1 && s->top_k == 0 && !(s->min_p > 0))
        return draw(s, chance, logits, logits[best], NULL, vocab);
    uint32_t count;
    const uint32_t *ids = cut(s, logits, logits[best], vocab, work, &count);
    return draw(s, chance, logits, logits[best], ids, count);
}

void sampler_ban(float *logits, uint32_t vocab, const uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] < vocab)
            logits[ids[i]] = -INFINITY;
}

float sampler_logprobs(const float *logits, uint32_t vocab, uint32_t id,
                       struct token_logprob *top, uint32_t count)
{
    float most = logits[likeliest(logits, vocab)];
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - most);
    double norm = most + log(sum);
    uint32_t filled = 0;
    for (uint32_t i = 0; i < vocab && count > 0; i++) {
        if (filled == count && !(logits[i] > logits[top[count - 1].id]))
            continue;
        uint32_t at = filled < count ? filled++ : count - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1].id]; at--)
            top[at] = top[at - 1];
        top[at].id = i;
    }
    for (uint32_t i = 0; i < filled; i++)
        top[i].logprob = (float)(logits[top[i].id] - norm);
    return (float)(logits[id] - norm);
}
