/* SPDX-License-Identifier: Apache-2.0 */
/* The sentence of the last failure, one a thread. */
#include "fail.h"
#include <stdarg.h>
#include <stdio.h>

static _Thread_local char sentence[512];

int engine_fail(const char *format, ...)
{
    char fresh[sizeof sentence]; /* an argument may be the old sentence */
    va_list args;
    va_start(args, format);
    vsnprintf(fresh, sizeof fresh, format, args);
    va_end(args);
    for (size_t i = 0; i < sizeof fresh; i++) {
        sentence[i] = fresh[i];
        if (!fresh[i])
            break;
    }
    return -1;
}

const char *engine_error(void)
{
    return sentence;
}
