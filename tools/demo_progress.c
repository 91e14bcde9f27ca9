/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line of the demo. */
#include "demo_progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct {
    char text[160];
    double begin, drawn;
    unsigned frame;
} line;

double demo_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void draw(char mark)
{
    line.drawn = demo_now();
    fprintf(stderr, "\r\033[K%c %s (%.0f s)", mark, line.text, line.drawn - line.begin);
    fflush(stderr);
}

void demo_progress(const char *format, ...)
{
    va_list list;
    demo_progress_break();
    va_start(list, format);
    vsnprintf(line.text, sizeof line.text, format, list);
    va_end(list);
    line.begin = demo_now();
    if (isatty(STDERR_FILENO))
        draw('-');
    else
        fprintf(stderr, "segue demo: %s\n", line.text);
}

void demo_progress_tick(void)
{
    static const char marks[] = "-\\|/";
    if (line.text[0] && isatty(STDERR_FILENO) && demo_now() - line.drawn > 0.2)
        draw(marks[++line.frame % 4]);
}

void demo_progress_break(void)
{
    if (line.text[0] && isatty(STDERR_FILENO)) {
        draw(' ');
        fputc('\n', stderr);
    }
    line.text[0] = '\0';
}
