/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows with the vectors of one instruction set: the common body of rows_avx2.c and
 * rows_avx512.c, which define `vector`, load, store, stream_store, TARGET and INLINE
 * before they include it.
 *
 * Streaming stores must fill whole lines of the destination, or each costs a read as well.
 * What limits a copy is how many reads are under way: where one stream of addresses ends,
 * the CPU's prefetcher has to find the next, and the copy waits. So several sets of rows
 * are copied at once, a row of each in turn: while one begins anew, the others run on.
 */

enum { VECTOR = sizeof(vector) };

/* dst and n are whole lines. */
INLINE void stream_lines(char *dst, const char *src, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 4 * VECTOR <= n; i += 4 * VECTOR) {
        vector a = load(src + i), b = load(src + i + VECTOR);
        vector c = load(src + i + 2 * VECTOR), d = load(src + i + 3 * VECTOR);
        stream_store(dst + i, a);
        stream_store(dst + i + VECTOR, b);
        stream_store(dst + i + 2 * VECTOR, c);
        stream_store(dst + i + 3 * VECTOR, d);
    }
    for (; i < n; i += VECTOR)
        stream_store(dst + i, load(src + i));
}

/* Rows of a few vectors: the last one overlaps the one before. */
INLINE void copy_short(char *dst, const char *src, uint64_t n)
{
    if (n < VECTOR) {
        memcpy(dst, src, n);
        return;
    }
    for (uint64_t i = 0; i + VECTOR < n; i += VECTOR)
        store(dst + i, load(src + i));
    store(dst + n - VECTOR, load(src + n - VECTOR));
}

TARGET static void copy(const struct segue_rows *rows)
{
    for (uint64_t o = 0; o < rows->outer.count; o++) {
        char *dst = rows->dst + o * rows->outer.dst;
        const char *src = rows->src + o * rows->outer.src;
        for (uint64_t i = 0; i < rows->inner.count; i++) {
            if (rows->run <= 512)
                copy_short(dst, src, rows->run);
            else
                memcpy(dst, src, rows->run);
            dst += rows->inner.dst;
            src += rows->inner.src;
        }
    }
}

INLINE void stream_sets(const struct segue_rows *sets, unsigned n, uint64_t inner,
                        uint64_t outer, uint64_t run)
{
    for (uint64_t o = 0; o < outer; o++) {
        char *dst[SEGUE_STREAMS];
        const char *src[SEGUE_STREAMS];
        for (unsigned k = 0; k < n; k++) {
            dst[k] = sets[k].dst + o * sets[k].outer.dst;
            src[k] = sets[k].src + o * sets[k].outer.src;
        }
        for (uint64_t i = 0; i < inner; i++)
            for (unsigned k = 0; k < n; k++) {
                stream_lines(dst[k], src[k], run);
                dst[k] += sets[k].inner.dst;
                src[k] += sets[k].inner.src;
            }
    }
}

TARGET static void stream(const struct segue_rows *sets, unsigned n, uint64_t inner,
                          uint64_t outer)
{
    uint64_t run = sets[0].run;
    if (n == SEGUE_STREAMS && run == 256)
        stream_sets(sets, SEGUE_STREAMS, inner, outer, 256);
    else if (n == SEGUE_STREAMS && run == 512)
        stream_sets(sets, SEGUE_STREAMS, inner, outer, 512);
    else if (n == SEGUE_STREAMS && run == 128)
        stream_sets(sets, SEGUE_STREAMS, inner, outer, 128);
    else
        stream_sets(sets, n, inner, outer, run);
}

/* Walks the next source in its own order, a row at a time, and fetches it. */
struct ahead {
    uintptr_t row; /* a number, as it may lead out of the memory */
    uint64_t index;
};

INLINE void fetch_row(struct ahead *ahead, const struct segue_turn *t, uint64_t lead,
                      uint64_t fetch)
{
    if (!t->next)
        return;
    for (uint64_t l = 0; l < lead; l++)
        for (uint64_t i = 0; i < fetch; i += SEGUE_LINE)
            _mm_prefetch((const char *)(ahead->row + l * t->lead_src + i), _MM_HINT_T0);
    ahead->row += t->far_src;
    if (++ahead->index == t->far) {
        ahead->index = 0;
        ahead->row += t->near_src - t->far * t->far_src;
    }
}

/* Whole vectors: neighbours in a line are stored right after each other. */
INLINE void turn_vectors(const struct segue_turn *t, uint64_t run, uint64_t lead,
                         uint64_t fetch)
{
    struct ahead ahead = {(uintptr_t)t->next, 0};
    char *dst = t->dst;
    for (uint64_t f = 0; f < t->far; f++, dst += t->far_dst) {
        const char *src = t->src + f * t->far_src;
        char *to = dst;
        for (uint64_t n = 0; n < t->near; n++, src += t->near_src) {
            fetch_row(&ahead, t, lead, fetch);
            for (uint64_t l = 0; l < lead; l++, to += run)
                for (uint64_t i = 0; i < run; i += VECTOR)
                    stream_store(to + i, load(src + l * t->lead_src + i));
        }
    }
}

/* At least two lines, of any alignment. */
INLINE void stream_long(char *dst, const char *src, uint64_t n)
{
    uint64_t head = -(uintptr_t)dst % SEGUE_LINE;
    memcpy(dst, src, head);
    uint64_t lines = (n - head) & ~(uint64_t)(SEGUE_LINE - 1);
    stream_lines(dst + head, src + head, lines);
    memcpy(dst + head + lines, src + head + lines, n - head - lines);
}

/* Any run and alignment: rows are gathered in the L1 first. */
TARGET static void turn_gathered(const struct segue_turn *t)
{
    char room[4096] __attribute__((aligned(SEGUE_LINE)));
    struct ahead ahead = {(uintptr_t)t->next, 0};
    uint64_t unit = t->lead * t->run;
    for (uint64_t f = 0; f < t->far; f++) {
        const char *src = t->src + f * t->far_src;
        char *dst = t->dst + f * t->far_dst;
        for (uint64_t n = 0; n < t->near;) {
            uint64_t len = 0;
            for (; n < t->near && len + unit <= sizeof room; n++) {
                fetch_row(&ahead, t, t->lead, t->fetch);
                for (uint64_t l = 0; l < t->lead; l++, len += t->run)
                    copy_short(room + len, src + l * t->lead_src, t->run);
                src += t->near_src;
            }
            if (len >= 2 * SEGUE_LINE)
                stream_long(dst, room, len);
            else
                memcpy(dst, room, len);
            dst += len;
        }
    }
}

TARGET static void turn(const struct segue_turn *t)
{
    if (((uintptr_t)t->dst | t->run | (t->far > 1 ? t->far_dst : 0)) % VECTOR != 0)
        turn_gathered(t);
    else if (t->run == 128 && t->lead == 1 && t->fetch == 128)
        turn_vectors(t, 128, 1, 128);
    else if (t->run == VECTOR && t->lead == 1 && t->fetch == VECTOR)
        turn_vectors(t, VECTOR, 1, VECTOR);
    else
        turn_vectors(t, t->run, t->lead, t->fetch);
}

static void fence(void)
{
    _mm_sfence();
}
