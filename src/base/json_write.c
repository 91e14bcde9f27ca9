/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: a comma goes before whatever follows a finished value in the same
 * container, so one flag is all it has to remember. */
#include "base/json.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void before_value(struct segue_json *json)
{
    if (json->comma)
        segue_text_append(json->text, ",", 1);
    json->comma = false;
}

static void after_value(struct segue_json *json)
{
    json->comma = json->depth > 0;
}

static void begin(struct segue_json *json, const char *bracket)
{
    before_value(json);
    segue_text_append(json->text, bracket, 1);
    json->depth++;
}

static void end(struct segue_json *json, const char *bracket)
{
    segue_text_append(json->text, bracket, 1);
    json->depth--;
    after_value(json);
}

void segue_json_begin_object(struct segue_json *json)
{
    begin(json, "{");
}

void segue_json_end_object(struct segue_json *json)
{
    end(json, "}");
}

void segue_json_begin_array(struct segue_json *json)
{
    begin(json, "[");
}

void segue_json_end_array(struct segue_json *json)
{
    end(json, "]");
}

static void escape(struct segue_text *text, unsigned char c)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = c ? strchr(named, c) : NULL;
    if (at)
        segue_text_append(text, (char[]){'\\', letters[at - named]}, 2);
    else
        segue_text_printf(text, "\\u%04x", c);
}

static void quote(struct segue_text *text, const char *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data, *stop = p + len, *plain = p;
    segue_text_append(text, "\"", 1);
    while (p < stop) {
        size_t n = segue_utf8_length(p, (size_t)(stop - p));
        if (n && *p >= 0x20 && *p != '"' && *p != '\\') {
            p += n;
            continue;
        }
        segue_text_append(text, (const char *)plain, (size_t)(p - plain));
        if (n)
            escape(text, *p);
        else
            segue_text_append(text, "\xef\xbf\xbd", 3);
        plain = ++p;
    }
    segue_text_append(text, (const char *)plain, (size_t)(p - plain));
    segue_text_append(text, "\"", 1);
}

void segue_json_key(struct segue_json *json, const char *key)
{
    before_value(json);
    quote(json->text, key, strlen(key));
    segue_text_append(json->text, ":", 1);
}

void segue_json_string_n(struct segue_json *json, const char *data, size_t len)
{
    before_value(json);
    quote(json->text, data, len);
    after_value(json);
}

void segue_json_string(struct segue_json *json, const char *text)
{
    if (text)
        segue_json_string_n(json, text, strlen(text));
    else
        segue_json_null(json);
}

void segue_json_raw(struct segue_json *json, const char *data, size_t len)
{
    before_value(json);
    segue_text_append(json->text, data, len);
    after_value(json);
}

void segue_json_u64(struct segue_json *json, uint64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value);
    segue_json_raw(json, digits, (size_t)n);
}

void segue_json_i64(struct segue_json *json, int64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    segue_json_raw(json, digits, (size_t)n);
}

void segue_json_double(struct segue_json *json, double value)
{
    if (!isfinite(value)) {
        segue_json_null(json);
        return;
    }
    /* The program's locale may print a decimal comma; glibc's "C" is a static object. */
    locale_t before = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
    char digits[32];
    int n = 0;
    for (int precision = 15; precision <= 17; precision++) {
        n = snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    uselocale(before);
    segue_json_raw(json, digits, (size_t)n);
}

void segue_json_bool(struct segue_json *json, bool value)
{
    segue_json_raw(json, value ? "true" : "false", value ? 4 : 5);
}

void segue_json_null(struct segue_json *json)
{
    segue_json_raw(json, "null", 4);
}
