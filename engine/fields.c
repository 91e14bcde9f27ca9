/* SPDX-License-Identifier: Apache-2.0 */
/* One function a type; all errors are 400 and name the member. */
#include "fields.h"

#define BAD(...) api_fail(fields->error, 400, NULL, name, __VA_ARGS__)

static const json_t *find(const struct fields *fields, const char *name)
{
    const json_t *value = json_object_get(fields->object, name);
    return json_is_null(value) ? NULL : value;
}

int field_bool(const struct fields *fields, const char *name, bool *out)
{
    const json_t *value = find(fields, name);
    if (value == NULL)
        return 0;
    if (!json_is_boolean(value))
        return BAD("%s must be true or false", name);
    *out = json_is_true(value);
    return 0;
}

int field_uint(const struct fields *fields, const char *name, uint32_t least,
               uint32_t most, uint32_t *out)
{
    const json_t *value = find(fields, name);
    if (value == NULL)
        return 0;
    if (!json_is_integer(value))
        return BAD("%s must be a whole number", name);
    json_int_t n = json_integer_value(value);
    if (n < least)
        return BAD("%s must be at least %u, not %lld", name, least, (long long)n);
    if (n > most)
        return BAD("%s must be at most %u, not %lld", name, most, (long long)n);
    *out = (uint32_t)n;
    return 0;
}

int field_real(const struct fields *fields, const char *name, double least, double most,
               float *out)
{
    const json_t *value = find(fields, name);
    if (value == NULL)
        return 0;
    if (!json_is_number(value))
        return BAD("%s must be a number", name);
    double n = json_number_value(value);
    if (!(n >= least && n <= most))
        return BAD("%s must be between %g and %g, not %g", name, least, most, n);
    *out = (float)n;
    return 0;
}

int field_string(const struct fields *fields, const char *name, const char **out)
{
    const json_t *value = find(fields, name);
    if (value == NULL)
        return 0;
    if (!json_is_string(value) || json_string_length(value) == 0)
        return BAD("%s must be a string that is not empty", name);
    *out = json_string_value(value);
    return 0;
}

int field_object(const struct fields *fields, const char *name, const json_t **out)
{
    const json_t *value = find(fields, name);
    if (value == NULL)
        return 0;
    if (!json_is_object(value))
        return BAD("%s must be an object", name);
    *out = value;
    return 0;
}

int field_must_be(const struct fields *fields, const char *name, double neutral)
{
    const json_t *value = find(fields, name);
    if (value == NULL || (json_is_number(value) && json_number_value(value) == neutral))
        return 0;
    return BAD("%s is not supported here; leave it out or set it to %g", name, neutral);
}

int field_must_be_absent(const struct fields *fields, const char *name)
{
    const json_t *value = find(fields, name);
    if (value == NULL || json_is_false(value) ||
        (json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_object(value) && json_object_size(value) == 0))
        return 0;
    return BAD("%s is not supported here; leave it out", name);
}

int field_tokens(const struct fields *fields, const char *name, const json_t *list,
                 uint32_t vocab, uint32_t *out, uint32_t most, uint32_t *count)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > most)
        return BAD("%s must be a list of at most %u token ids", name, most);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id))
            return BAD("%s: element %zu is no token id", name, i);
        if (json_integer_value(id) < 0 || json_integer_value(id) >= vocab)
            return BAD("%s: element %zu is %lld; token ids are 0 to %u", name, i,
                       (long long)json_integer_value(id), vocab - 1);
        out[i] = (uint32_t)json_integer_value(id);
    }
    *count = (uint32_t)n;
    return 0;
}
