/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF files, and models made of them, of any bytes. What is accepted must lie inside the
 * file, byte for byte.
 */
#include "gguf.h"
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void touch(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        sink = (uint8_t)(sink + at[i]);
}

static void look_up(const struct gguf *gguf)
{
    static const char *const keys[] = {"general.name", "general.alignment",
                                       "llama.block_count", "tokenizer.ggml.tokens",
                                       "tokenizer.ggml.token_type"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct gguf_text text;
        struct gguf_array array;
        uint32_t number;
        float real;
        bool yes;
        if (!gguf_string(gguf, keys[i], &text))
            touch(text.at, text.len);
        gguf_u32(gguf, keys[i], &number);
        gguf_f32(gguf, keys[i], &real);
        gguf_bool(gguf, keys[i], &yes);
        if (gguf_array(gguf, keys[i], &array))
            continue;
        for (uint64_t j = 0; j < array.count && j < 100; j++) {
            gguf_array_int(&array, j);
            gguf_array_float(&array, j);
        }
        while (gguf_array_next(&array, &text))
            touch(text.at, text.len);
    }
    const struct gguf_tensor *tensor = gguf_find(gguf, "token_embd.weight");
    if (tensor)
        touch(tensor->data, tensor->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *gguf;
    struct model *model;
    if (gguf_open_bytes(&gguf, data, size, "the input"))
        return 0;
    look_up(gguf);
    if (model_from_gguf(&model, gguf)) {
        gguf_close(gguf);
        return 0;
    }
    touch(model->layer[0].q.data, model->layer[0].q.row_bytes * model->layer[0].q.rows);
    model_close(model);
    return 0;
}
