/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: a writer that puts its own commas, and a reader that hands out exact spans of the
 * text it reads instead of a tree.
 *
 * The reader is strict (RFC 8259: UTF-8, no trailing commas, no comments, no NaN),
 * bounded in depth, never allocates and never recurses. segue_json_parse checks the whole
 * text once; a segue_json_value comes only from it and from values it gave, so walking
 * one has no errors left to report. Spans let a router replace one member of a body and
 * leave every other byte as it came. Values are borrowed from the text.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/bytes.h"
#include "base/status.h"
#include "base/text.h"

#define SEGUE_JSON_DEPTH 64

/* ---- writer: one struct per value being written, over a text that may hold more. ----
 */

/* {.text = &text} to begin. Whether the text got everything is text->failed. */
struct segue_json {
    struct segue_text *text;
    unsigned depth; /* private */
    bool comma;     /* private */
};

void segue_json_begin_object(struct segue_json *json);
void segue_json_end_object(struct segue_json *json);
void segue_json_begin_array(struct segue_json *json);
void segue_json_end_array(struct segue_json *json);

/* What: the key of the member whose value is written next. */
void segue_json_key(struct segue_json *json, const char *key);

/* What: a string; bytes that are not UTF-8 become U+FFFD. NULL is written as null. */
void segue_json_string(struct segue_json *json, const char *text);
void segue_json_string_n(struct segue_json *json, const char *data, size_t len);

void segue_json_u64(struct segue_json *json, uint64_t value);
void segue_json_i64(struct segue_json *json, int64_t value);

/* What: the shortest of 15, 16 or 17 digits that reads back as the same number, in every
 * locale; NaN and infinities, which JSON lacks, become null. */
void segue_json_double(struct segue_json *json, double value);
void segue_json_bool(struct segue_json *json, bool value);
void segue_json_null(struct segue_json *json);

/* What: text that is one JSON value already, copied as it is. */
void segue_json_raw(struct segue_json *json, const char *data, size_t len);

/* ---- reader ---- */

enum segue_json_type {
    SEGUE_JSON_NULL = 0,
    SEGUE_JSON_BOOL,
    SEGUE_JSON_NUMBER,
    SEGUE_JSON_STRING,
    SEGUE_JSON_ARRAY,
    SEGUE_JSON_OBJECT,
};

/* A value and its exact span: quotes, brackets and braces included, white space not. */
struct segue_json_value {
    const char *data;
    size_t len;
    enum segue_json_type type;
};

/* A walk over the members of an object or the elements of an array. */
struct segue_json_cursor {
    const char *at; /* private */
};

/* What: checks that the text is one JSON value with nothing but white space around it,
 * at most SEGUE_JSON_DEPTH containers deep, and gives the value. On failure `bad_at` (may
 * be NULL) is the offset of the first byte that cannot be (len when the text ends too
 * early), which the sentence names too. Statuses: E_INVALID. */
enum segue_status segue_json_parse(const char *data, size_t len,
                                   struct segue_json_value *out, size_t *bad_at);

/* What: begins a walk over an object or array; over anything else it has no steps. */
struct segue_json_cursor segue_json_walk(struct segue_json_value container);

/* What: the next member of an object, in the text's order, members with equal keys each
 * for itself; the key is a string value as written, with quotes and escapes. False at
 * the end. */
bool segue_json_next_member(struct segue_json_cursor *cursor,
                            struct segue_json_value *key, struct segue_json_value *value);

/* What: the next element of an array; false at the end. */
bool segue_json_next_element(struct segue_json_cursor *cursor,
                             struct segue_json_value *value);

/* What: finds the member with this key (escapes in the text are understood) and returns
 * how many there are: 0 leaves `out` as it is, above 1 it is the last, and the caller may
 * refuse it. 0 when `object` is none. */
size_t segue_json_find(struct segue_json_value object, const char *key,
                       struct segue_json_value *out);

/* What: whether a string value says exactly `text`. False for other types. */
bool segue_json_equals(struct segue_json_value string, const char *text);

/* What: the text of a string value, escapes resolved, with a NUL at its end, into `out`;
 * `len` (may be NULL) is its length, which differs from strlen(out) when the text itself
 * holds U+0000. cap >= 1; string.len bytes are always enough. Statuses: E_INVALID (no
 * string, half a surrogate pair), E_LIMIT (longer than cap - 1). `out` is void then. */
enum segue_status segue_json_text(struct segue_json_value string, char *out, size_t cap,
                                  size_t *len);

/* What: a number. The integer ones take digits only: no fraction, no exponent. Statuses:
 * E_INVALID (no number, no integer), E_RANGE (does not fit). */
enum segue_status segue_json_to_i64(struct segue_json_value number, int64_t *out);
enum segue_status segue_json_to_u64(struct segue_json_value number, uint64_t *out);
enum segue_status segue_json_to_double(struct segue_json_value number, double *out);

/* What: true or false. Statuses: E_INVALID (neither). */
enum segue_status segue_json_to_bool(struct segue_json_value value, bool *out);

#endif
