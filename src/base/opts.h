/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options from one table: each row says name, type, default, limits and meaning once, and
 * defaults, command line, environment and help all come from it.
 *
 *     struct pull { uint64_t timeout; uint32_t mode; };
 *     static const char *const modes[] = {"fast", "safe", NULL};
 *     static const struct segue_opt table[] = {
 *         {.name = "timeout", .offset = offsetof(struct pull, timeout),
 *          .kind = SEGUE_OPT_DURATION, .initial = "20s", .doc = "give up after"},
 *         {.name = "mode", .offset = offsetof(struct pull, mode), .kind = SEGUE_OPT_ENUM,
 *          .initial = "safe", .words = modes, .doc = "how to go about it"},
 *         {0},
 *     };
 */
#ifndef BASE_OPTS_H
#define BASE_OPTS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kind says what text is taken and what type the field has. */
enum segue_opt_kind {
    SEGUE_OPT_BOOL,     /* bool: true false yes no on off 1 0 */
    SEGUE_OPT_U32,      /* uint32_t: digits */
    SEGUE_OPT_U64,      /* uint64_t: digits */
    SEGUE_OPT_BYTES,    /* uint64_t: digits and B KiB MiB GiB TiB, KB MB GB TB (powers of
                           1000) or nothing */
    SEGUE_OPT_DURATION, /* uint64_t, nanoseconds: digits and ns us ms s min h; "0" */
    SEGUE_OPT_STRING,   /* const char *: borrowed, the text passed in must stay */
    SEGUE_OPT_ENUM,     /* uint32_t or enum: the index of one of `words` */
};

/* A table is an array of rows that ends with a row without name. */
struct segue_opt {
    const char *name; /* lower case, words joined by '-' */
    size_t offset;
    enum segue_opt_kind kind;
    const char *initial;      /* default, as text; NULL for a string: NULL */
    uint64_t min, max;        /* of numbers; max 0: no limit */
    const char *const *words; /* of an enum, NULL at the end */
    const char *doc;          /* one line */
};

/* What: sets every field to its default. A default that its own row refuses is a bug
 * (assert). Any thread. */
void segue_opts_defaults(const struct segue_opt *table, void *target);

/* What: sets one field by name ('_' counts as '-') from text. Statuses: E_NOT_FOUND (no
 * such option), E_INVALID (not a value of that kind), E_RANGE; the sentence names option,
 * value and what would be right, and the field is as before. Any thread. */
enum segue_status segue_opts_set(const struct segue_opt *table, void *target,
                                 const char *name, const char *text);

/* What: sets every field whose variable is in the environment: SEGUE_ and the name in
 * upper case, '-' as '_' (SEGUE_IPC_DIR). Stops at the first that is refused; the
 * sentence names the variable. Statuses: as set. Thread: while nobody calls setenv. */
enum segue_status segue_opts_environment(const struct segue_opt *table, void *target);

/* What: appends one line an option: "--name KIND", what it means, and its default. */
void segue_opts_help(const struct segue_opt *table, struct segue_text *out);

#endif
