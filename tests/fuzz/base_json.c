/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader over any bytes. Whatever it accepts must hold together: every span lies
 * inside the text and is a value of its own, and text survives being written again.
 */
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                  \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);      \
            abort();                                                                     \
        }                                                                                \
    } while (0)

static void check_string(struct segue_json_value string)
{
    char *text = malloc(string.len);
    MUST(text);
    size_t len;
    if (segue_json_text(string, text, string.len, &len) == SEGUE_OK) {
        struct segue_text out = {0};
        struct segue_json json = {.text = &out};
        segue_json_string_n(&json, text, len);
        MUST(!out.failed);
        struct segue_json_value again;
        MUST(segue_json_parse(out.data, out.len, &again, NULL) == SEGUE_OK);
        MUST(again.type == SEGUE_JSON_STRING);
        char *same = malloc(again.len);
        size_t same_len;
        MUST(same && segue_json_text(again, same, again.len, &same_len) == SEGUE_OK);
        MUST(same_len == len && memcmp(same, text, len) == 0);
        free(same);
        segue_text_free(&out);
    }
    free(text);
}

static void check_value(struct segue_json_value whole, struct segue_json_value value)
{
    MUST(value.data >= whole.data && value.len > 0);
    MUST(value.data + value.len <= whole.data + whole.len);
    struct segue_json_value alone;
    MUST(segue_json_parse(value.data, value.len, &alone, NULL) == SEGUE_OK);
    MUST(alone.type == value.type && alone.data == value.data && alone.len == value.len);
    if (value.type == SEGUE_JSON_STRING)
        check_string(value);
    double number;
    if (value.type == SEGUE_JSON_NUMBER)
        segue_json_to_double(value, &number);
    int64_t integer;
    segue_json_to_i64(value, &integer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segue_json_value whole, key, value;
    size_t bad_at = SIZE_MAX;
    if (segue_json_parse((const char *)data, size, &whole, &bad_at) != SEGUE_OK) {
        MUST(bad_at <= size);
        return 0;
    }
    check_value(whole, whole);
    struct {
        struct segue_json_cursor cursor;
        bool object;
    } open[SEGUE_JSON_DEPTH + 1];
    size_t depth = 0;
    open[0].cursor = segue_json_walk(whole);
    open[0].object = whole.type == SEGUE_JSON_OBJECT;
    for (;;) {
        bool more = open[depth].object
                        ? segue_json_next_member(&open[depth].cursor, &key, &value)
                        : segue_json_next_element(&open[depth].cursor, &value);
        if (!more) {
            if (depth-- == 0)
                return 0;
            continue;
        }
        if (open[depth].object)
            check_string(key);
        check_value(whole, value);
        if (value.type == SEGUE_JSON_OBJECT || value.type == SEGUE_JSON_ARRAY) {
            MUST(++depth <= SEGUE_JSON_DEPTH);
            open[depth].cursor = segue_json_walk(value);
            open[depth].object = value.type == SEGUE_JSON_OBJECT;
        }
    }
}
