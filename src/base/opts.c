/* SPDX-License-Identifier: Apache-2.0 */
/* Options: text to fields by the table's rows, and the rows as help. */
#include "base/opts.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit byte_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", UINT64_C(1000000000000)},
    {NULL, 0},
};
static const struct unit time_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"min", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
    {NULL, 0},
};

static const char *kind_words(enum segue_opt_kind kind)
{
    switch (kind) {
    case SEGUE_OPT_BOOL:
        return "true or false";
    case SEGUE_OPT_U32:
    case SEGUE_OPT_U64:
        return "a whole number";
    case SEGUE_OPT_BYTES:
        return "a size such as 64MiB";
    case SEGUE_OPT_DURATION:
        return "a duration such as 20s or 250ms";
    case SEGUE_OPT_STRING:
        return "text";
    case SEGUE_OPT_ENUM:
        break;
    }
    return "one of its words";
}

static enum segue_status refuse(const struct segue_opt *row, const char *text)
{
    return segue_fail(SEGUE_E_INVALID, "option %s: '%.80s' is not %s", row->name, text,
                      kind_words(row->kind));
}

/* Digits and one of the units, each with nothing around it. False when it is not that;
 * `fits` tells whether it stayed within 64 bits. */
static bool read_number(const char *text, const struct unit *units, uint64_t *out,
                        bool *fits)
{
    const char *p = text;
    uint64_t v = 0;
    *fits = true;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            *fits = false;
    if (p == text)
        return false;
    /* Zero needs no unit. */
    if (*p == 0 && v == 0 && *fits) {
        *out = 0;
        return true;
    }
    for (; units->name; units++)
        if (strcmp(p, units->name) == 0) {
            *fits = !__builtin_mul_overflow(v, units->factor, out) && *fits;
            return true;
        }
    return false;
}

static enum segue_status set_number(const struct segue_opt *row, void *field,
                                    const char *text)
{
    const struct unit *units = row->kind == SEGUE_OPT_BYTES      ? byte_units
                               : row->kind == SEGUE_OPT_DURATION ? time_units
                                                                 : no_units;
    uint64_t v, max = row->max ? row->max : UINT64_MAX;
    bool fits;
    if (!read_number(text, units, &v, &fits))
        return refuse(row, text);
    if (row->kind == SEGUE_OPT_U32 && max > UINT32_MAX)
        max = UINT32_MAX;
    if (!fits || v > max)
        return segue_fail(
            SEGUE_E_RANGE,
            "option %s: %.80s is too large, at most %" PRIu64 "%s is allowed", row->name,
            text, max, row->kind == SEGUE_OPT_DURATION ? "ns" : "");
    if (v < row->min)
        return segue_fail(
            SEGUE_E_RANGE,
            "option %s: %.80s is too small, at least %" PRIu64 "%s is wanted", row->name,
            text, row->min, row->kind == SEGUE_OPT_DURATION ? "ns" : "");
    if (row->kind == SEGUE_OPT_U32)
        *(uint32_t *)field = (uint32_t)v;
    else
        *(uint64_t *)field = v;
    return SEGUE_OK;
}

static enum segue_status set_bool(const struct segue_opt *row, bool *field,
                                  const char *text)
{
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   "0",  "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) {
            *field = i % 2;
            return SEGUE_OK;
        }
    return refuse(row, text);
}

static void list_words(const struct segue_opt *row, char *out, size_t cap)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; row->words[i] && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%s", i ? "|" : "",
                                 row->words[i]);
}

static enum segue_status set_enum(const struct segue_opt *row, uint32_t *field,
                                  const char *text)
{
    for (uint32_t i = 0; row->words[i]; i++)
        if (strcmp(text, row->words[i]) == 0) {
            *field = i;
            return SEGUE_OK;
        }
    char words[256];
    list_words(row, words, sizeof words);
    return segue_fail(SEGUE_E_INVALID, "option %s: '%.80s' is not one of %s", row->name,
                      text, words);
}

static enum segue_status set_row(const struct segue_opt *row, void *target,
                                 const char *text)
{
    void *field = (char *)target + row->offset;
    switch (row->kind) {
    case SEGUE_OPT_BOOL:
        return set_bool(row, field, text);
    case SEGUE_OPT_STRING:
        *(const char **)field = text;
        return SEGUE_OK;
    case SEGUE_OPT_ENUM:
        return set_enum(row, field, text);
    case SEGUE_OPT_U32:
    case SEGUE_OPT_U64:
    case SEGUE_OPT_BYTES:
    case SEGUE_OPT_DURATION:
        break;
    }
    return set_number(row, field, text);
}

void segue_opts_defaults(const struct segue_opt *table, void *target)
{
    for (const struct segue_opt *row = table; row->name; row++) {
        if (row->kind == SEGUE_OPT_STRING && !row->initial) {
            *(const char **)((char *)target + row->offset) = NULL;
            continue;
        }
        enum segue_status status = set_row(row, target, row->initial);
        assert(status == SEGUE_OK && "an option's default is no value of its own kind");
        (void)status;
    }
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '-' && *b == '_'))
            return false;
    return *a == *b;
}

enum segue_status segue_opts_set(const struct segue_opt *table, void *target,
                                 const char *name, const char *text)
{
    for (const struct segue_opt *row = table; row->name; row++)
        if (same_name(row->name, name))
            return set_row(row, target, text);
    return segue_fail(SEGUE_E_NOT_FOUND, "there is no option %.80s", name);
}

enum segue_status segue_opts_environment(const struct segue_opt *table, void *target)
{
    for (const struct segue_opt *row = table; row->name; row++) {
        char variable[80];
        snprintf(variable, sizeof variable, "SEGUE_%s", row->name);
        for (char *p = variable; *p; p++)
            *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        const char *text = getenv(variable);
        enum segue_status status = text ? set_row(row, target, text) : SEGUE_OK;
        if (status < 0)
            return segue_fail(status, "%s: %s", variable, segue_error_detail());
    }
    return SEGUE_OK;
}

void segue_opts_help(const struct segue_opt *table, struct segue_text *out)
{
    static const char *const kinds[] = {
        [SEGUE_OPT_BOOL] = "true|false", [SEGUE_OPT_U32] = "N",
        [SEGUE_OPT_U64] = "N",           [SEGUE_OPT_BYTES] = "SIZE",
        [SEGUE_OPT_DURATION] = "TIME",   [SEGUE_OPT_STRING] = "TEXT",
    };
    for (const struct segue_opt *row = table; row->name; row++) {
        char words[256], left[320];
        if (row->kind == SEGUE_OPT_ENUM)
            list_words(row, words, sizeof words);
        snprintf(left, sizeof left, "--%s %s", row->name,
                 row->kind == SEGUE_OPT_ENUM ? words : kinds[row->kind]);
        segue_text_printf(out, "  %-28s %s", left, row->doc);
        if (row->initial && *row->initial)
            segue_text_printf(out, " (default %s)", row->initial);
        segue_text_add(out, "\n");
    }
}
