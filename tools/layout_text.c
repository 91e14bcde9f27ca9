/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as a table for people and as one JSON object. */
#include "layout.h"

#include <inttypes.h>

struct sums {
    FILE *out;
    const struct layout_side *from, *to;
    bool json, more;
    uint64_t bytes; /* a token, all ranks */
};

static const char *size_text(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    uint64_t whole = bytes;
    while (unit < 4 && whole >= 1024 && whole % 1024 == 0) {
        whole /= 1024;
        unit++;
    }
    snprintf(out, 24, "%" PRIu64 " %s", whole, units[unit]);
    return out;
}

static void step_text(FILE *out, const char *what, uint64_t src, uint64_t dst)
{
    char a[24], b[24];
    fprintf(out, "      %-16s +%-12s -> +%s\n", what, size_text(src, a),
            size_text(dst, b));
}

/* What a dim steps over, by its strides. */
static const char *dim_name(const struct segue_plan_dim *dim,
                            const struct segue_plan_side *src,
                            const struct segue_plan_side *dst)
{
    const struct segue_layout *from = &src->layout, *to = &dst->layout;
    if (dim->src == from->k.layer && dim->dst == to->k.layer)
        return "layers";
    if (dim->src == from->k.head && dim->dst == to->k.head)
        return "heads";
    if (dim->count == 2 && (dim->src == from->v.offset || dim->dst == to->v.offset))
        return "parts: K, V";
    return "together";
}

static void move_text(FILE *out, const struct segue_plan_move *m,
                      const struct segue_plan_side *src,
                      const struct segue_plan_side *dst)
{
    char a[24], b[24];
    fprintf(out, "    copy %s", size_text(m->src_run, a));
    if (m->from != m->to || m->scale != 0) {
        fprintf(out, " %s as %s %s", segue_dtype_name(m->from), size_text(m->dst_run, b),
                segue_dtype_name(m->to));
        if (m->scale != 0)
            fprintf(out, ", times %g", (double)m->scale);
    }
    fprintf(out, " from +%" PRIu64 " to +%" PRIu64 ", for each\n", m->src_offset,
            m->dst_offset);
    for (uint32_t d = 0; d < m->dims; d++) {
        char what[40];
        snprintf(what, sizeof what, "of %u %s", m->dim[d].count,
                 dim_name(&m->dim[d], src, dst));
        step_text(out, what, m->dim[d].src, m->dim[d].dst);
    }
    step_text(out, "block", m->src_block, m->dst_block);
    step_text(out, "token of one", m->src_token, m->dst_token);
}

static void move_json(FILE *out, const struct segue_plan_move *m, bool more)
{
    fprintf(out,
            "%s{\"run\": {\"src\": %u, \"dst\": %u}, \"from\": \"%s\", \"to\": \"%s\", "
            "\"scale\": %g, \"offset\": {\"src\": %" PRIu64 ", \"dst\": %" PRIu64
            "}, \"block\": {\"src\": %" PRIu64 ", \"dst\": %" PRIu64
            "}, \"token\": {\"src\": %" PRIu64 ", \"dst\": %" PRIu64 "}, \"dims\": [",
            more ? ", " : "", m->src_run, m->dst_run, segue_dtype_name(m->from),
            segue_dtype_name(m->to), m->scale != 0 ? (double)m->scale : 1, m->src_offset,
            m->dst_offset, m->src_block, m->dst_block, m->src_token, m->dst_token);
    for (uint32_t d = 0; d < m->dims; d++)
        fprintf(out, "%s{\"count\": %u, \"src\": %" PRIu64 ", \"dst\": %" PRIu64 "}",
                d ? ", " : "", m->dim[d].count, m->dim[d].src, m->dim[d].dst);
    fprintf(out, "]}");
}

static void heads_text(FILE *out, const struct segue_plan_side *a,
                       const struct segue_plan_side *b)
{
    uint32_t first = a->head_first > b->head_first ? a->head_first : b->head_first;
    uint32_t a_end = a->head_first + a->layout.heads;
    uint32_t b_end = b->head_first + b->layout.heads;
    uint32_t last = (a_end < b_end ? a_end : b_end) - 1;
    if (first == last)
        fprintf(out, "head %u", first);
    else
        fprintf(out, "heads %u to %u", first, last);
}

static enum segue_status one_pair(void *user, uint32_t src, uint32_t dst,
                                  const struct segue_plan_side *a,
                                  const struct segue_plan_side *b)
{
    struct sums *sums = user;
    struct segue_plan_info info;
    segue_plan *plan;
    enum segue_status status = segue_plan_create(a, b, &plan);
    if (status < 0)
        return status;
    segue_plan_about(plan, &info);
    sums->bytes += info.bytes_per_token;
    char run[24];
    if (sums->json)
        fprintf(sums->out,
                "%s{\"from\": %u, \"to\": %u, \"bytes_per_token\": %" PRIu64
                ", \"run\": %u, \"converts\": %s, \"moves\": [",
                sums->more ? ", " : "", src, dst, info.bytes_per_token, info.run,
                info.converts ? "true" : "false");
    else {
        fprintf(sums->out, "\n  rank %u -> rank %u: ", src, dst);
        heads_text(sums->out, a, b);
        fprintf(sums->out, ", %u move%s, pieces of %s\n", info.moves,
                info.moves == 1 ? "" : "s", size_text(info.run, run));
    }
    for (uint32_t i = 0; i < info.moves; i++) {
        struct segue_plan_move move;
        segue_plan_move_at(plan, i, &move);
        if (sums->json)
            move_json(sums->out, &move, i > 0);
        else
            move_text(sums->out, &move, a, b);
    }
    if (sums->json)
        fprintf(sums->out, "]}");
    sums->more = true;
    segue_plan_destroy(plan);
    return SEGUE_OK;
}

static void side_text(FILE *out, const char *what, const struct layout_side *s)
{
    fprintf(out, "%-5s %-7s block %-4u TP %-3u %u layers x %u KV heads x ", what,
            layout_side_name(s), s->block, s->tp, s->layers, s->heads);
    if (s->vdim == s->dim)
        fprintf(out, "2 x %u", s->dim);
    else if (s->vdim)
        fprintf(out, "(%u + %u)", s->dim, s->vdim);
    else
        fprintf(out, "%u (K alone)", s->dim);
    fprintf(out, " %s\n", segue_dtype_name(s->dtype));
}

enum segue_status layout_text(FILE *out, const struct layout_side *from,
                              const struct layout_side *to)
{
    struct sums sums = {.out = out, .from = from, .to = to};
    uint32_t gcd = layout_gcd(from->block, to->block);
    side_text(out, "from", from);
    side_text(out, "to", to);
    if (from->block != to->block)
        fprintf(out,
                "blocks of %u and %u meet every %" PRIu64
                " tokens; what is cut between is a multiple of %u\n",
                from->block, to->block, (uint64_t)from->block / gcd * to->block, gcd);
    enum segue_status status = layout_pairs(from, to, one_pair, &sums);
    if (status >= 0)
        fprintf(out,
                "\n%" PRIu64 " bytes a token in all; offsets are those of caches with %d "
                "blocks\n",
                sums.bytes, LAYOUT_BLOCKS);
    return status;
}

static void side_json(FILE *out, const char *key, const struct layout_side *s)
{
    fprintf(out,
            "\"%s\": {\"layout\": \"%s\", \"block\": %u, \"tp\": %u, \"layers\": %u, "
            "\"heads\": %u, \"k\": %u, \"v\": %u, \"dtype\": \"%s\"}",
            key, layout_side_name(s), s->block, s->tp, s->layers, s->heads, s->dim,
            s->vdim, segue_dtype_name(s->dtype));
}

enum segue_status layout_json(FILE *out, const struct layout_side *from,
                              const struct layout_side *to)
{
    struct sums sums = {.out = out, .from = from, .to = to, .json = true};
    fprintf(out, "{");
    side_json(out, "from", from);
    fprintf(out, ", ");
    side_json(out, "to", to);
    fprintf(out, ", \"sub_block\": %u, \"pairs\": [", layout_gcd(from->block, to->block));
    enum segue_status status = layout_pairs(from, to, one_pair, &sums);
    fprintf(out, "], \"bytes_per_token\": %" PRIu64 "}\n", sums.bytes);
    return status;
}
