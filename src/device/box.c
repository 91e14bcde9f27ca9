/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of a box: fewest axes, and which of them change places. */
#include "device/box.h"

/* From here on a row is streamed by itself, as long as it fills whole lines. */
#define STREAM_RUN 128
/* Those that do not are streamed but for their ends. */
#define LONG_RUN 1024

/* K and V, where only one side keeps them apart, are an axis this short. */
#define FEW 4

static void drop_axis(struct segue_box *box, unsigned i)
{
    for (box->n--; i < box->n; i++)
        box->axis[i] = box->axis[i + 1];
}

/* One axis less, or false. */
static bool fold_axis(struct segue_box *box)
{
    for (unsigned i = 0; i < box->n; i++) {
        struct segue_axis axis = box->axis[i];
        if (axis.count == 1) {
            drop_axis(box, i);
            return true;
        }
        if (axis.src == box->run && axis.dst == box->dst_run) {
            box->run *= axis.count;
            box->dst_run *= axis.count;
            drop_axis(box, i);
            return true;
        }
        struct segue_axis *inner = &box->axis[i + 1];
        if (i + 1 < box->n && axis.src == inner->src * inner->count &&
            axis.dst == inner->dst * inner->count) {
            inner->count *= axis.count;
            drop_axis(box, i);
            return true;
        }
    }
    return false;
}

static void add_axis(struct segue_box *box, struct segue_axis axis)
{
    unsigned at = box->n++;
    for (; at > 0 && box->axis[at - 1].src < axis.src; at--)
        box->axis[at] = box->axis[at - 1];
    box->axis[at] = axis;
}

static void take_axis(struct segue_box *box, unsigned i, struct segue_axis *axis)
{
    *axis = box->axis[i];
    drop_axis(box, i);
}

/* The axis K and V are, where only the destination has them side by side, or only the
 * source. */
static void find_pair(struct segue_box *box)
{
    const struct segue_axis *first = &box->axis[0], *last = &box->axis[box->n - 1];
    if (first->count <= FEW && first->dst == box->run) {
        take_axis(box, 0, &box->lead);
    } else if (last->count <= FEW && last->src == box->run) {
        for (unsigned i = 0; i + 1 < box->n; i++)
            if (box->axis[i].dst >= last->dst)
                return;
        take_axis(box, box->n - 1, &box->split);
    }
}

/* Finds out whether the destination's order is the better one, and for which axes. */
static void find_turn(struct segue_box *box)
{
    if (box->n < 2 || box->run > LONG_RUN)
        return;
    struct segue_box turned = *box;
    find_pair(&turned);
    uint64_t unit = turned.run * turned.lead.count;
    turned.row = unit * turned.split.count;
    turned.near = turned.n - 1;
    if (turned.n >= 2 && turned.axis[turned.n - 2].dst == unit) {
        turned.near = turned.n - 2;
        turned.far = turned.axis[turned.n - 1];
    }
    turned.turns = turned.axis[turned.near].dst == unit;
    if (turned.turns)
        *box = turned;
}

void segue_box_make(struct segue_box *box, const struct segue_move *move, uint32_t tokens,
                    bool stream, bool lines)
{
    const struct segue_axis none = {1, 0, 0};
    *box = (struct segue_box){.run = move->run,
                              .dst_run = segue_move_scale(move, move->run),
                              .tokens = tokens,
                              .lead = none,
                              .split = none,
                              .far = none};
    for (unsigned d = move->outer; d < move->dims; d++)
        add_axis(box, (struct segue_axis){move->dim[d].count, move->dim[d].src,
                                          move->dim[d].dst});
    add_axis(box, (struct segue_axis){tokens, move->src_token, move->dst_token});
    while (fold_axis(box))
        ;
    box->row = box->run;
    if (stream && !segue_move_converts(move) &&
        !(lines && box->run >= STREAM_RUN && box->run % SEGUE_LINE == 0))
        find_turn(box);
    box->rows = 1;
    for (unsigned i = 0; i < box->n; i++)
        box->rows *= box->axis[i].count;
}
