/* SPDX-License-Identifier: Apache-2.0 */
/* Tells when the other end of a socket goes away while nobody reads it: libmicrohttpd does
 * not for suspended connections, nor always for those whose request is not whole. One
 * thread, asleep unless someone leaves. */
#ifndef ENGINE_WATCH_H
#define ENGINE_WATCH_H

#include <stdbool.h>

struct watch;

/* Embedded in what is watched. */
struct watched {
    /* On the watch's thread. true: call again in a second, what is under way may end by then. */
    bool (*gone)(struct watched *watched);
    struct watched *next, *previous; /* private */
    bool on, again;                  /* private */
    int fd;                          /* private */
};

int watch_open(struct watch **out); /* -1: the sentence says why */
void watch_close(
    struct watch *watch); /* NULL is allowed; nothing may be watched any more */

/* From now on until watch_remove `gone` may be called; at once when the peer has left
 * already. The fd stays open that long. -1: the system refuses. Any thread. */
int watch_add(struct watch *watch, struct watched *watched, int fd);

/* After it `gone` is not called, and not running. Not from `gone`. Any thread. */
void watch_remove(struct watch *watch, struct watched *watched);

#endif
