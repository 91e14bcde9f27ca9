/* SPDX-License-Identifier: Apache-2.0 */
/* How the library itself reports errors: the detector writes the sentence, everybody else
 * passes the status on. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <segue/status.h>

/* Records the sentence for segue_error_detail() and returns `status`. Cut at 511 bytes.
 * Never fails, never allocates. */
enum segue_status segue_fail(enum segue_status status, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* As segue_fail, for failing system calls: appends ": " and the text of `err` (an errno).
 */
enum segue_status segue_fail_errno(enum segue_status status, int err, const char *fmt,
                                   ...) __attribute__((format(printf, 3, 4)));

/* Evaluates to the statement's failure: returns it from the enclosing function; goes on
 * when it is >= 0. */
#define SEGUE_TRY(expr)                                                                  \
    do {                                                                                 \
        enum segue_status try_status_ = (expr);                                          \
        if (try_status_ < 0)                                                             \
            return try_status_;                                                          \
    } while (0)

/* As SEGUE_TRY, for functions that have something to undo: sets `status` and jumps to
 * `label`. */
#define SEGUE_TRY_OR(status, label, expr)                                                \
    do {                                                                                 \
        (status) = (expr);                                                               \
        if ((status) < 0)                                                                \
            goto label;                                                                  \
    } while (0)

#endif
