/* SPDX-License-Identifier: Apache-2.0 */
/* Whether strides make sense, and how far they reach. */
#include "kv/layout.h"

#include <stdbool.h>
#include "base/status.h"

enum segue_status segue_layout_check_numbers(const struct segue_layout *layout)
{
    static const char *const names[SEGUE_AXES] = {"layers", "blocks", "heads",
                                                  "tokens a block"};
    if (layout->size != sizeof *layout)
        return segue_fail(SEGUE_E_INVALID,
                          "the layout struct has %zu bytes instead of %zu: start from "
                          "SEGUE_LAYOUT_INIT",
                          layout->size, sizeof *layout);
    if (segue_dtype_size(layout->dtype) == 0)
        return segue_fail(SEGUE_E_INVALID, "%u is no element type", layout->dtype);
    for (unsigned axis = 0; axis < SEGUE_AXES; axis++)
        if (segue_axis_count(layout, axis) == 0 ||
            segue_axis_count(layout, axis) > INT32_MAX)
            return segue_fail(SEGUE_E_INVALID, "a layout with %u %s",
                              segue_axis_count(layout, axis), names[axis]);
    return SEGUE_OK;
}

/* Bytes from a part's first byte to past its last over the given axes (a bit each);
 * false when they do not fit 63 bits. */
static bool part_span(const struct segue_layout *layout,
                      const struct segue_layout_part *part, unsigned axes, uint64_t *span)
{
    *span = part->bytes;
    for (unsigned axis = 0; axis < SEGUE_AXES; axis++) {
        uint64_t far;
        if ((axes & 1U << axis) == 0)
            continue;
        if (__builtin_mul_overflow(segue_stride(part, axis),
                                   segue_axis_count(layout, axis) - 1, &far) ||
            __builtin_add_overflow(*span, far, span))
            return false;
    }
    return *span <= SEGUE_LAYOUT_BYTES_MAX;
}

static bool part_end(const struct segue_layout *layout,
                     const struct segue_layout_part *part, uint64_t *end)
{
    *end = 0;
    if (part->bytes == 0)
        return true;
    return part_span(layout, part, (1U << SEGUE_AXES) - 1, end) &&
           !__builtin_add_overflow(*end, part->offset, end) &&
           *end <= SEGUE_LAYOUT_BYTES_MAX;
}

uint64_t segue_layout_bytes(const struct segue_layout *layout)
{
    uint64_t k, v;
    for (unsigned axis = 0; axis < SEGUE_AXES; axis++)
        if (segue_axis_count(layout, axis) == 0)
            return 0;
    if (!part_end(layout, &layout->k, &k) || !part_end(layout, &layout->v, &v))
        return 0;
    return k > v ? k : v;
}

/* The axes of a part that have more than one index, smallest stride first. */
static unsigned sort_axes(const struct segue_layout *layout,
                          const struct segue_layout_part *part, unsigned char *sorted)
{
    unsigned n = 0;
    for (unsigned axis = 0; axis < SEGUE_AXES; axis++) {
        if (segue_axis_count(layout, axis) == 1 ||
            (axis == SEGUE_AXIS_LAYER && part->layer == 0))
            continue;
        unsigned at = n++;
        for (; at > 0 && segue_stride(part, sorted[at - 1]) > segue_stride(part, axis);
             at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = (unsigned char)axis;
    }
    return n;
}

static enum segue_status check_nested(const struct segue_layout *layout,
                                      const struct segue_layout_part *part,
                                      const char *name)
{
    unsigned char sorted[SEGUE_AXES];
    unsigned n = sort_axes(layout, part, sorted), inside = 0;
    for (unsigned i = 0; i < n; i++) {
        static const char *const names[SEGUE_AXES] = {"layer", "block", "head", "token"};
        uint64_t span;
        if (!part_span(layout, part, inside, &span) ||
            span > segue_stride(part, sorted[i]))
            return segue_fail(SEGUE_E_INVALID,
                              "%s: the %s stride of %llu bytes is less than what lies "
                              "inside it",
                              name, names[sorted[i]],
                              (unsigned long long)segue_stride(part, sorted[i]));
        inside |= 1U << sorted[i];
    }
    return SEGUE_OK;
}

/* Whether K and V together, `span` bytes, nest in the axes that they share. */
static bool nests(const struct segue_layout *layout, const unsigned char *axes,
                  unsigned n, uint64_t span)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t step = segue_stride(&layout->k, axes[i]);
        if (span > step)
            return false;
        span += step * (segue_axis_count(layout, axes[i]) - 1);
    }
    return true;
}

/* K and V are apart when, inside some number of outer axes that they share, each lies in
 * a range of its own and both fit into the shared strides:
 *
 *     |<------------ shared stride ------------>|
 *     |  K K K K .... |  V V V V ....           |  K K K K ...
 */
static bool parts_apart(const struct segue_layout *layout)
{
    const struct segue_layout_part *k = &layout->k, *v = &layout->v;
    unsigned char sorted[SEGUE_AXES];
    unsigned n = sort_axes(layout, k, sorted), inside = 0;
    bool k_first = k->offset <= v->offset;
    uint64_t apart = k_first ? v->offset - k->offset : k->offset - v->offset;
    for (unsigned i = 0; i < n; i++)
        inside |= 1U << sorted[i];
    for (unsigned left = n;; left--) {
        uint64_t k_span, v_span;
        if (!part_span(layout, k, inside, &k_span) ||
            !part_span(layout, v, inside, &v_span))
            return false;
        uint64_t first = k_first ? k_span : v_span, second = k_first ? v_span : k_span;
        if (apart >= first && nests(layout, sorted + left, n - left, apart + second))
            return true;
        if (left == 0 ||
            segue_stride(k, sorted[left - 1]) != segue_stride(v, sorted[left - 1]))
            return false;
        inside &= ~(1U << sorted[left - 1]);
    }
}

enum segue_status segue_layout_check_apart(const struct segue_layout *layout)
{
    SEGUE_TRY(segue_layout_check_numbers(layout));
    uint32_t element = segue_dtype_size(layout->dtype);
    if (layout->k.bytes == 0 || layout->k.bytes % element != 0 ||
        layout->v.bytes % element != 0)
        return segue_fail(
            SEGUE_E_INVALID, "K of %u and V of %u bytes are no whole heads of %s",
            layout->k.bytes, layout->v.bytes, segue_dtype_name(layout->dtype));
    if ((uint64_t)layout->k.bytes + layout->v.bytes > INT32_MAX)
        return segue_fail(SEGUE_E_RANGE, "K of %u and V of %u bytes a head",
                          layout->k.bytes, layout->v.bytes);
    if (segue_layout_bytes(layout) == 0)
        return segue_fail(SEGUE_E_RANGE, "the layout's last byte is beyond 63 bits");
    SEGUE_TRY(check_nested(layout, &layout->k, "K"));
    if (layout->v.bytes == 0)
        return SEGUE_OK;
    SEGUE_TRY(check_nested(layout, &layout->v, "V"));
    if ((layout->k.layer == 0) != (layout->v.layer == 0) && layout->layers > 1)
        return segue_fail(SEGUE_E_INVALID, "only one of K and V has a layer stride");
    return SEGUE_OK;
}

enum segue_status segue_layout_check(const struct segue_layout *layout)
{
    SEGUE_TRY(segue_layout_check_apart(layout));
    if (layout->v.bytes > 0 && !parts_apart(layout))
        return segue_fail(SEGUE_E_INVALID, "K at %llu and V at %llu share bytes",
                          (unsigned long long)layout->k.offset,
                          (unsigned long long)layout->v.offset);
    return SEGUE_OK;
}
