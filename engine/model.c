/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration and the weights of a llama model out of a GGUF file. */
#include "model.h"
#include "fail.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, QUANTIZED_BLOCK = 32 };

/* Everything a model keeps outside the file comes from one block, laid out in order. */
struct arena {
    uint8_t *at;
    size_t used, size; /* with at NULL only `used` is counted */
};

static void *arena_take(struct arena *arena, size_t n)
{
    size_t begin = arena->used;
    arena->used += (n + 63) / 64 * 64;
    return arena->at ? arena->at + begin : NULL;
}

static int read_optional(const struct gguf *gguf, const char *key, uint32_t *out)
{
    return gguf_has(gguf, key) ? gguf_u32(gguf, key, out) : 0;
}

static int check_architecture(const struct gguf *gguf)
{
    struct gguf_text name;
    uint32_t experts = 0;
    if (gguf_string(gguf, "general.architecture", &name))
        return -1;
    if (name.len != 5 || memcmp(name.at, "llama", 5))
        return engine_fail("the model's architecture is %.*s; only llama is supported",
                           name.len < 64 ? (int)name.len : 64, name.at);
    if (read_optional(gguf, "llama.expert_count", &experts))
        return -1;
    if (experts)
        return engine_fail("the model has %u experts; only dense ones are supported",
                           experts);
    if (gguf_has(gguf, "llama.rope.scaling.type")) {
        if (gguf_string(gguf, "llama.rope.scaling.type", &name))
            return -1;
        if (name.len != 4 || memcmp(name.at, "none", 4))
            return engine_fail("the model scales RoPE by %.*s, which is not supported",
                               name.len < 64 ? (int)name.len : 64, name.at);
    }
    return 0;
}

static int check_numbers(const struct model_config *config)
{
    const struct {
        const char *name;
        uint32_t value, most;
    } rows[] = {
        {"layers", config->layers, MOST_LAYERS},
        {"width", config->d_model, MOST_WIDTH},
        {"inner width", config->ffn, MOST_WIDTH},
        {"query heads", config->heads, 4096},
        {"KV heads", config->kv_heads, 4096},
        {"head width", config->head_dim, 1024},
        {"context", config->context, UINT32_MAX / 2},
        {"vocabulary", config->vocab, 1 << 24},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value < 1 || rows[i].value > rows[i].most)
            return engine_fail("the model's number of %s is %u, outside 1..%u",
                               rows[i].name, rows[i].value, rows[i].most);
    if (config->heads % config->kv_heads)
        return engine_fail("%u query heads cannot share %u KV heads", config->heads,
                           config->kv_heads);
    if (config->head_dim % 2)
        return engine_fail("head width %u is not even", config->head_dim);
    if (!(config->rope_base > 0) || !(config->rms_eps >= 0))
        return engine_fail("the model's RoPE base or norm epsilon is not positive");
    return 0;
}

static int read_config(const struct gguf *gguf, struct model_config *config)
{
    const struct gguf_tensor *embedding = gguf_find(gguf, "token_embd.weight");
    if (check_architecture(gguf))
        return -1;
    if (!embedding || embedding->n_dims != 2)
        return engine_fail("the model has no token_embd.weight of two dimensions");
    config->vocab = embedding->dims[1] > UINT32_MAX ? 0 : (uint32_t)embedding->dims[1];
    config->rope_base = 10000;
    if (gguf_u32(gguf, "llama.block_count", &config->layers) ||
        gguf_u32(gguf, "llama.embedding_length", &config->d_model) ||
        gguf_u32(gguf, "llama.feed_forward_length", &config->ffn) ||
        gguf_u32(gguf, "llama.attention.head_count", &config->heads) ||
        gguf_u32(gguf, "llama.context_length", &config->context) ||
        gguf_f32(gguf, "llama.attention.layer_norm_rms_epsilon", &config->rms_eps))
        return -1;
    config->kv_heads = config->heads;
    if (read_optional(gguf, "llama.attention.head_count_kv", &config->kv_heads) ||
        (gguf_has(gguf, "llama.rope.freq_base") &&
         gguf_f32(gguf, "llama.rope.freq_base", &config->rope_base)))
        return -1;
    config->head_dim = config->heads ? config->d_model / config->heads : 0;
    if (read_optional(gguf, "llama.attention.key_length", &config->head_dim))
        return -1;
    uint32_t value_dim = config->head_dim, turned = config->head_dim;
    if (read_optional(gguf, "llama.attention.value_length", &value_dim) ||
        read_optional(gguf, "llama.rope.dimension_count", &turned))
        return -1;
    if (value_dim != config->head_dim || turned != config->head_dim)
        return engine_fail("heads of %u key, %u value and %u rotary elements are not "
                           "supported: the three must be equal",
                           config->head_dim, value_dim, turned);
    return check_numbers(config);
}

/* The tensor of a layer, or of none (UINT32_MAX), with its full name left in `full`. */
static const struct gguf_tensor *find(const struct gguf *gguf, char full[64],
                                      const char *name, uint32_t layer)
{
    size_t used = 0;
    if (layer != UINT32_MAX)
        used = (size_t)snprintf(full, 64, "blk.%u.", layer);
    snprintf(full + used, 64 - used, "%s", name);
    return gguf_find(gguf, full);
}

static int read_matrix(const struct gguf *gguf, const char *name, uint32_t layer,
                       uint32_t rows, uint32_t cols, struct matrix *out)
{
    char full[64];
    const struct gguf_tensor *tensor = find(gguf, full, name, layer);
    if (!tensor)
        return engine_fail("the model has no tensor %s", full);
    if (tensor->n_dims != 2 || tensor->dims[0] != cols || tensor->dims[1] != rows)
        return engine_fail("tensor %s is %llu x %llu, not %u x %u", full,
                           (unsigned long long)tensor->dims[1],
                           (unsigned long long)tensor->dims[0], rows, cols);
    *out = (struct matrix){tensor->type, rows, cols, tensor->size / rows, tensor->data};
    return 0;
}

static int read_norm(const struct gguf *gguf, struct arena *arena, const char *name,
                     uint32_t layer, uint32_t n, const float **out)
{
    char full[64];
    const struct gguf_tensor *tensor = find(gguf, full, name, layer);
    float *copy = arena_take(arena, n * sizeof *copy);
    if (!tensor)
        return engine_fail("the model has no tensor %s", full);
    if (tensor->n_dims != 1 || tensor->dims[0] != n || tensor->type != TENSOR_F32)
        return engine_fail("tensor %s is not a row of %u F32 numbers", full, n);
    if (copy)
        memcpy(copy, tensor->data, n * sizeof *copy);
    *out = copy;
    return 0;
}

/* GGUF keeps the rows of a head as pairs (2i, 2i+1) that turn together; here row i turns
 * with row i + half: row i of a half comes from row 2i + half's number. */
static void unpair_rows(struct arena *arena, struct matrix *matrix, uint32_t head_dim)
{
    uint8_t *copy = arena_take(arena, matrix->rows * matrix->row_bytes);
    if (!copy)
        return;
    for (uint32_t row = 0; row < matrix->rows; row++) {
        uint32_t head = row / head_dim, within = row % head_dim, half = head_dim / 2;
        uint32_t from = head * head_dim + within % half * 2 + within / half;
        memcpy(copy + row * matrix->row_bytes, matrix->data + from * matrix->row_bytes,
               matrix->row_bytes);
    }
    matrix->data = copy;
}

static int refuse_biases(const struct gguf *gguf, uint32_t layer)
{
    static const char *const names[] = {
        "attn_q.bias",      "attn_k.bias",        "attn_v.bias",
        "attn_output.bias", "ffn_gate.bias",      "ffn_up.bias",
        "ffn_down.bias",    "attn_q_norm.weight", "attn_k_norm.weight"};
    char full[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (find(gguf, full, names[i], layer))
            return engine_fail("the model has a tensor %s, which is not supported", full);
    return 0;
}

static int read_layer(const struct model *model, struct arena *arena, uint32_t i,
                      struct model_layer *layer)
{
    const struct gguf *gguf = model->gguf;
    const struct model_config *c = &model->config;
    uint32_t q_rows = c->heads * c->head_dim, kv_rows = c->kv_heads * c->head_dim;
    if (refuse_biases(gguf, i) ||
        read_norm(gguf, arena, "attn_norm.weight", i, c->d_model, &layer->attn_norm) ||
        read_norm(gguf, arena, "ffn_norm.weight", i, c->d_model, &layer->ffn_norm) ||
        read_matrix(gguf, "attn_q.weight", i, q_rows, c->d_model, &layer->q) ||
        read_matrix(gguf, "attn_k.weight", i, kv_rows, c->d_model, &layer->k) ||
        read_matrix(gguf, "attn_v.weight", i, kv_rows, c->d_model, &layer->v) ||
        read_matrix(gguf, "attn_output.weight", i, c->d_model, q_rows, &layer->o) ||
        read_matrix(gguf, "ffn_gate.weight", i, c->ffn, c->d_model, &layer->gate) ||
        read_matrix(gguf, "ffn_up.weight", i, c->ffn, c->d_model, &layer->up) ||
        read_matrix(gguf, "ffn_down.weight", i, c->d_model, c->ffn, &layer->down))
        return -1;
    unpair_rows(arena, &layer->q, c->head_dim);
    unpair_rows(arena, &layer->k, c->head_dim);
    return 0;
}

static int read_rope_factors(struct model *model, struct arena *arena)
{
    uint32_t half = model->config.head_dim / 2;
    const float *divisors;
    model->rope_factors = NULL;
    if (!gguf_find(model->gguf, "rope_freqs.weight"))
        return 0;
    if (read_norm(model->gguf, arena, "rope_freqs.weight", UINT32_MAX, half, &divisors))
        return -1;
    float *factors = (float *)divisors;
    for (uint32_t i = 0; factors && i < half; i++) {
        if (!(factors[i] > 0))
            return engine_fail("rope_freqs.weight holds %g, no positive number",
                               factors[i]);
        factors[i] = 1 / factors[i];
    }
    model->rope_factors = factors;
    return 0;
}

/* Called twice: first with an arena that only counts, then with the memory. */
static int read_weights(struct model *model, struct arena *arena)
{
    const struct model_config *c = &model->config;
    struct model_layer scratch;
    model->layer = arena_take(arena, c->layers * sizeof *model->layer);
    if (read_matrix(model->gguf, "token_embd.weight", UINT32_MAX, c->vocab, c->d_model,
                    &model->embedding) ||
        read_norm(model->gguf, arena, "output_norm.weight", UINT32_MAX, c->d_model,
                  &model->output_norm) ||
        read_rope_factors(model, arena))
        return -1;
    model->output = model->embedding;
    if (gguf_find(model->gguf, "output.weight") &&
        read_matrix(model->gguf, "output.weight", UINT32_MAX, c->vocab, c->d_model,
                    &model->output))
        return -1;
    for (uint32_t i = 0; i < c->layers; i++)
        if (read_layer(model, arena, i, model->layer ? &model->layer[i] : &scratch))
            return -1;
    return 0;
}

static uint32_t shards_of(const struct model *model)
{
    const struct model_config *c = &model->config;
    uint32_t shards = c->kv_heads;
    if (c->ffn % shards)
        return 1;
    for (uint32_t i = 0; i < c->layers; i++) {
        const struct matrix *split[] = {&model->layer[i].o, &model->layer[i].down};
        for (int j = 0; j < 2; j++)
            if (split[j]->type != TENSOR_F32 && split[j]->type != TENSOR_F16 &&
                split[j]->cols / shards % QUANTIZED_BLOCK)
                return 1;
    }
    return shards;
}

int model_from_gguf(struct model **out, struct gguf *gguf)
{
    struct model *model = calloc(1, sizeof *model);
    struct arena arena = {0};
    if (!model)
        return engine_fail("out of memory for a model");
    model->gguf = gguf;
    if (read_config(gguf, &model->config) || read_weights(model, &arena))
        goto fail;
    arena.size = arena.used;
    arena.used = 0;
    model->memory = arena.at = aligned_alloc(64, arena.size);
    if (!arena.at) {
        engine_fail("out of memory: the model needs %zu bytes beside its file",
                    arena.size);
        goto fail;
    }
    if (read_weights(model, &arena))
        goto fail;
    model->config.shards = shards_of(model);
    size_t size;
    const void *bytes = gguf_bytes(gguf, &size);
    model->fingerprint = XXH3_64bits(bytes, size);
    *out = model;
    return 0;
fail:
    free(model->memory);
    free(model);
    return -1;
}

int model_open(struct model **out, const char *path)
{
    struct gguf *gguf;
    if (gguf_open(&gguf, path))
        return -1;
    if (model_from_gguf(out, gguf)) {
        gguf_close(gguf);
        return -1;
    }
    return 0;
}

void model_close(struct model *model)
{
    if (!model)
        return;
    gguf_close(model->gguf);
    free(model->memory);
    free(model);
}
