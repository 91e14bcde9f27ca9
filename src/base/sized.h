/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public option structs begin with their size, so that a caller built against an older or
 * a newer header is understood: what it does not have is zero (the default), what this
 * library does not know must be zero.
 */
#ifndef BASE_SIZED_H
#define BASE_SIZED_H

#include "base/status.h"

#include <stddef.h>
#include <string.h>

/* What: copies `given` (NULL: all zero) into `known`, `len` bytes long, whose first field
 * is the size and becomes `len`. E_INVALID naming `what`: no size, or a field this
 * library lacks is set. */
static inline enum segue_status segue_sized_take(const char *what, const void *given,
                                                 void *known, size_t len)
{
    size_t size = 0;
    memset(known, 0, len);
    if (given) {
        memcpy(&size, given, sizeof size);
        if (size < sizeof size)
            return segue_fail(SEGUE_E_INVALID,
                              "%s: size is %zu; begin with the struct's _INIT macro",
                              what, size);
        for (size_t i = len; i < size; i++)
            if (((const char *)given)[i])
                return segue_fail(SEGUE_E_INVALID,
                                  "%s: byte %zu is set, this library knows %zu", what, i,
                                  len);
        memcpy(known, given, size < len ? size : len);
    }
    memcpy(known, &len, sizeof len);
    return SEGUE_OK;
}

#endif
