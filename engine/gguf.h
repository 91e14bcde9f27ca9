/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads GGUF files, versions 2 and 3, little endian: metadata by key, tensors by name.
 *
 * The file is mapped and never trusted: every count, length and offset is checked once
 * while opening, so that what the getters hand out lies inside the file. After opening
 * the object is constant and may be read by any number of threads.
 */
#ifndef ENGINE_GGUF_H
#define ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

enum gguf_kind { /* of a metadata value; the file format's numbers */
                 GGUF_U8 = 0,
                 GGUF_I8,
                 GGUF_U16,
                 GGUF_I16,
                 GGUF_U32,
                 GGUF_I32,
                 GGUF_F32,
                 GGUF_BOOL,
                 GGUF_STRING,
                 GGUF_ARRAY,
                 GGUF_U64,
                 GGUF_I64,
                 GGUF_F64,
};

enum tensor_type { /* of a tensor; the format's numbers. Any other is refused by name. */
                   TENSOR_F32 = 0,
                   TENSOR_F16 = 1,
                   TENSOR_Q4_1 = 3,
                   TENSOR_Q8_0 = 8,
};

/* Bytes of the file, not terminated by NUL, of any content (not checked to be UTF-8). */
struct gguf_text {
    const char *at;
    size_t len;
};

/* A metadata array. Numbers are read by index; strings, whose lengths differ, in order.
 */
struct gguf_array {
    enum gguf_kind kind; /* of the elements; never GGUF_ARRAY */
    uint64_t count;
    const uint8_t *at, *end; /* private: the unread part */
};

struct gguf_tensor {
    struct gguf_text name;
    enum tensor_type type;
    uint32_t n_dims;  /* 1..4 */
    uint64_t dims[4]; /* dims[0] is the contiguous one; unused ones are 1 */
    const uint8_t *data;
    size_t size; /* bytes, exactly what type and dims need */
};

/* Maps the file at path. The caller owns *out (gguf_close). 0, or -1: cannot be read, not
 * a GGUF, or malformed; the sentence names file and fault. */
int gguf_open(struct gguf **out, const char *path);

/* The same over bytes in memory, which are borrowed until gguf_close. `name` is what
 * error sentences call them. */
int gguf_open_bytes(struct gguf **out, const void *bytes, size_t size, const char *name);

/* Frees it and unmaps the file; NULL is allowed. Everything borrowed from it dies. */
void gguf_close(struct gguf *gguf);

/* The mapped bytes. */
const void *gguf_bytes(const struct gguf *gguf, size_t *size);

bool gguf_has(const struct gguf *gguf, const char *key);

/* Typed look-up by key. -1 when the key is missing, has another kind, or (u32) the value
 * does not fit; *out is then untouched. u32 takes every integer kind, f32 both floats. */
int gguf_string(const struct gguf *gguf, const char *key, struct gguf_text *out);
int gguf_u32(const struct gguf *gguf, const char *key, uint32_t *out);
int gguf_f32(const struct gguf *gguf, const char *key, float *out);
int gguf_bool(const struct gguf *gguf, const char *key, bool *out);
int gguf_array(const struct gguf *gguf, const char *key, struct gguf_array *out);

/* The next string of an array of strings; false after the last one or when the elements
 * are no strings. Advances `array`, which is the caller's own copy. */
bool gguf_array_next(struct gguf_array *array, struct gguf_text *out);

/* Element i of an array of numbers; 0 when i is out of range or the kind is not of the
 * kind asked for (integers and bools: int, floats: float). */
int64_t gguf_array_int(const struct gguf_array *array, uint64_t i);
double gguf_array_float(const struct gguf_array *array, uint64_t i);

/* Borrowed from gguf; NULL when there is none of that name. */
const struct gguf_tensor *gguf_find(const struct gguf *gguf, const char *name);

#endif
