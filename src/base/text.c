/* SPDX-License-Identifier: Apache-2.0 */
/* Growing text: doubles, keeps a NUL behind the last byte. */
#include "base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for n more bytes and the NUL. */
static bool make_room(struct segue_text *text, size_t n)
{
    if (text->failed)
        return false;
    if (n < text->cap - text->len)
        return true;
    size_t cap = text->cap ? text->cap : 64;
    while (cap - text->len <= n && cap <= SIZE_MAX / 2)
        cap *= 2;
    char *data = cap - text->len > n ? realloc(text->data, cap) : NULL;
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->cap = cap;
    return true;
}

void segue_text_append(struct segue_text *text, const char *data, size_t len)
{
    if (!make_room(text, len))
        return;
    if (len)
        memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = 0;
}

void segue_text_add(struct segue_text *text, const char *word)
{
    segue_text_append(text, word, strlen(word));
}

void segue_text_printf(struct segue_text *text, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !make_room(text, (size_t)n)) {
        text->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text->data + text->len, text->cap - text->len, fmt, ap);
    va_end(ap);
    text->len += (size_t)n;
}

void segue_text_reset(struct segue_text *text)
{
    text->len = 0;
    text->failed = false;
    if (text->data)
        text->data[0] = 0;
}

void segue_text_free(struct segue_text *text)
{
    free(text->data);
    *text = (struct segue_text){0};
}
