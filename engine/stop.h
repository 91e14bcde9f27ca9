/* SPDX-License-Identifier: Apache-2.0 */
/* Finds stop strings in a text that arrives in pieces, and says how much of it may be
 * shown already: never a part of what may yet become one. Pure. */
#ifndef ENGINE_STOP_H
#define ENGINE_STOP_H

#include <stdbool.h>
#include <stddef.h>

struct stop_finder {
    char *const *strings; /* borrowed; none is empty */
    size_t count;
    bool include; /* the stop string itself is shown */
    char *text;   /* not shown yet */
    size_t length, room;
};

/* Borrows the strings until stop_close. */
void stop_open(struct stop_finder *finder, char *const *strings, size_t count,
               bool include);
void stop_close(struct stop_finder *finder);

/* Adds a piece. With `watch`, looks for the stop strings; returns the index of the one
 * that ends the text, -1 for none, -2 when out of memory. *shown bytes of finder->text
 * may be shown now; then call stop_shown. */
int stop_feed(struct stop_finder *finder, const char *piece, size_t length, bool watch,
              size_t *shown);

/* Takes the first `shown` bytes away. */
void stop_shown(struct stop_finder *finder, size_t shown);

#endif
