/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A box: what one span of one move copies, as rows on at most five axes. What is
 * contiguous on both sides becomes the row; the axes left are in the source's order.
 */
#ifndef DEVICE_BOX_H
#define DEVICE_BOX_H

#include "base/move.h"
#include "device/rows.h"

#define SEGUE_BOX_AXES (SEGUE_MOVE_DIMS + 1)

struct segue_box {
    struct segue_axis axis[SEGUE_BOX_AXES]; /* outermost first */
    unsigned n;
    uint64_t run, dst_run; /* bytes of a row on each side */
    uint64_t rows;
    uint32_t tokens; /* of the span it was made for */
    /* Rows too short to be streamed one by one, whose axes change places: they are copied in the destination's order, with
     * `lead` rows from places far apart side by side, or pulled apart by `split`, outside
     * of the tile. Both are no axes any more and have count 1 when there is none. */
    bool turns;
    unsigned near;         /* the axis that is side by side at the destination */
    struct segue_axis far; /* the one within it in the source; count 1: none */
    struct segue_axis lead, split;
    uint64_t row; /* bytes of a row with those */
};

/* What: the box of a span of so many tokens. `turns` is looked for only with `stream`;
 * `lines` says that all of the destination's addresses are whole lines. Pure. */
void segue_box_make(struct segue_box *box, const struct segue_move *move, uint32_t tokens,
                    bool stream, bool lines);

#endif
