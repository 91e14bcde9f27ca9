/* SPDX-License-Identifier: Apache-2.0 */
/* Status names and texts, and the per-thread sentence about the last failure. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char detail[512];

struct row {
    const char *name, *text;
    enum segue_lost lost;
};

static struct row row_of(enum segue_status status)
{
    switch (status) {
#define ROW(name, value, text, lost)                                                     \
    case SEGUE_##name:                                                                   \
        return (struct row){#name, text, SEGUE_LOST_##lost};
        SEGUE_STATUS_MAP(ROW)
#undef ROW
    }
    return (struct row){"?", "unknown status", SEGUE_LOST_NOTHING};
}

const char *segue_status_name(enum segue_status status)
{
    return row_of(status).name;
}

const char *segue_status_text(enum segue_status status)
{
    return row_of(status).text;
}

enum segue_lost segue_status_lost(enum segue_status status)
{
    return row_of(status).lost;
}

const char *segue_error_detail(void)
{
    return detail;
}

const char *segue_version(void)
{
    return SEGUE_VERSION;
}

enum segue_status segue_fail(enum segue_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char line[sizeof detail]; /* an argument may be the old detail itself */
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    memcpy(detail, line, sizeof detail);
    return status;
}

enum segue_status segue_fail_errno(enum segue_status status, int err, const char *fmt,
                                   ...)
{
    va_list ap;
    va_start(ap, fmt);
    char line[sizeof detail];
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    if ((size_t)n < sizeof line) {
        char text[128];
        snprintf(line + n, sizeof line - (size_t)n, ": %s",
                 strerror_r(err, text, sizeof text));
    }
    memcpy(detail, line, sizeof detail);
    return status;
}
