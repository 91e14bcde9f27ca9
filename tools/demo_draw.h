/* SPDX-License-Identifier: Apache-2.0 */
/* How the demo's report is set: titles, the picture of a run, labelled lines, text. */
#ifndef TOOLS_DEMO_DRAW_H
#define TOOLS_DEMO_DRAW_H

#include "demo.h"

void draw_title(FILE *out, const struct demo_run *run, size_t number, size_t of);

/* What: the engines and the router of a run, and what goes between them. */
void draw_picture(FILE *out, const struct demo_run *run);

/* What: a label in its column and a sentence beside it, folded. */
void draw_line(FILE *out, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What: the same for the text of an answer: its own line ends are kept, nothing in it can
 * steer a terminal. */
void draw_text(FILE *out, const char *label, const char *text, size_t len);

#endif
