/* SPDX-License-Identifier: Apache-2.0 */
/* What a GGUF file says about its tokenizer. */
#include "fail.h"
#include "tokenizer.h"

#include <stdlib.h>

/* NULL when the key is missing, is no array of strings, or memory is out; one element
 * more than there are, so that an empty array is no failure. */
static struct gguf_text *read_texts(const struct gguf *gguf, const char *key,
                                    size_t *count)
{
    struct gguf_array array;
    if (gguf_array(gguf, key, &array) != 0 || array.kind != GGUF_STRING) {
        engine_fail("the model file has no list of strings %s", key);
        return NULL;
    }
    struct gguf_text *texts = calloc(array.count + 1, sizeof *texts);
    if (texts == NULL) {
        engine_fail("no memory for %s", key);
        return NULL;
    }
    *count = 0;
    while (*count < array.count && gguf_array_next(&array, &texts[*count]))
        ++*count;
    return texts;
}

static uint8_t *read_kinds(const struct gguf *gguf, size_t count)
{
    struct gguf_array array = {0};
    bool there = gguf_array(gguf, "tokenizer.ggml.token_type", &array) == 0;
    if (there && array.count != count) {
        engine_fail("the model file has %zu tokens but %llu token types", count,
                    (unsigned long long)array.count);
        return NULL;
    }
    uint8_t *kinds = malloc(count + 1);
    if (kinds == NULL)
        engine_fail("no memory for %zu token types", count);
    for (size_t i = 0; kinds != NULL && i < count; i++)
        kinds[i] = there ? (uint8_t)gguf_array_int(&array, i) : TOKEN_NORMAL;
    return kinds;
}

static uint32_t read_id(const struct gguf *gguf, const char *key)
{
    uint32_t id = TOKEN_NONE;
    (void)gguf_u32(gguf, key, &id);
    return id;
}

int tokenizer_open(struct tokenizer **out, const struct gguf *gguf)
{
    struct vocabulary vocabulary = {
        .pre = {"gpt-2", 5}, /* what files from before the key meant */
        .bos = read_id(gguf, "tokenizer.ggml.bos_token_id"),
        .eos = read_id(gguf, "tokenizer.ggml.eos_token_id"),
    };
    if (gguf_string(gguf, "tokenizer.ggml.model", &vocabulary.model) != 0)
        return engine_fail("the model file has no tokenizer.ggml.model");
    (void)gguf_string(gguf, "tokenizer.ggml.pre", &vocabulary.pre);
    (void)gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &vocabulary.add_bos);
    int status = -1;
    uint8_t *kinds = NULL;
    struct gguf_text *merges = NULL;
    struct gguf_text *tokens = read_texts(gguf, "tokenizer.ggml.tokens",
                                          &vocabulary.token_count);
    if (tokens != NULL)
        kinds = read_kinds(gguf, vocabulary.token_count);
    if (kinds != NULL)
        merges = read_texts(gguf, "tokenizer.ggml.merges", &vocabulary.merge_count);
    if (merges != NULL) {
        vocabulary.tokens = tokens;
        vocabulary.kinds = kinds;
        vocabulary.merges = merges;
        status = tokenizer_from_vocabulary(out, &vocabulary);
    }
    free(tokens);
    free(kinds);
    free(merges);
    return status;
}
