/* SPDX-License-Identifier: Apache-2.0 */
/* The axes of a layout, for code that treats them alike; see segue/layout.h. Pure. */
#ifndef KV_LAYOUT_H
#define KV_LAYOUT_H

#include <segue/layout.h>

enum segue_axis { SEGUE_AXIS_LAYER, SEGUE_AXIS_BLOCK, SEGUE_AXIS_HEAD, SEGUE_AXIS_TOKEN };
#define SEGUE_AXES 4

#define SEGUE_LAYOUT_BYTES_MAX ((uint64_t)INT64_MAX)

/* What: a part's stride on an axis, to read or write; how many indices the axis has. */
static inline uint64_t *segue_stride_of(struct segue_layout_part *part, unsigned axis)
{
    uint64_t *const strides[SEGUE_AXES] = {&part->layer, &part->block, &part->head,
                                           &part->token};
    return strides[axis];
}

static inline uint64_t segue_stride(const struct segue_layout_part *part, unsigned axis)
{
    return *segue_stride_of((struct segue_layout_part *)(uintptr_t)part, axis);
}

static inline uint32_t segue_axis_count(const struct segue_layout *layout, unsigned axis)
{
    const uint32_t counts[SEGUE_AXES] = {layout->layers, layout->blocks, layout->heads,
                                         layout->block_tokens};
    return counts[axis];
}

/* What: whether the struct's size, element type and counts are sound. E_INVALID. */
enum segue_status segue_layout_check_numbers(const struct segue_layout *layout);

/* What: segue_layout_check for K and V in memory of their own: they may say the same
 * bytes. */
enum segue_status segue_layout_check_apart(const struct segue_layout *layout);

#endif
