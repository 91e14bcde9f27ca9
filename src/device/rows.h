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

struct segue_rows_ops {
    void (*copy)(const struct segue_rows *rows);   /* ordinary stores */
    void (*stream)(const struct segue_rows *rows); /* past the caches where that pays */
    void (*fence)(void); /* after the last `stream`, before telling anybody */
    void (*widen)(float *dst, const uint16_t *src, size_t n);  /* fp16 -> fp32 */
    void (*narrow)(uint16_t *dst, const float *src, size_t n); /* fp32 -> fp16 */
};

extern const struct segue_rows_ops segue_rows_portable;

/* What: the fastest table this CPU runs. Any thread. */
const struct segue_rows_ops *segue_rows_pick(void);

/* What: converts n elements; neither side need be aligned. fp32 to 16 bit rounds to
 * nearest even; NaN stays NaN. `from` and `to` are fp32, fp16 or bf16. */
void segue_rows_convert(const struct segue_rows_ops *ops, char *dst, int to,
                        const char *src, int from, uint64_t n);

#endif
