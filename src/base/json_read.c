/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader, in two halves. The checker goes over hostile text once, with one bit a
 * container for its stack. The walkers trust what the checker passed: they only have to
 * find where a value ends, and never look behind the text, because a checked value is
 * always closed.
 */
#include "base/json.h"
#include "base/utf8.h"

#include <string.h>

struct checker {
    const char *at, *end;
    const char *why;  /* the first thing wrong, or NULL */
    uint64_t objects; /* bit d: the container at depth d is an object */
    unsigned depth;
};

_Static_assert(SEGUE_JSON_DEPTH <= 64, "one bit of checker.objects a container");

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

static bool wrong(struct checker *c, const char *why)
{
    c->why = why;
    return false;
}

static bool check_escape(struct checker *c)
{
    if (++c->at == c->end)
        return wrong(c, "a string does not end");
    if (*c->at == 'u') {
        for (int i = 0; i < 4; i++)
            if (++c->at == c->end || !is_hex(*c->at))
                return wrong(c, "\\u wants four hexadecimal digits");
    } else if (!*c->at || !strchr("\"\\/bfnrt", *c->at)) {
        return wrong(c, "no such escape");
    }
    c->at++;
    return true;
}

/* Past the bytes of a string that need no look of their own, sixteen at a time: prompts are
 * long, and nearly all of them is this. */
static const char *skip_plain(const char *at, const char *end)
{
    typedef uint8_t piece __attribute__((vector_size(16)));
    for (piece p; end - at >= (ptrdiff_t)sizeof p; at += sizeof p) {
        uint64_t special[2];
        memcpy(&p, at, sizeof p);
        p = (piece)((p < 0x20) | (p > 0x7f) | (p == '"') | (p == '\\'));
        memcpy(special, &p, sizeof special);
        if (special[0] | special[1])
            break;
    }
    return at;
}

static bool check_string(struct checker *c)
{
    for (c->at++; c->at < c->end;) {
        c->at = skip_plain(c->at, c->end);
        if (c->at == c->end)
            break;
        unsigned char byte = (unsigned char)*c->at;
        if (byte == '"') {
            c->at++;
            return true;
        }
        if (byte == '\\') {
            if (!check_escape(c))
                return false;
        } else if (byte < 0x20) {
            return wrong(c, "a control character in a string");
        } else if (byte < 0x80) {
            c->at++;
        } else {
            size_t n = segue_utf8_length((const unsigned char *)c->at,
                                         (size_t)(c->end - c->at));
            if (!n)
                return wrong(c, "a string is not UTF-8");
            c->at += n;
        }
    }
    return wrong(c, "a string does not end");
}

static bool check_digits(struct checker *c)
{
    if (c->at == c->end || !is_digit(*c->at))
        return wrong(c, "a digit is missing");
    while (c->at < c->end && is_digit(*c->at))
        c->at++;
    return true;
}

static bool check_number(struct checker *c)
{
    if (*c->at == '-')
        c->at++;
    if (c->at < c->end && *c->at == '0')
        c->at++;
    else if (!check_digits(c))
        return false;
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!check_digits(c))
            return false;
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
        if (!check_digits(c))
            return false;
    }
    return true;
}

static bool check_word(struct checker *c, const char *word)
{
    for (; *word; word++, c->at++)
        if (c->at == c->end || *c->at != *word)
            return wrong(c, "no value begins like this");
    return true;
}

static bool check_scalar(struct checker *c)
{
    switch (*c->at) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    default:
        if (*c->at == '-' || is_digit(*c->at))
            return check_number(c);
        return wrong(c, "no value begins like this");
    }
}

static bool in_object(const struct checker *c)
{
    return c->objects >> (c->depth - 1) & 1;
}

static bool check_key(struct checker *c)
{
    c->at = skip_space(c->at, c->end);
    if (c->at == c->end || *c->at != '"')
        return wrong(c, "a key in quotes is missing");
    if (!check_string(c))
        return false;
    c->at = skip_space(c->at, c->end);
    if (c->at == c->end || *c->at != ':')
        return wrong(c, "':' is missing");
    c->at++;
    return true;
}

/* At a bracket that opens. Sets `closed` when the container is empty, and then is past
 * it; else is where its first value must begin. */
static bool check_open(struct checker *c, bool *closed)
{
    if (c->depth == SEGUE_JSON_DEPTH)
        return wrong(c, "nested too deep");
    uint64_t bit = UINT64_C(1) << c->depth++;
    c->objects = *c->at == '{' ? c->objects | bit : c->objects & ~bit;
    c->at = skip_space(c->at + 1, c->end);
    *closed = c->at < c->end && *c->at == (in_object(c) ? '}' : ']');
    if (*closed) {
        c->at++;
        c->depth--;
        return true;
    }
    return in_object(c) ? check_key(c) : true;
}

/* After a value: closes what ends here, until a comma announces another value (true) or
 * the outermost value is over (depth 0). */
static bool check_after(struct checker *c)
{
    while (c->depth) {
        c->at = skip_space(c->at, c->end);
        if (c->at < c->end && *c->at == ',') {
            c->at++;
            return in_object(c) ? check_key(c) : true;
        }
        if (c->at == c->end || *c->at != (in_object(c) ? '}' : ']'))
            return wrong(c, in_object(c) ? "',' or '}' is missing"
                                         : "',' or ']' is missing");
        c->at++;
        c->depth--;
    }
    return true;
}

static bool check_value(struct checker *c)
{
    do {
        c->at = skip_space(c->at, c->end);
        if (c->at == c->end)
            return wrong(c, "a value is missing");
        bool whole = true;
        if (*c->at == '{' || *c->at == '[') {
            if (!check_open(c, &whole))
                return false;
        } else if (!check_scalar(c)) {
            return false;
        }
        if (whole && !check_after(c))
            return false;
    } while (c->depth);
    return true;
}

static enum segue_json_type type_of(char first)
{
    switch (first) {
    case '{':
        return SEGUE_JSON_OBJECT;
    case '[':
        return SEGUE_JSON_ARRAY;
    case '"':
        return SEGUE_JSON_STRING;
    case 't':
    case 'f':
        return SEGUE_JSON_BOOL;
    case 'n':
        return SEGUE_JSON_NULL;
    default:
        return SEGUE_JSON_NUMBER;
    }
}

enum segue_status segue_json_parse(const char *data, size_t len,
                                   struct segue_json_value *out, size_t *bad_at)
{
    struct checker c = {.at = data, .end = data + len};
    const char *begin = skip_space(data, c.end);
    if (check_value(&c)) {
        size_t value_len = (size_t)(c.at - begin);
        c.at = skip_space(c.at, c.end);
        if (c.at == c.end) {
            *out = (struct segue_json_value){begin, value_len, type_of(*begin)};
            return SEGUE_OK;
        }
        wrong(&c, "something follows the value");
    }
    size_t offset = (size_t)(c.at - data);
    if (bad_at)
        *bad_at = offset;
    return segue_fail(SEGUE_E_INVALID, "not JSON: %s at byte %zu", c.why, offset);
}

/* ---- walking checked text ---- */

/* The quote that no backslash, or an even run of them, stands before. */
static const char *end_of_string(const char *at)
{
    const char *begin = at + 1;
    for (;;) {
        const char *escapes = at = rawmemchr(at + 1, '"');
        while (escapes > begin && escapes[-1] == '\\')
            escapes--;
        if (((at - escapes) & 1) == 0)
            return at + 1;
    }
}

static const char *end_of_container(const char *at)
{
    for (unsigned depth = 0;; at++) {
        if (*at == '"') {
            at = end_of_string(at) - 1;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if ((*at == '}' || *at == ']') && --depth == 0) {
            return at + 1;
        }
    }
}

/* A value inside a container: something that is no part of it always follows. */
static struct segue_json_value take_value(const char **at)
{
    const char *begin = *at, *p = begin;
    enum segue_json_type type = type_of(*begin);
    if (type == SEGUE_JSON_STRING)
        p = end_of_string(begin);
    else if (type == SEGUE_JSON_OBJECT || type == SEGUE_JSON_ARRAY)
        p = end_of_container(begin);
    else
        while (!is_space(*p) && *p != ',' && *p != '}' && *p != ']')
            p++;
    *at = p;
    return (struct segue_json_value){begin, (size_t)(p - begin), type};
}

static const char *past_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

/* To the next key or element; false, for good, at the closing bracket. */
static bool advance(struct segue_json_cursor *cursor)
{
    if (!cursor->at)
        return false;
    cursor->at = past_space(cursor->at);
    if (*cursor->at == '}' || *cursor->at == ']') {
        cursor->at = NULL;
        return false;
    }
    if (*cursor->at == ',')
        cursor->at = past_space(cursor->at + 1);
    return true;
}

struct segue_json_cursor segue_json_walk(struct segue_json_value container)
{
    bool holds = container.type == SEGUE_JSON_OBJECT ||
                 container.type == SEGUE_JSON_ARRAY;
    return (struct segue_json_cursor){holds ? container.data + 1 : NULL};
}

bool segue_json_next_member(struct segue_json_cursor *cursor,
                            struct segue_json_value *key, struct segue_json_value *value)
{
    if (!advance(cursor))
        return false;
    *key = take_value(&cursor->at);
    cursor->at = past_space(past_space(cursor->at) + 1); /* the colon */
    *value = take_value(&cursor->at);
    return true;
}

bool segue_json_next_element(struct segue_json_cursor *cursor,
                             struct segue_json_value *value)
{
    if (!advance(cursor))
        return false;
    *value = take_value(&cursor->at);
    return true;
}
