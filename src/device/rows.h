/* SPDX-License-Identifier: Apache-2.0 */
/* The innermost loops of every relayout: evenly spaced rows of bytes. One table for each
 * instruction set, picked at run time. */
#ifndef DEVICE_ROWS_H
#define DEVICE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segue_axis {
    uint64_t count, src, dst; /* bytes from one index to the next on each side */
};

struct segue_rows {
    char *dst;
    const char *src;
    uint64_t run; /* bytes of a row */
    struct segue_axis inner, outer;
};

/* Rows on axes that change places: `near` is contiguous at the destination, where its
 * step is that of `lead` rows side by side, which come from places `lead_src` apart; `far`
 * is not. */
struct segue_turn {
    char *dst;
    const char *src;
    uint64_t run;
    uint64_t lead, lead_src;
    uint64_t near, near_src; /* rows, and bytes from one to the next */
    uint64_t far, far_src, far_dst;
    const char *next; /* where the next call will read, fetched ahead; or NULL */
    uint64_t fetch;   /* bytes of each row of it */
};

/* What `stream` can write: whole lines of the destination, whatever the source. */
#define SEGUE_LINE 64
/* Sets of rows that are copied at once. */
#define SEGUE_STREAMS 4

struct segue_rows_ops {
    const char *name;
    /* Ordinary stores, any alignment. */
    void (*copy)(const struct segue_rows *rows);
    /* Past the caches where that pays: the first `outer` x `inner` rows of each of at most
     * SEGUE_STREAMS sets, one row of each in turn. All have one run, whole lines of the
     * destination. */
    void (*stream)(const struct segue_rows *sets, unsigned n, uint64_t inner,
                   uint64_t outer);
    /* Past the caches too; for short rows of any alignment whose source fits the L1 or
     * L2. */
    void (*turn)(const struct segue_turn *turn);
    void (*fence)(void); /* after the last `stream` or `turn`, before telling anybody */
    /* Elements of any alignment. Narrowing rounds to nearest even; NaN stays NaN. */
    void (*half_to_float)(void *dst, const void *src, size_t n);
    void (*float_to_half)(void *dst, const void *src, size_t n);
    void (*brain_to_float)(void *dst, const void *src, size_t n);
    void (*float_to_brain)(void *dst, const void *src, size_t n);
};

extern const struct segue_rows_ops segue_rows_portable;

/* What: the fastest table this CPU runs. Any thread. */
const struct segue_rows_ops *segue_rows_pick(void);

/* What: table number i of those this build has, whether this CPU runs it or not: NULL
 * past the last. For tests, which hold each against the others. */
const struct segue_rows_ops *segue_rows_table(unsigned i, bool *runs);

#endif
