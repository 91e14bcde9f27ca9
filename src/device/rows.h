/* SPDX-License-Identifier: Apache-2.0 */
/* The innermost loop of every relayout: evenly spaced rows of bytes. One table for each
 * instruction set, picked at run time. */
#ifndef DEVICE_ROWS_H
#define DEVICE_ROWS_H

#include <stddef.h>
#include <stdint.h>

struct segue_rows {
    char *dst;
    const char *src;
    uint64_t dst_step, src_step; /* bytes from one row to the next */
    uint64_t run;                /* bytes of a row */
    uint64_t n;
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

struct segue_rows_ops {
    void (*copy)(const struct segue_rows *rows);   /* ordinary stores */
    void (*stream)(const struct segue_rows *rows); /* past the caches where that pays */
    void (*turn)(const struct segue_turn *turn);   /* past the caches too; for short rows
                                                    whose source fits the L1 or L2 */
    void (*fence)(void); /* after the last `stream`, before telling anybody */
    /* Elements of any alignment. Narrowing rounds to nearest even; NaN stays NaN. */
    void (*half_to_float)(void *dst, const void *src, size_t n);
    void (*float_to_half)(void *dst, const void *src, size_t n);
    void (*brain_to_float)(void *dst, const void *src, size_t n);
    void (*float_to_brain)(void *dst, const void *src, size_t n);
};

extern const struct segue_rows_ops segue_rows_portable;

/* What: the fastest table this CPU runs. Any thread. */
const struct segue_rows_ops *segue_rows_pick(void);

#endif
