/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out plans for an oracle in another language (numpy_plan.py): one case a line on
 * stdin, the SHA-256 of the destination on stdout.
 *
 *     dtype from, to; then for each side: layers blocks tokens heads; K and V as bytes
 *     offset layer block head token; first layer, of; first head, of; scale of K, of V;
 *     then tokens, first token; the source's block ids, the destination's; bytes of each
 *     memory; seed
 *
 * Source byte i is (i * 2654435761 + seed) >> 7, the destination begins as 0xee. A plan
 * that cannot be answers with the status' name.
 */
#include "device/relayout.h"
#include "kv/plan.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next(void)
{
    unsigned long long value;
    if (scanf("%llu", &value) != 1)
        exit(3);
    return value;
}

static void read_part(struct segue_layout_part *part)
{
    part->bytes = (uint32_t)next();
    part->offset = next();
    part->layer = next();
    part->block = next();
    part->head = next();
    part->token = next();
}

struct side {
    struct segue_geometry geometry;
    float scale[2 * 64];
    uint32_t blocks[4096];
    struct segue_tokens tokens;
    struct segue_extent memory;
};

static void read_side(struct side *side, uint32_t dtype)
{
    struct segue_geometry *g = &side->geometry;
    double k, v;
    *g = (struct segue_geometry){.layout = SEGUE_LAYOUT_INIT, .scale = side->scale};
    g->layout.dtype = dtype;
    g->layout.layers = (uint32_t)next();
    g->layout.blocks = (uint32_t)next();
    g->layout.block_tokens = (uint32_t)next();
    g->layout.heads = (uint32_t)next();
    read_part(&g->layout.k);
    read_part(&g->layout.v);
    g->layer_first = (uint32_t)next();
    g->layers_total = (uint32_t)next();
    g->head_first = (uint32_t)next();
    g->heads_total = (uint32_t)next();
    if (scanf("%lf %lf", &k, &v) != 2 || g->layout.layers > 64)
        exit(3);
    for (uint32_t i = 0; i < g->layout.layers; i++) {
        side->scale[2 * i] = (float)k;
        side->scale[2 * i + 1] = (float)v;
    }
    if (dtype == SEGUE_DTYPE_BYTES)
        g->scale = NULL;
}

static void read_blocks(struct side *side, uint64_t first)
{
    size_t n = (size_t)next();
    if (n > 4096)
        exit(3);
    for (size_t i = 0; i < n; i++)
        side->blocks[i] = (uint32_t)next();
    side->tokens = (struct segue_tokens){side->blocks, n,
                                         side->geometry.layout.block_tokens, first};
}

static enum segue_status copy(struct side *src, struct side *dst, uint64_t tokens)
{
    struct segue_plan plan;
    size_t max = segue_spans_max(&src->tokens, &dst->tokens, tokens), n;
    struct segue_span *spans = calloc(max + 1, sizeof *spans);
    enum segue_status status = segue_plan_build(&src->geometry, &dst->geometry, &plan);
    if (status >= 0) {
        status = segue_spans_bind(&plan, &src->tokens, &dst->tokens, tokens, spans, max,
                                  &n);
        struct segue_transfer t = {plan.moves, plan.n_moves, spans, n};
        if (status >= 0)
            status = segue_transfer_check(&t, &src->memory, 1, &dst->memory, 1);
        struct segue_relayout r = {
            .transfer = &t, .src = &src->memory, .dst = &dst->memory, .stream = true};
        struct segue_relayout_at at = {0};
        while (status >= 0 && segue_relayout_copy(&r, &at, 777))
            ;
        segue_plan_free(&plan);
    }
    free(spans);
    return status;
}

static void answer(enum segue_status status, const struct segue_extent *memory)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (status < 0) {
        printf("%s\n", segue_status_name(status));
        return;
    }
    EVP_Digest(memory->base, memory->len, hash, &len, EVP_sha256(), NULL);
    for (unsigned i = 0; i < len; i++)
        printf("%02x", hash[i]);
    printf("\n");
}

int main(void)
{
    static struct side src, dst;
    int c;
    while ((c = getchar()) != EOF && c != '\n') {
        ungetc(c, stdin);
        uint32_t from = (uint32_t)next(), to = (uint32_t)next();
        read_side(&src, from);
        read_side(&dst, to);
        uint64_t tokens = next(), first = next();
        read_blocks(&src, first);
        read_blocks(&dst, first);
        src.memory.len = next();
        dst.memory.len = next();
        uint32_t seed = (uint32_t)next();
        src.memory.base = malloc(src.memory.len + 1);
        dst.memory.base = malloc(dst.memory.len + 1);
        for (uint32_t i = 0; i < src.memory.len; i++)
            src.memory.base[i] = (char)((i * 2654435761U + seed) >> 7);
        memset(dst.memory.base, 0xee, dst.memory.len);
        answer(copy(&src, &dst, tokens), &dst.memory);
        free(src.memory.base);
        free(dst.memory.base);
        while ((c = getchar()) != '\n' && c != EOF)
            ;
    }
    return 0;
}
