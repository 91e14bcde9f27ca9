/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of axes as strides, and strides as the name of an order. */
#include "kv/layout.h"

#include <stdbool.h>
#include <string.h>
#include "base/status.h"

/* The orders that have names: vLLM's six, then the same with K and V in halves of a block
 * and as tensors of their own. */
static const struct {
    const char *letters, *alias;
} orders[] = {
    {"LBHNC", "hnd"}, {"LBNHC", "nhd"}, {"LHBNC", NULL},  {"BLHNC", NULL},
    {"BLNHC", NULL},  {"BHLNC", NULL},  {"LBH2NC", NULL}, {"LB2NHC", NULL},
    {"LHB2NC", NULL}, {"BLH2NC", NULL}, {"BL2NHC", NULL}, {"BHL2NC", NULL},
    {"L2BHNC", NULL}, {"L2BNHC", NULL}, {"L2HBNC", NULL}, {"2BLHNC", NULL},
    {"2BLNHC", NULL}, {"2BHLNC", NULL},
};
#define ORDERS (sizeof orders / sizeof *orders)

#define AXIS_PARTS SEGUE_AXES /* the place of the 2 */
#define PLACES     (SEGUE_AXES + 1)

/* Axes outermost first, with AXIS_PARTS where K and V part. */
struct order {
    unsigned char axis[PLACES];
};

static bool parse(const char *text, struct order *out)
{
    static const char letters[] = "LBHN2";
    unsigned seen = 0, n = 0;
    for (size_t i = 0; i < ORDERS; i++)
        if (orders[i].alias && strcmp(text, orders[i].alias) == 0)
            text = orders[i].letters;
    for (; *text && strcmp(text, "C") != 0; text++) {
        const char *letter = strchr(letters, *text);
        if (!letter || n == PLACES || seen & 1U << (letter - letters))
            return false;
        seen |= 1U << (letter - letters);
        out->axis[n++] = (unsigned char)(letter - letters);
    }
    if ((seen & 1U << AXIS_PARTS) == 0 && n < PLACES) {
        seen |= 1U << AXIS_PARTS;
        out->axis[n++] = AXIS_PARTS; /* innermost: side by side for every token */
    }
    return *text == 'C' && seen == (1U << PLACES) - 1;
}

static bool grow(uint64_t *bytes, uint32_t count)
{
    return !__builtin_mul_overflow(*bytes, count, bytes) &&
           *bytes <= SEGUE_LAYOUT_BYTES_MAX;
}

/* Strides from the innermost axis outwards: inside the 2, K and V have their own. */
static bool fill(struct segue_layout *layout, const struct order *order)
{
    uint64_t k = layout->k.bytes, v = layout->v.bytes;
    bool apart = true;
    for (unsigned i = PLACES; i-- > 0;) {
        unsigned axis = order->axis[i];
        if (axis == AXIS_PARTS) {
            layout->v.offset = v ? k : 0;
            apart = false;
            k += v;
            if (k > SEGUE_LAYOUT_BYTES_MAX)
                return false;
            continue;
        }
        uint32_t count = segue_axis_count(layout, axis);
        *segue_stride_of(&layout->k, axis) = k;
        if (v)
            *segue_stride_of(&layout->v, axis) = apart ? v : k;
        if (!grow(&k, count) || (apart && !grow(&v, count)))
            return false;
    }
    return true;
}

enum segue_status segue_layout_sized(const char *order, enum segue_dtype dtype,
                                     uint32_t layers, uint32_t blocks,
                                     uint32_t block_tokens, uint32_t heads,
                                     uint32_t k_size, uint32_t v_size,
                                     struct segue_layout *out)
{
    struct order parsed;
    if (!order || !parse(order, &parsed))
        return segue_fail(SEGUE_E_INVALID,
                          "no layout is called '%s': nhd, hnd, or an order of L B H N, "
                          "with a 2 where K and V part, then C: LBNHC, LBH2NC, L2BNHC",
                          order ? order : "(null)");
    struct segue_layout layout = SEGUE_LAYOUT_INIT;
    layout.dtype = dtype;
    layout.layers = layers;
    layout.blocks = blocks;
    layout.block_tokens = block_tokens;
    layout.heads = heads;
    SEGUE_TRY(segue_layout_check_numbers(&layout));
    uint64_t k = (uint64_t)k_size * segue_dtype_size(dtype);
    uint64_t v = (uint64_t)v_size * segue_dtype_size(dtype);
    if (k == 0 || k + v > INT32_MAX)
        return segue_fail(SEGUE_E_INVALID, "a head of %u and %u elements", k_size,
                          v_size);
    layout.k.bytes = (uint32_t)k;
    layout.v.bytes = (uint32_t)v;
    if (!fill(&layout, &parsed))
        return segue_fail(SEGUE_E_RANGE,
                          "%u layers x %u blocks x %u tokens x %u heads x %u and %u "
                          "elements do not fit 63 bits",
                          layers, blocks, block_tokens, heads, k_size, v_size);
    *out = layout;
    return SEGUE_OK;
}

enum segue_status segue_layout_named(const char *order, enum segue_dtype dtype,
                                     uint32_t layers, uint32_t blocks,
                                     uint32_t block_tokens, uint32_t heads,
                                     uint32_t head_size, struct segue_layout *out)
{
    return segue_layout_sized(order, dtype, layers, blocks, block_tokens, heads,
                              head_size, head_size, out);
}

enum segue_status segue_layout_pages(uint32_t layers, uint32_t pages, uint32_t page_bytes,
                                     struct segue_layout *out)
{
    return segue_layout_sized("LBHNC", SEGUE_DTYPE_BYTES, layers, pages, 1, 1, page_bytes,
                              0, out);
}

static bool same_strides(const struct segue_layout *a, const struct segue_layout *b)
{
    for (unsigned axis = 0; axis < SEGUE_AXES; axis++)
        if (segue_axis_count(b, axis) > 1 &&
            (segue_stride(&a->k, axis) != segue_stride(&b->k, axis) ||
             segue_stride(&a->v, axis) != segue_stride(&b->v, axis)))
            return false;
    return a->k.offset == b->k.offset && a->v.offset == b->v.offset;
}

const char *segue_layout_name(const struct segue_layout *layout)
{
    uint32_t element = segue_dtype_size(layout->dtype);
    bool apart = layout->k.layer == 0 && layout->v.layer == 0;
    for (size_t i = 0; element > 0 && i < ORDERS; i++) {
        struct segue_layout named;
        if (segue_layout_sized(orders[i].letters, layout->dtype,
                               apart ? 1 : layout->layers, layout->blocks,
                               layout->block_tokens, layout->heads,
                               layout->k.bytes / element, layout->v.bytes / element,
                               &named) == SEGUE_OK &&
            same_strides(layout, &named))
            return orders[i].alias ? orders[i].alias : orders[i].letters;
    }
    return "strided";
}
