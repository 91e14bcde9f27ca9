/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of one run: its engines, the reference engine, and the router. */
#ifndef TOOLS_DEMO_STAGE_H
#define TOOLS_DEMO_STAGE_H

#include "demo.h"
#include "demo_child.h"

/* An engine or the router, once it serves. */
struct server {
    struct child *child;
    int port;
};

struct stage {
    const struct demo_run *run;
    const struct demo_options *options;
    struct children children;
    struct server prefill[DEMO_ENGINES], decode[DEMO_ENGINES], reference, router;
    char model[256];    /* as requests name it */
    struct child *dead; /* the first that ended unasked */
};

/* What: starts everything and waits until it serves. Returns 0 or the exit status after it
 * has said on stderr what went wrong. stage_close in any case. */
int stage_open(struct stage *stage, const struct demo_run *run,
               const struct demo_options *options);
void stage_close(struct stage *stage);

/* What: the router's access-log line of a request, which it writes a moment after the
 * answer; NULL when none comes. The caller decrefs. */
json_t *stage_routed(const struct stage *stage, const char *id);

/* What: the engine at an address as the router writes it ("127.0.0.1:80"); "" for others.
 * Borrowed. */
const char *stage_engine(const struct stage *stage, const json_t *address);

/* What: whether it makes no sense to wait any longer: a signal came or a process died. */
bool stage_broken(void *stage);

#endif
