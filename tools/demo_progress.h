/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo is doing, on stderr: one line that turns on a terminal, a line a step
 * elsewhere. One thread. */
#ifndef TOOLS_DEMO_PROGRESS_H
#define TOOLS_DEMO_PROGRESS_H

/* What: seconds on the monotonic clock. */
double demo_now(void);

/* What: a new step begins; the one before is done. */
void demo_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What: still at it. Often enough, the line moves. */
void demo_progress_tick(void);

/* What: ends the line, because something else will be printed. */
void demo_progress_break(void);

#endif
