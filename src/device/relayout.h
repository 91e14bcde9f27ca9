/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host kernel of `copy`: moves x spans between addresses of this process, in chunks,
 * so that whoever runs it can stop, give way or share the work between threads.
 *
 * It walks in the source's order, reads every line once and, for large transfers, writes
 * with streaming stores: measured, that is faster than memcpy whatever the layouts.
 */
#ifndef DEVICE_RELAYOUT_H
#define DEVICE_RELAYOUT_H

#include "base/move.h"

struct segue_rows_ops;

/* What is copied; must have passed segue_transfer_check. Borrowed, read only. */
struct segue_relayout {
    const struct segue_transfer *transfer;
    const struct segue_extent *src, *dst;
    /* Optional: the address to use in place of an extent's base. */
    char *(*reach)(void *user, char *base);
    void *user;
    bool stream; /* streaming stores: for more bytes than a cache holds */
    const struct segue_rows_ops *ops; /* NULL: the fastest of this CPU */
};

/* How far a walk has come; {0} to begin. */
struct segue_relayout_at {
    size_t move, span;
    uint32_t time; /* of the span */
    uint64_t outer, row, byte;
};

/* What: copies the next `bytes` source bytes or a little more, and returns whether any
 * are left. What it wrote is visible to whoever sees this thread's next release. */
bool segue_relayout_copy(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes);

/* What: steps over exactly what segue_relayout_copy would have copied. */
bool segue_relayout_skip(const struct segue_relayout *r, struct segue_relayout_at *at,
                         uint64_t bytes);

/* What: whether a transfer of so many bytes is better written past the caches. */
bool segue_relayout_streams(uint64_t bytes);

#endif
