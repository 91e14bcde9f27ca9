/* SPDX-License-Identifier: Apache-2.0 */
/* One side of `segue layout`: its words, its ranks. */
#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool number(const char *text, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || text[0] < '0' || text[0] > '9' || errno ||
        value > INT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool scale(const char *text, float *out)
{
    char *end;
    *out = strtof(text, &end);
    return end != text && !*end && *out > 0;
}

/* Puts the 2 where K and V part: right outside N (halves), or outside all that lies in one
 * tensor of a layer (split). */
static bool part(const char *order, const char *kv, char out[8])
{
    char bare[8];
    size_t n = 0;
    if (strcmp(order, "nhd") == 0)
        order = "LBNHC";
    if (strcmp(order, "hnd") == 0)
        order = "LBHNC";
    for (const char *p = order; *p && n < sizeof bare - 1; p++)
        if (!kv || *p != '2')
            bare[n++] = *p;
    bare[n] = '\0';
    const char *at = NULL;
    if (kv && strcmp(kv, "halves") == 0)
        at = strchr(bare, 'N');
    else if (kv && strcmp(kv, "split") == 0)
        at = bare + (bare[0] == 'L');
    if (!at) {
        memcpy(out, bare, sizeof bare);
        return true;
    }
    if (n > 6)
        return false;
    size_t before = (size_t)(at - bare);
    memcpy(out, bare, before);
    out[before] = '2';
    memcpy(out + before + 1, at, n - before + 1);
    return true;
}

static const char *const kvs[] = {"token", "halves", "split", "k"};

static bool set(struct layout_side *side, const char *key, const char *value, char *why,
                size_t size)
{
    const struct {
        const char *key;
        uint32_t *at;
    } numbers[] = {{"block", &side->block},   {"tp", &side->tp},
                   {"layers", &side->layers}, {"heads", &side->heads},
                   {"dim", &side->dim},       {"vdim", &side->vdim}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].key) == 0) {
            side->vdim_said |= numbers[i].at == &side->vdim;
            if (number(value, numbers[i].at))
                return true;
            snprintf(why, size, "%s=%s: a number from 0 to 2147483647", key, value);
            return false;
        }
    if (strcmp(key, "order") == 0 || strcmp(key, "layout") == 0) {
        snprintf(side->order, sizeof side->order, "%s", value);
        if (strlen(value) < sizeof side->order)
            return true;
        snprintf(why, size, "%s=%s: an order has at most 6 letters", key, value);
        return false;
    }
    if (strcmp(key, "kv") == 0) {
        for (size_t i = 0; i < sizeof kvs / sizeof *kvs; i++)
            if (strcmp(value, kvs[i]) == 0) {
                side->kv = kvs[i];
                return true;
            }
        snprintf(why, size, "kv=%s: token, halves, split or k", value);
        return false;
    }
    if (strcmp(key, "dtype") == 0) {
        if (segue_dtype_find(value, &side->dtype) == SEGUE_OK)
            return true;
        snprintf(why, size, "dtype=%s: %s", value, segue_error_detail());
        return false;
    }
    if (strcmp(key, "kscale") == 0 || strcmp(key, "vscale") == 0) {
        if (scale(value, key[0] == 'k' ? &side->k_scale : &side->v_scale))
            return true;
        snprintf(why, size, "%s=%s: a number above 0", key, value);
        return false;
    }
    snprintf(why, size,
             "'%s' is no key; there are order (or layout), kv, block, tp, layers, heads, "
             "dim, vdim, dtype, kscale, vscale",
             key);
    return false;
}

bool layout_side_parse(const char *text, struct layout_side *side, char *why, size_t size)
{
    struct layout_side s = *side;
    char copy[256], *rest = copy, order[8];
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy || !text[0]) {
        snprintf(why, size, "a side is written order=nhd,block=16,tp=2,dtype=fp16");
        return false;
    }
    for (char *pair; (pair = strsep(&rest, ","));) {
        char *equals = strchr(pair, '=');
        if (!equals) {
            snprintf(why, size, "'%s' is no KEY=VALUE", pair);
            return false;
        }
        *equals = '\0';
        if (!set(&s, pair, equals + 1, why, size))
            return false;
    }
    if (s.tp > LAYOUT_TP_MOST || s.block == 0) {
        snprintf(why, size, "block=%u,tp=%u: a block has a token, and TP is at most %d",
                 s.block, s.tp, LAYOUT_TP_MOST);
        return false;
    }
    if (!part(s.order, s.kv, order)) {
        snprintf(why, size, "order=%s has no room for kv=%s", s.order, s.kv);
        return false;
    }
    memcpy(s.order, order, sizeof order);
    if (s.kv && strcmp(s.kv, "k") == 0) {
        s.vdim = 0;
        s.vdim_said = true;
    }
    if (!s.vdim_said)
        s.vdim = s.dim;
    *side = s;
    return true;
}

const char *layout_side_name(const struct layout_side *side)
{
    if (strcmp(side->order, "LBNHC") == 0)
        return "nhd";
    return strcmp(side->order, "LBHNC") == 0 ? "hnd" : side->order;
}

enum segue_status layout_side_rank(const struct layout_side *side, uint32_t rank,
                                   uint32_t blocks, struct segue_plan_side *out)
{
    struct segue_plan_side s = SEGUE_PLAN_SIDE_INIT;
    uint32_t count;
    enum segue_status status = segue_plan_heads(side->heads, rank, side->tp,
                                                &s.head_first, &count);
    if (status < 0)
        return status;
    status = segue_layout_sized(side->order, side->dtype, side->layers, blocks,
                                side->block, count, side->dim, side->vdim, &s.layout);
    if (status < 0)
        return status;
    s.heads_total = side->heads;
    s.k_scale = side->k_scale;
    s.v_scale = side->v_scale;
    *out = s;
    return SEGUE_OK;
}

uint32_t layout_gcd(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

enum segue_status
layout_pairs(const struct layout_side *from, const struct layout_side *to,
             enum segue_status (*each)(void *user, uint32_t src, uint32_t dst,
                                       const struct segue_plan_side *a,
                                       const struct segue_plan_side *b),
             void *user)
{
    for (uint32_t d = 0; d < to->tp; d++) {
        struct segue_plan_side a, b;
        uint32_t have = UINT32_MAX;
        enum segue_status status = layout_side_rank(to, d, LAYOUT_BLOCKS, &b);
        for (uint32_t s = 0; status >= 0 && s < from->tp; s++) {
            status = layout_side_rank(from, s, LAYOUT_BLOCKS, &a);
            if (status < 0 || a.head_first == have ||
                a.head_first >= b.head_first + b.layout.heads ||
                b.head_first >= a.head_first + a.layout.heads)
                continue;
            have = a.head_first;
            status = each(user, s, d, &a, &b);
        }
        if (status < 0)
            return status;
    }
    return SEGUE_OK;
}
