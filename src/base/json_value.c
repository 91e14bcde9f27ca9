/* SPDX-License-Identifier: Apache-2.0 */
/* What a checked JSON value says: text with its escapes resolved, numbers that fit. */
#include "base/json.h"
#include "base/utf8.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_POINT UINT32_MAX

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (unsigned char)p[i];
        v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

/* The code point of a \u escape whose digits are at *p, its second half included; NO_POINT
 * for half a pair. Moves *p past it. The digits may end right before the quote. */
static uint32_t take_point(const char **p, const char *end)
{
    uint32_t point = hex4(*p);
    *p += 4;
    if (point < 0xd800 || point > 0xdfff)
        return point;
    if (point > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return NO_POINT;
    uint32_t low = hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return NO_POINT;
    *p += 6;
    return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
}

/* The next piece of a string between *p and end: one resolved escape (in `room`) or the
 * bytes up to the next one. NULL for half a surrogate pair. */
static const char *take_piece(const char **p, const char *end, char room[4], size_t *len)
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    const char *begin = *p;
    if (*begin != '\\') {
        const char *stop = memchr(begin, '\\', (size_t)(end - begin));
        *p = stop ? stop : end;
        *len = (size_t)(*p - begin);
        return begin;
    }
    char c = begin[1];
    *p += 2;
    if (c == 'u') {
        uint32_t point = take_point(p, end);
        if (point == NO_POINT)
            return NULL;
        *len = segue_utf8_write(room, point);
        return room;
    }
    const char *at = strchr(letters, c);
    room[0] = at ? meanings[at - letters] : c;
    *len = 1;
    return room;
}

enum segue_status segue_json_text(struct segue_json_value string, char *out, size_t cap,
                                  size_t *len)
{
    if (string.type != SEGUE_JSON_STRING)
        return segue_fail(SEGUE_E_INVALID, "a JSON string was expected");
    const char *p = string.data + 1, *end = string.data + string.len - 1;
    size_t used = 0;
    while (p < end) {
        char room[4];
        size_t n;
        const char *piece = take_piece(&p, end, room, &n);
        if (!piece)
            return segue_fail(SEGUE_E_INVALID,
                              "a JSON string holds half a surrogate pair");
        if (n >= cap - used)
            return segue_fail(SEGUE_E_LIMIT, "a JSON string is longer than %zu bytes",
                              cap - 1);
        memcpy(out + used, piece, n);
        used += n;
    }
    out[used] = 0;
    if (len)
        *len = used;
    return SEGUE_OK;
}

bool segue_json_equals(struct segue_json_value string, const char *text)
{
    if (string.type != SEGUE_JSON_STRING)
        return false;
    const char *p = string.data + 1, *end = string.data + string.len - 1;
    size_t left = strlen(text);
    while (p < end) {
        char room[4];
        size_t n;
        const char *piece = take_piece(&p, end, room, &n);
        if (!piece || n > left || memcmp(text, piece, n) != 0)
            return false;
        text += n;
        left -= n;
    }
    return left == 0;
}

size_t segue_json_find(struct segue_json_value object, const char *key,
                       struct segue_json_value *out)
{
    if (object.type != SEGUE_JSON_OBJECT)
        return 0;
    size_t found = 0;
    struct segue_json_value name, value;
    for (struct segue_json_cursor c = segue_json_walk(object);
         segue_json_next_member(&c, &name, &value);)
        if (segue_json_equals(name, key)) {
            *out = value;
            found++;
        }
    return found;
}

/* The digits of an integer between p and end as a magnitude. */
static enum segue_status take_magnitude(struct segue_json_value number, const char *p,
                                        uint64_t *out)
{
    uint64_t v = 0;
    for (const char *end = number.data + number.len; p < end; p++) {
        if (*p < '0' || *p > '9')
            return segue_fail(SEGUE_E_INVALID, "%.*s is not an integer",
                              (int)(number.len > 64 ? 64 : number.len), number.data);
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return segue_fail(SEGUE_E_RANGE, "%.*s does not fit into 64 bits",
                              (int)(number.len > 64 ? 64 : number.len), number.data);
    }
    *out = v;
    return SEGUE_OK;
}

static enum segue_status want_number(struct segue_json_value number)
{
    if (number.type != SEGUE_JSON_NUMBER)
        return segue_fail(SEGUE_E_INVALID, "a JSON number was expected");
    return SEGUE_OK;
}

enum segue_status segue_json_to_u64(struct segue_json_value number, uint64_t *out)
{
    uint64_t v = 0;
    SEGUE_TRY(want_number(number));
    bool negative = number.data[0] == '-';
    SEGUE_TRY(take_magnitude(number, number.data + negative, &v));
    if (negative && v)
        return segue_fail(SEGUE_E_RANGE, "%.*s is negative",
                          (int)(number.len > 64 ? 64 : number.len), number.data);
    *out = v;
    return SEGUE_OK;
}

enum segue_status segue_json_to_i64(struct segue_json_value number, int64_t *out)
{
    uint64_t v = 0;
    SEGUE_TRY(want_number(number));
    bool negative = number.data[0] == '-';
    SEGUE_TRY(take_magnitude(number, number.data + negative, &v));
    if (v > (uint64_t)INT64_MAX + negative)
        return segue_fail(SEGUE_E_RANGE, "%.*s does not fit into 64 bits",
                          (int)(number.len > 64 ? 64 : number.len), number.data);
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return SEGUE_OK;
}

enum segue_status segue_json_to_double(struct segue_json_value number, double *out)
{
    char digits[1024];
    SEGUE_TRY(want_number(number));
    if (number.len >= sizeof digits)
        return segue_fail(SEGUE_E_RANGE, "a number of %zu digits", number.len);
    memcpy(digits, number.data, number.len);
    digits[number.len] = 0;
    /* The program's locale may want a decimal comma; glibc's "C" is a static object. */
    double v = strtod_l(digits, NULL, newlocale(LC_ALL_MASK, "C", (locale_t)0));
    if (!isfinite(v))
        return segue_fail(SEGUE_E_RANGE, "%.64s does not fit into a double", digits);
    *out = v;
    return SEGUE_OK;
}

enum segue_status segue_json_to_bool(struct segue_json_value value, bool *out)
{
    if (value.type != SEGUE_JSON_BOOL)
        return segue_fail(SEGUE_E_INVALID, "true or false was expected");
    *out = value.data[0] == 't';
    return SEGUE_OK;
}
