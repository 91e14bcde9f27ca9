/* SPDX-License-Identifier: Apache-2.0 */
/* Stop strings across pieces. The held text is at most the longest stop string. */
#include "stop.h"

#include <stdlib.h>
#include <string.h>

void stop_open(struct stop_finder *finder, char *const *strings, size_t count,
               bool include)
{
    *finder = (struct stop_finder){
        .strings = strings, .count = count, .include = include};
}

void stop_close(struct stop_finder *finder)
{
    free(finder->text);
    finder->text = NULL;
    finder->length = finder->room = 0;
}

static bool append(struct stop_finder *finder, const char *piece, size_t length)
{
    if (finder->room - finder->length < length) {
        size_t room = (finder->length + length) * 2;
        char *text = realloc(finder->text, room);
        if (text == NULL)
            return false;
        finder->text = text;
        finder->room = room;
    }
    if (length > 0)
        memcpy(finder->text + finder->length, piece, length);
    finder->length += length;
    return true;
}

/* How many bytes at the end of the text may be the beginning of a stop string. */
static size_t held_back(const struct stop_finder *finder)
{
    size_t most = 0;
    for (size_t i = 0; i < finder->count; i++) {
        size_t n = strlen(finder->strings[i]) - 1;
        for (n = n < finder->length ? n : finder->length; n > most; n--)
            if (memcmp(finder->text + finder->length - n, finder->strings[i], n) == 0)
                most = n;
    }
    return most;
}

int stop_feed(struct stop_finder *finder, const char *piece, size_t length, bool watch,
              size_t *shown)
{
    *shown = 0;
    if (!append(finder, piece, length))
        return -2;
    if (!watch || finder->count == 0) {
        *shown = finder->length;
        return -1;
    }
    int first = -1;
    size_t first_at = finder->length;
    for (size_t i = 0; i < finder->count; i++) {
        const char *at = finder->length == 0
                             ? NULL
                             : memmem(finder->text, finder->length, finder->strings[i],
                                      strlen(finder->strings[i]));
        if (at != NULL && (size_t)(at - finder->text) < first_at) {
            first = (int)i;
            first_at = (size_t)(at - finder->text);
        }
    }
    if (first >= 0)
        *shown = first_at + (finder->include ? strlen(finder->strings[first]) : 0);
    else
        *shown = finder->length - held_back(finder);
    return first;
}

void stop_shown(struct stop_finder *finder, size_t shown)
{
    if (shown == 0) /* there may be no text yet */
        return;
    memmove(finder->text, finder->text + shown, finder->length - shown);
    finder->length -= shown;
}
