/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF files made here, whole and then broken in every way that has a name. */
#include "test.h"
#include "fail.h"
#include "gguf.h"
#include <stdlib.h>
#include <string.h>

enum { ROOM = 4096 };

struct file {
    uint8_t bytes[ROOM];
    size_t size;
};

static void put(struct file *file, const void *from, size_t n)
{
    assert_true(file->size + n <= ROOM);
    memcpy(file->bytes + file->size, from, n);
    file->size += n;
}

static void put_u32(struct file *file, uint32_t value)
{
    put(file, &value, 4);
}

static void put_u64(struct file *file, uint64_t value)
{
    put(file, &value, 8);
}

static void put_text(struct file *file, const char *text)
{
    put_u64(file, strlen(text));
    put(file, text, strlen(text));
}

static void put_key(struct file *file, const char *key, uint32_t kind)
{
    put_text(file, key);
    put_u32(file, kind);
}

static void put_header(struct file *file, uint32_t version, uint64_t tensors,
                       uint64_t entries)
{
    file->size = 0;
    put(file, "GGUF", 4);
    put_u32(file, version);
    put_u64(file, tensors);
    put_u64(file, entries);
}

static void put_tensor(struct file *file, const char *name, uint32_t type, uint64_t cols,
                       uint64_t rows, uint64_t offset)
{
    put_text(file, name);
    put_u32(file, 2);
    put_u64(file, cols);
    put_u64(file, rows);
    put_u32(file, type);
    put_u64(file, offset);
}

static void put_data(struct file *file, size_t n)
{
    static const uint8_t zeros[ROOM];
    put(file, zeros, (32 - file->size % 32) % 32);
    for (size_t i = 0; i < n; i++)
        put(file, &(uint8_t){(uint8_t)i}, 1);
}

/* Every kind once; two tensors of 64 and 40 bytes. Returns where the data begins. */
static size_t put_sample(struct file *file)
{
    const int32_t numbers[] = {-5, 7, 9};
    put_header(file, 3, 2, 6);
    put_key(file, "name", GGUF_STRING);
    put_text(file, "a sample");
    put_key(file, "count", GGUF_U64);
    put_u64(file, 77);
    put_key(file, "share", GGUF_F32);
    put(file, &(float){0.5f}, 4);
    put_key(file, "yes", GGUF_BOOL);
    put(file, "\1", 1);
    put_key(file, "words", GGUF_ARRAY);
    put_u32(file, GGUF_STRING);
    put_u64(file, 2);
    put_text(file, "one");
    put_text(file, "");
    put_key(file, "numbers", GGUF_ARRAY);
    put_u32(file, GGUF_I32);
    put_u64(file, 3);
    put(file, numbers, sizeof numbers);
    put_tensor(file, "z", TENSOR_F32, 8, 2, 0);
    put_tensor(file, "a", TENSOR_Q4_1, 32, 2, 64);
    put_data(file, 104);
    return file->size - 104;
}

/* Opens a copy of exactly the file's size, so that a sanitizer sees any byte beyond. */
static int try_open(const struct file *file, size_t size)
{
    struct gguf *gguf;
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, file->bytes, size);
    int status = gguf_open_bytes(&gguf, copy, size, "sample");
    if (!status)
        gguf_close(gguf);
    free(copy);
    return status;
}

static void refused(const struct file *file, const char *why)
{
    assert_int_equal(try_open(file, file->size), -1);
    if (!strstr(engine_error(), why))
        fail_msg("\"%s\" does not say \"%s\"", engine_error(), why);
}

static void values_are_found(void **state)
{
    struct file file;
    struct gguf *gguf;
    struct gguf_text text;
    struct gguf_array array;
    uint32_t number = 1;
    float real;
    bool yes;
    size_t data = put_sample(&file);
    assert_int_equal(gguf_open_bytes(&gguf, file.bytes, file.size, "sample"), 0);
    assert_int_equal(gguf_string(gguf, "name", &text), 0);
    assert_int_equal(text.len, 8);
    assert_memory_equal(text.at, "a sample", 8);
    assert_int_equal(gguf_u32(gguf, "count", &number), 0);
    assert_int_equal(number, 77);
    assert_int_equal(gguf_f32(gguf, "share", &real), 0);
    assert_true(real == 0.5f);
    assert_int_equal(gguf_bool(gguf, "yes", &yes), 0);
    assert_true(yes);
    assert_int_equal(gguf_array(gguf, "numbers", &array), 0);
    assert_int_equal(array.count, 3);
    assert_int_equal(gguf_array_int(&array, 0), -5);
    assert_int_equal(gguf_array_int(&array, 2), 9);
    assert_int_equal(gguf_array_int(&array, 3), 0);
    assert_false(gguf_array_next(&array, &text));
    assert_int_equal(gguf_array(gguf, "words", &array), 0);
    assert_true(gguf_array_next(&array, &text) && text.len == 3);
    assert_true(gguf_array_next(&array, &text) && text.len == 0);
    assert_false(gguf_array_next(&array, &text));
    assert_int_equal(gguf_find(gguf, "a")->data - file.bytes, data + 64);
    assert_int_equal(gguf_find(gguf, "a")->size, 40);
    assert_int_equal(gguf_find(gguf, "z")->dims[1], 2);
    assert_null(gguf_find(gguf, "b"));
    gguf_close(gguf);
}

static void wrong_kinds_are_refused(void **state)
{
    struct file file;
    struct gguf *gguf;
    struct gguf_text text;
    uint32_t number = 1;
    float real;
    bool yes;
    put_sample(&file);
    assert_int_equal(gguf_open_bytes(&gguf, file.bytes, file.size, "sample"), 0);
    assert_int_equal(gguf_u32(gguf, "name", &number), -1);
    assert_int_equal(gguf_u32(gguf, "yes", &number), -1);
    assert_int_equal(gguf_u32(gguf, "numbers", &number), -1);
    assert_int_equal(gguf_u32(gguf, "absent", &number), -1);
    assert_string_equal(engine_error(), "sample has no absent");
    assert_int_equal(gguf_string(gguf, "count", &text), -1);
    assert_int_equal(gguf_f32(gguf, "count", &real), -1);
    assert_int_equal(gguf_bool(gguf, "count", &yes), -1);
    assert_int_equal(number, 1);
    gguf_close(gguf);
    put_header(&file, 2, 0, 1);
    put_key(&file, "count", GGUF_I32);
    put_u32(&file, UINT32_MAX); /* -1 */
    assert_int_equal(gguf_open_bytes(&gguf, file.bytes, file.size, "sample"), 0);
    assert_int_equal(gguf_u32(gguf, "count", &number), -1);
    gguf_close(gguf);
}

static void every_cut_is_refused(void **state)
{
    struct file file;
    put_sample(&file);
    assert_int_equal(try_open(&file, file.size), 0);
    for (size_t size = 0; size < file.size; size++)
        assert_int_equal(try_open(&file, size), -1);
}

/* No combination may crash; the sanitizers judge. */
static void any_byte_may_differ(void **state)
{
    struct file file;
    size_t data = put_sample(&file);
    for (size_t i = 0; i < data; i++)
        for (int bit = 0; bit < 8; bit++) {
            file.bytes[i] ^= (uint8_t)(1 << bit);
            try_open(&file, file.size);
            file.bytes[i] ^= (uint8_t)(1 << bit);
        }
}

static void headers(void **state)
{
    struct file file;
    put_header(&file, 3, 0, 0);
    assert_int_equal(try_open(&file, file.size), 0);
    file.bytes[0] = 'X';
    refused(&file, "is not a GGUF file");
    put_header(&file, 1, 0, 0);
    refused(&file, "version 1");
    put_header(&file, 0x03000000, 0, 0);
    refused(&file, "big endian");
    put_header(&file, 3, 0, UINT64_MAX);
    refused(&file, "metadata entries");
    put_header(&file, 3, UINT64_MAX / 2, 0);
    refused(&file, "tensors");
}

static void metadata(void **state)
{
    struct file file;
    put_header(&file, 3, 0, 1);
    put_key(&file, "x", 99);
    put_u64(&file, 0);
    refused(&file, "x has the unknown kind 99");
    put_header(&file, 3, 0, 1);
    put_key(&file, "x", GGUF_ARRAY);
    put_u32(&file, GGUF_ARRAY);
    put_u64(&file, 1);
    refused(&file, "array of kind 9");
    put_header(&file, 3, 0, 1);
    put_key(&file, "x", GGUF_ARRAY);
    put_u32(&file, GGUF_U64);
    put_u64(&file, UINT64_MAX / 8 + 1); /* times 8 bytes: 0 */
    refused(&file, "ends inside an array");
    put_header(&file, 3, 0, 1);
    put_key(&file, "x", GGUF_STRING);
    put_u64(&file, UINT64_MAX);
    refused(&file, "ends inside");
    put_header(&file, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_key(&file, "twin", GGUF_U8);
        put(&file, "\1", 1);
    }
    refused(&file, "the key twin occurs twice");
    put_header(&file, 3, 0, 1);
    put_key(&file, "general.alignment", GGUF_U32);
    put_u32(&file, 48);
    refused(&file, "power of two");
}

static void one_tensor(struct file *file, uint32_t type, uint64_t cols, uint64_t rows,
                       uint64_t offset)
{
    put_header(file, 3, 1, 0);
    put_tensor(file, "t", type, cols, rows, offset);
    put_data(file, 64);
}

static void tensors(void **state)
{
    struct file file;
    one_tensor(&file, TENSOR_F32, 16, 1, 0);
    assert_int_equal(try_open(&file, file.size), 0);
    one_tensor(&file, TENSOR_F32, 17, 1, 0);
    refused(&file, "the file ends before tensor t does");
    one_tensor(&file, TENSOR_F32, 8, 1, 64);
    refused(&file, "the file ends before tensor t does");
    one_tensor(&file, TENSOR_F32, 8, 1, UINT64_MAX - 31);
    refused(&file, "the file ends before tensor t does");
    one_tensor(&file, TENSOR_F32, 8, 1, 4);
    refused(&file, "not aligned");
    one_tensor(&file, TENSOR_F32, 0, 1, 0);
    refused(&file, "does not fit");
    one_tensor(&file, TENSOR_F32, UINT64_MAX, UINT64_MAX, 0);
    refused(&file, "does not fit");
    one_tensor(&file, TENSOR_F32, (uint64_t)1 << 62, 4, 0);
    refused(&file, "does not fit");
    one_tensor(&file, TENSOR_Q8_0, 33, 1, 0);
    refused(&file, "no multiple of 32");
    one_tensor(&file, 12, 256, 1, 0);
    refused(&file, "tensor t has type 12");
    put_header(&file, 3, 1, 0);
    put_text(&file, "t");
    put_u32(&file, 5);
    put_data(&file, 64);
    refused(&file, "5 dimensions");
    put_header(&file, 3, 2, 0);
    put_tensor(&file, "t", TENSOR_F32, 8, 1, 0);
    put_tensor(&file, "t", TENSOR_F32, 8, 1, 0);
    put_data(&file, 64);
    refused(&file, "the tensor t occurs twice");
}

static void files_that_cannot_be_read(void **state)
{
    struct gguf *gguf;
    assert_int_equal(gguf_open(&gguf, "/nonexistent/model.gguf"), -1);
    assert_non_null(strstr(engine_error(), "cannot open the model"));
    assert_int_equal(gguf_open(&gguf, "/"), -1);
    assert_int_equal(gguf_open(&gguf, "/dev/null"), -1);
    gguf_close(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(values_are_found),
    cmocka_unit_test(wrong_kinds_are_refused),
    cmocka_unit_test(every_cut_is_refused),
    cmocka_unit_test(any_byte_may_differ),
    cmocka_unit_test(headers),
    cmocka_unit_test(metadata),
    cmocka_unit_test(tensors),
    cmocka_unit_test(files_that_cannot_be_read),
};
TEST_MAIN(tests)
