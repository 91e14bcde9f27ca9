/* SPDX-License-Identifier: Apache-2.0 */
/* The real model's tokenizer: the prompts of the reference tokens, and texts whose ids
 * were taken from the tokenizers package with the same vocabulary. */
#include "test.h"
#include "fail.h"
#include "tokenizer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct tokenizer *tokenizer;

static void expect(const char *text, size_t length, const json_t *ids)
{
    uint32_t *got;
    size_t count;
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &got, &count), 0);
    assert_int_equal(count, json_array_size(ids));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(got[i], json_integer_value(json_array_get(ids, i)));
    free(got);
}

static void check_file(const char *name, const char *text, const char *ids)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/data/%s", getenv("TESTS"), name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL)
        fail_msg("%s: %s", path, error.text);
    size_t i;
    json_t *item;
    assert_true(json_array_size(json_object_get(root, "items")) >= 10);
    json_array_foreach(json_object_get(root, "items"), i, item)
    {
        const json_t *prompt = json_object_get(item, text);
        expect(json_string_value(prompt), json_string_length(prompt),
               json_object_get(item, ids));
    }
    json_decref(root);
}

static void the_reference_prompts(void **state)
{
    check_file("smollm2-135m-q4_1-greedy.json", "prompt", "prompt_ids");
}

static void texts_of_many_kinds(void **state)
{
    check_file("smollm2-tokens.json", "text", "ids");
}

static void open_model(void **state)
{
    struct gguf *gguf;
    if (gguf_open(&gguf, getenv("MODEL")) != 0 || tokenizer_open(&tokenizer, gguf) != 0)
        fail_msg("%s", engine_error());
    gguf_close(gguf);
}

static void close_model(void **state)
{
    tokenizer_close(tokenizer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(open_model),
    cmocka_unit_test(the_reference_prompts),
    cmocka_unit_test(texts_of_many_kinds),
    cmocka_unit_test(close_model),
};
TEST_MAIN(tests)
