/* SPDX-License-Identifier: Apache-2.0 */
/* The tiny model opens; with any name or number in it changed it is refused by name. */
#include "test.h"
#include "fail.h"
#include "model.h"
#include "runner.h"
#include <stdlib.h>
#include <string.h>

struct copy {
    uint8_t *bytes;
    size_t size;
};

static struct copy copy_model(void)
{
    struct copy copy;
    const char *path = getenv("TINY_MODEL");
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file)
        fail_msg("TINY_MODEL does not name the tiny model");
    fseek(file, 0, SEEK_END);
    copy.size = (size_t)ftell(file);
    copy.bytes = malloc(copy.size);
    rewind(file);
    assert_int_equal(fread(copy.bytes, 1, copy.size, file), copy.size);
    fclose(file);
    return copy;
}

static int try_model(const struct copy *copy)
{
    struct gguf *gguf;
    struct model *model;
    if (gguf_open_bytes(&gguf, copy->bytes, copy->size, "tiny"))
        return -1;
    if (model_from_gguf(&model, gguf)) {
        gguf_close(gguf);
        return -1;
    }
    model_close(model);
    return 0;
}

static uint8_t *find(const struct copy *copy, const char *text)
{
    uint8_t *at = memmem(copy->bytes, copy->size, text, strlen(text));
    assert_non_null(at);
    return at;
}

/* Replaces the first `old` and says what the refusal must say. */
static void refused_with(const char *old, const char *fresh, const char *why)
{
    struct copy copy = copy_model();
    memcpy(find(&copy, old), fresh, strlen(fresh));
    assert_int_equal(try_model(&copy), -1);
    if (!strstr(engine_error(), why))
        fail_msg("\"%s\" does not say \"%s\"", engine_error(), why);
    free(copy.bytes);
}

static void refused_with_number(const char *key, uint32_t value, const char *why)
{
    struct copy copy = copy_model();
    memcpy(find(&copy, key) + strlen(key) + 4, &value, 4);
    assert_int_equal(try_model(&copy), -1);
    if (!strstr(engine_error(), why))
        fail_msg("\"%s\" does not say \"%s\"", engine_error(), why);
    free(copy.bytes);
}

static void the_tiny_model(void **state)
{
    struct model *model;
    if (model_open(&model, getenv("TINY_MODEL")))
        fail_msg("%s", engine_error());
    const struct model_config *c = &model->config;
    assert_int_equal(c->layers, 4);
    assert_int_equal(c->heads, 8);
    assert_int_equal(c->kv_heads, 4);
    assert_int_equal(c->head_dim, 16);
    assert_int_equal(c->shards, 4);
    assert_ptr_not_equal(model->output.data, model->embedding.data);
    assert_int_equal(model->layer[3].down.type, TENSOR_F16);
    assert_int_equal(runner_check_tp(c, 4), 0);
    assert_int_equal(runner_check_tp(c, 3), -1);
    assert_string_equal(engine_error(),
                        "the model has 8 query and 4 KV heads: TP 3 is refused");
    model_close(model);
    model_close(NULL);
}

/* Row i of a head's half-split K is row 2i (first half) or 2i+1 of the file's. */
static void rotary_rows_are_split(void **state)
{
    struct model *model;
    assert_int_equal(model_open(&model, getenv("TINY_MODEL")), 0);
    const struct matrix *k = &model->layer[2].k;
    const struct gguf_tensor *file = gguf_find(model->gguf, "blk.2.attn_k.weight");
    for (uint32_t head = 0; head < 4; head++)
        for (uint32_t i = 0; i < 8; i++)
            for (uint32_t half = 0; half < 2; half++)
                assert_memory_equal(
                    k->data + (head * 16 + half * 8 + i) * k->row_bytes,
                    file->data + (head * 16 + 2 * i + half) * k->row_bytes, k->row_bytes);
    assert_ptr_equal(model->layer[2].v.data,
                     gguf_find(model->gguf, "blk.2.attn_v.weight")->data);
    model_close(model);
}

static void other_architectures(void **state)
{
    refused_with("llama", "gemma", "architecture is gemma; only llama");
    refused_with("general.architecture", "general.Architecture", "general.architecture");
}

static void missing_and_odd_tensors(void **state)
{
    refused_with("token_embd.weight", "Token_embd.weight", "token_embd.weight");
    refused_with("output_norm.weight", "Output_norm.weight", "output_norm.weight");
    refused_with("blk.3.ffn_up.weight", "blk.3.ffn_Up.weight", "blk.3.ffn_up.weight");
    refused_with("blk.1.attn_q.weight", "blk.1.attn_Q.weight", "blk.1.attn_q.weight");
    refused_with("blk.1.attn_q.weight", "blk.1.attn_q.bias\0\0",
                 "no tensor blk.1.attn_q");
    refused_with_number("blk.2.ffn_down.weight", 64, "tensor blk.2.ffn_down.weight is");
}

static void odd_numbers(void **state)
{
    refused_with_number("llama.block_count", 0, "layers is 0");
    refused_with_number("llama.block_count", 5, "blk.4.");
    refused_with_number("llama.block_count", UINT32_MAX, "layers is 4294967295");
    refused_with_number("llama.embedding_length", 0, "rotary");
    refused_with_number("llama.embedding_length", 64, "rotary");
    refused_with_number("llama.feed_forward_length", 128, "ffn");
    refused_with_number("llama.attention.head_count_kv", 3, "cannot share");
    refused_with_number("llama.attention.head_count_kv", 0, "KV heads is 0");
    refused_with_number("llama.attention.head_count_kv", 2, "attn_k.weight");
    refused_with_number("llama.rope.dimension_count", 8, "8 rotary");
    refused_with_number("llama.context_length", 0, "context is 0");
    refused_with_number("llama.rope.freq_base", 0, "RoPE base");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_tiny_model),      cmocka_unit_test(rotary_rows_are_split),
    cmocka_unit_test(other_architectures), cmocka_unit_test(missing_and_odd_tensors),
    cmocka_unit_test(odd_numbers),
};
TEST_MAIN(tests)
