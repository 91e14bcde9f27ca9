/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups in a parsed GGUF file: metadata by key, tensors by name. */
#include "gguf_inside.h"
#include "fail.h"
#include <string.h>

static const struct gguf_entry *find_entry(const struct gguf *gguf, const char *key)
{
    struct gguf_text want = {key, strlen(key)};
    size_t low = 0, high = gguf->n_entries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_text_compare(gguf->entries[middle].key, want);
        if (!order)
            return &gguf->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct gguf_tensor *gguf_find(const struct gguf *gguf, const char *name)
{
    struct gguf_text want = {name, strlen(name)};
    size_t low = 0, high = gguf->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_text_compare(gguf->tensors[middle].name, want);
        if (!order)
            return &gguf->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const void *gguf_bytes(const struct gguf *gguf, size_t *size)
{
    *size = gguf->size;
    return gguf->bytes;
}

bool gguf_has(const struct gguf *gguf, const char *key)
{
    return find_entry(gguf, key) != NULL;
}

static const struct gguf_entry *need(const struct gguf *gguf, const char *key)
{
    const struct gguf_entry *entry = find_entry(gguf, key);
    if (!entry)
        engine_fail("%s has no %s", gguf->name, key);
    return entry;
}

/* Element `i` of numbers of one kind, as an integer; false for floats and strings. */
static bool integer_at(enum gguf_kind kind, const uint8_t *at, uint64_t i, int64_t *out)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        int64_t i64;
    } value;
    switch (kind) {
    case GGUF_U8:
    case GGUF_BOOL:
        *out = at[i];
        return true;
    case GGUF_I8:
        memcpy(&value.i8, at + i, 1);
        *out = value.i8;
        return true;
    case GGUF_U16:
        memcpy(&value.u16, at + 2 * i, 2);
        *out = value.u16;
        return true;
    case GGUF_I16:
        memcpy(&value.i16, at + 2 * i, 2);
        *out = value.i16;
        return true;
    case GGUF_U32:
        memcpy(&value.u32, at + 4 * i, 4);
        *out = value.u32;
        return true;
    case GGUF_I32:
        memcpy(&value.i32, at + 4 * i, 4);
        *out = value.i32;
        return true;
    case GGUF_U64:
    case GGUF_I64:
        memcpy(&value.i64, at + 8 * i, 8);
        *out = value.i64;
        return kind == GGUF_I64 || value.i64 >= 0;
    default:
        return false;
    }
}

static bool float_at(enum gguf_kind kind, const uint8_t *at, uint64_t i, double *out)
{
    if (kind == GGUF_F32) {
        float value;
        memcpy(&value, at + 4 * i, 4);
        *out = value;
        return true;
    }
    if (kind == GGUF_F64)
        memcpy(out, at + 8 * i, 8);
    return kind == GGUF_F64;
}

int gguf_string(const struct gguf *gguf, const char *key, struct gguf_text *out)
{
    const struct gguf_entry *entry = need(gguf, key);
    if (!entry)
        return -1;
    if (entry->kind != GGUF_STRING)
        return engine_fail("%s: %s is no string", gguf->name, key);
    uint64_t len;
    memcpy(&len, entry->at, 8);
    *out = (struct gguf_text){(const char *)entry->at + 8, len};
    return 0;
}

int gguf_u32(const struct gguf *gguf, const char *key, uint32_t *out)
{
    const struct gguf_entry *entry = need(gguf, key);
    int64_t value;
    if (!entry)
        return -1;
    if (entry->kind == GGUF_BOOL || !integer_at(entry->kind, entry->at, 0, &value) ||
        value < 0 || value > UINT32_MAX)
        return engine_fail("%s: %s is no integer of 32 bits", gguf->name, key);
    *out = (uint32_t)value;
    return 0;
}

int gguf_f32(const struct gguf *gguf, const char *key, float *out)
{
    const struct gguf_entry *entry = need(gguf, key);
    double value;
    if (!entry)
        return -1;
    if (!float_at(entry->kind, entry->at, 0, &value))
        return engine_fail("%s: %s is no float", gguf->name, key);
    *out = (float)value;
    return 0;
}

int gguf_bool(const struct gguf *gguf, const char *key, bool *out)
{
    const struct gguf_entry *entry = need(gguf, key);
    if (!entry)
        return -1;
    if (entry->kind != GGUF_BOOL)
        return engine_fail("%s: %s is no bool", gguf->name, key);
    *out = entry->at[0] != 0;
    return 0;
}

int gguf_array(const struct gguf *gguf, const char *key, struct gguf_array *out)
{
    const struct gguf_entry *entry = need(gguf, key);
    if (!entry)
        return -1;
    if (entry->kind != GGUF_ARRAY)
        return engine_fail("%s: %s is no array", gguf->name, key);
    *out = entry->array;
    return 0;
}

bool gguf_array_next(struct gguf_array *array, struct gguf_text *out)
{
    uint64_t len;
    if (array->kind != GGUF_STRING || array->end - array->at < 8)
        return false;
    memcpy(&len, array->at, 8);
    *out = (struct gguf_text){(const char *)array->at + 8, len};
    array->at += 8 + len;
    return true;
}

int64_t gguf_array_int(const struct gguf_array *array, uint64_t i)
{
    int64_t value = 0;
    if (i >= array->count || !integer_at(array->kind, array->at, i, &value))
        return 0;
    return value;
}

double gguf_array_float(const struct gguf_array *array, uint64_t i)
{
    double value = 0;
    if (i >= array->count || !float_at(array->kind, array->at, i, &value))
        return 0;
    return value;
}
