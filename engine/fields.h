/* SPDX-License-Identifier: Apache-2.0 */
/* Typed members of a JSON object that a client wrote. A member that is missing or null
 * leaves *out as it is; one of another type or out of range is an error that names it. */
#ifndef ENGINE_FIELDS_H
#define ENGINE_FIELDS_H

#include "api.h"

#include <jansson.h>

struct fields {
    const json_t *object;
    struct api_error *error;
};

int field_bool(const struct fields *fields, const char *name, bool *out);
int field_uint(const struct fields *fields, const char *name, uint32_t least,
               uint32_t most, uint32_t *out);
int field_real(const struct fields *fields, const char *name, double least, double most,
               float *out);
/* Borrowed from the object; never empty. */
int field_string(const struct fields *fields, const char *name, const char **out);
/* The member when it is there and of that type; NULL otherwise. */
int field_object(const struct fields *fields, const char *name, const json_t **out);

/* Members whose only accepted value is the one that does nothing: anything else is refused
 * rather than silently left out. */
int field_must_be(const struct fields *fields, const char *name, double neutral);
int field_must_be_absent(const struct fields *fields, const char *name);

/* A list of token ids below `vocab`, at most `most`; *count is set. */
int field_tokens(const struct fields *fields, const char *name, const json_t *list,
                 uint32_t vocab, uint32_t *out, uint32_t most, uint32_t *count);

#endif
