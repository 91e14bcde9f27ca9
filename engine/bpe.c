/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-pair merging over a linked list of symbols and a heap of candidate pairs, so that
 * a megabyte of one letter costs no more per byte than a word does.
 */
#include "bpe.h"

#include <stdbool.h>
#include <stdlib.h>

#define NONE UINT32_MAX

struct merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, result;
};

struct bpe {
    uint32_t count;
    size_t mask;         /* slots - 1 */
    struct merge *slots; /* open addressing; rank NONE = empty */
};

struct candidate {
    uint32_t rank, at;
};

/* One run of the algorithm. prev and next are indices into ids, NONE at the ends. */
struct merging {
    const struct bpe *bpe;
    uint32_t *ids, *prev, *next;
    struct candidate *heap;
    size_t heap_count;
};

struct bpe *bpe_create(size_t merges)
{
    size_t slots = 16;
    while (slots < merges * 2)
        slots *= 2;
    struct bpe *bpe = calloc(1, sizeof *bpe);
    if (bpe == NULL)
        return NULL;
    bpe->slots = malloc(slots * sizeof *bpe->slots);
    if (bpe->slots == NULL) {
        free(bpe);
        return NULL;
    }
    bpe->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        bpe->slots[i].rank = NONE;
    return bpe;
}

void bpe_destroy(struct bpe *bpe)
{
    if (bpe == NULL)
        return;
    free(bpe->slots);
    free(bpe);
}

/* The slot that holds the pair, or the empty one where it belongs. */
static struct merge *slot_of(const struct bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = (size_t)((pair * 0x9e3779b97f4a7c15u) >> 32) & bpe->mask;
    while (bpe->slots[at].rank != NONE && bpe->slots[at].pair != pair)
        at = (at + 1) & bpe->mask;
    return &bpe->slots[at];
}

void bpe_add(struct bpe *bpe, uint32_t left, uint32_t right, uint32_t result)
{
    struct merge *slot = slot_of(bpe, left, right);
    uint32_t rank = bpe->count++;
    if (slot->rank == NONE)
        *slot = (struct merge){(uint64_t)left << 32 | right, rank, result};
}

/* Equal ranks go left to right, as the encoding is defined. */
static bool before(struct candidate a, struct candidate b)
{
    return a.rank < b.rank || (a.rank == b.rank && a.at < b.at);
}

static void push(struct merging *m, uint32_t at)
{
    if (at == NONE || m->next[at] == NONE)
        return;
    struct candidate new = {slot_of(m->bpe, m->ids[at], m->ids[m->next[at]])->rank, at};
    if (new.rank == NONE)
        return;
    size_t i = m->heap_count++;
    for (size_t up; i > 0; i = up) {
        up = (i - 1) / 2;
        if (!before(new, m->heap[up]))
            break;
        m->heap[i] = m->heap[up];
    }
    m->heap[i] = new;
}

static struct candidate pop(struct merging *m)
{
    struct candidate top = m->heap[0], last = m->heap[--m->heap_count];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < m->heap_count; i = down) {
        if (down + 1 < m->heap_count && before(m->heap[down + 1], m->heap[down]))
            down++;
        if (!before(m->heap[down], last))
            break;
        m->heap[i] = m->heap[down];
    }
    m->heap[i] = last;
    return top;
}

static void join(struct merging *m, struct candidate pair)
{
    uint32_t left = pair.at, right = m->ids[left] == NONE ? NONE : m->next[left];
    if (right == NONE)
        return;
    const struct merge *merge = slot_of(m->bpe, m->ids[left], m->ids[right]);
    if (merge->rank != pair.rank)
        return; /* one of the two has been merged with another neighbour since */
    m->ids[left] = merge->result;
    m->ids[right] = NONE;
    m->next[left] = m->next[right];
    if (m->next[left] != NONE)
        m->prev[m->next[left]] = left;
    push(m, m->prev[left]);
    push(m, left);
}

size_t bpe_merge(const struct bpe *bpe, uint32_t *ids, size_t count, uint32_t *scratch)
{
    if (count < 2)
        return count;
    /* A join takes one candidate out and puts at most two in, and there are at most
     * count - 1 joins: the heap never holds more than 2 x count. */
    struct merging m = {
        bpe, ids, scratch, scratch + count, (struct candidate *)(scratch + 2 * count), 0};
    for (size_t i = 0; i < count; i++) {
        m.prev[i] = i == 0 ? NONE : (uint32_t)i - 1;
        m.next[i] = i + 1 == count ? NONE : (uint32_t)i + 1;
    }
    for (size_t i = 0; i + 1 < count; i++)
        push(&m, (uint32_t)i);
    while (m.heap_count > 0)
        join(&m, pop(&m));
    size_t left = 0;
    for (uint32_t at = 0; at != NONE; at = m.next[at])
        ids[left++] = ids[at];
    return left;
}
