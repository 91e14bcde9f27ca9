/* SPDX-License-Identifier: Apache-2.0 */
/* Whole characters, beginnings of characters, and neither. */
#include "utf8.h"

#include <string.h>

static const char replacement[3] = "\xef\xbf\xbd";

int utf8_char(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    int need;
    if (length == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        need = 2;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        need = 3;
        low = at[0] == 0xe0 ? 0xa0 : 0x80;  /* overlong */
        high = at[0] == 0xed ? 0x9f : 0xbf; /* surrogates */
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        need = 4;
        low = at[0] == 0xf0 ? 0x90 : 0x80;
        high = at[0] == 0xf4 ? 0x8f : 0xbf; /* beyond U+10FFFF */
    } else {
        return -1;
    }
    for (int i = 1; i < need; i++) {
        if ((size_t)i >= length)
            return 0;
        if (at[i] < low || at[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return need;
}

size_t utf8_prefix(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        int n = utf8_char(text + at, length - at);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

size_t utf8_feed(struct utf8_stream *stream, const char *bytes, size_t length, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        stream->held[stream->count++] = bytes[i];
        int n = utf8_char(stream->held, stream->count);
        if (n > 0) {
            memcpy(out + written, stream->held, (size_t)n);
            written += (size_t)n;
            stream->count = 0;
        } else if (n < 0) {
            memcpy(out + written, replacement, sizeof replacement);
            written += sizeof replacement;
            /* Only the newest byte can break a beginning; it may begin a character
             * itself, so it is looked at once more, alone. */
            if (stream->count > 1)
                i--;
            stream->count = 0;
        }
    }
    return written;
}

size_t utf8_finish(struct utf8_stream *stream, char *out)
{
    if (stream->count == 0)
        return 0;
    stream->count = 0;
    memcpy(out, replacement, sizeof replacement);
    return sizeof replacement;
}
