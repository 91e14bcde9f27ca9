/* SPDX-License-Identifier: Apache-2.0 */
/* Text that grows: a buffer on the heap with a sticky failure, so that whoever builds a
 * report or a JSON object checks once, at the end. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory is empty text. `data` is owned by the text, NUL-terminated once anything
 * was appended, NULL before. */
struct segue_text {
    char *data;
    size_t len, cap;
    bool failed; /* out of memory; nothing is appended any more */
};

/* What: appends. Does nothing once failed. */
void segue_text_append(struct segue_text *text, const char *data, size_t len);
void segue_text_add(struct segue_text *text, const char *word);
void segue_text_printf(struct segue_text *text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* What: empties the text and clears `failed`; keeps the memory. */
void segue_text_reset(struct segue_text *text);

/* What: frees the memory; the text is empty and can be used again. */
void segue_text_free(struct segue_text *text);

#endif
