/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as the engine meets it: prompts that claim to be it, and tokens that end in the
 * middle of a character. Pure. */
#ifndef ENGINE_UTF8_H
#define ENGINE_UTF8_H

#include <stddef.h>

/* What: looks at the character at `text`. Returns its length (1-4), 0 when the `length`
 * bytes are only its beginning, or -n when the first n bytes belong to no character. */
int utf8_char(const char *text, size_t length);

/* What: the length in bytes of the longest prefix that is whole, valid characters. */
size_t utf8_prefix(const char *text, size_t length);

/* A character's beginning that waits for its rest. {0} is a fresh one. */
struct utf8_stream {
    char held[4];
    unsigned count;
};

#define UTF8_ROOM(length) (3 * ((length) + 4))

/* What: adds bytes and writes every character that is whole now; what can never become
 * one is written as U+FFFD. `out` has room for UTF8_ROOM(length). Returns the bytes
 * written. */
size_t utf8_feed(struct utf8_stream *stream, const char *bytes, size_t length, char *out);

/* What: the end of the text: a beginning still held is written as one U+FFFD (3 bytes).
 * Returns the bytes written, 0 or 3. */
size_t utf8_finish(struct utf8_stream *stream, char *out);

#endif
