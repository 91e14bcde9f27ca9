/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes of the demo, with one private temporary folder for their sockets and
 * logs. None outlives the demo, whichever way it ends. One thread: the one that started
 * them (a child dies with its starting thread).
 */
#ifndef TOOLS_DEMO_CHILD_H
#define TOOLS_DEMO_CHILD_H

#include "folder.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

enum { CHILDREN_MOST = 24, CHILD_LOG_PATH = 160 };

struct child {
    char name[24];
    pid_t pid; /* 0: none, or ended and waited for */
    int out;   /* its standard output */
    int status;
    char line[4096]; /* what it has said there */
    size_t used;
};

struct children {
    struct folder folder;
    bool keep; /* the folder stays */
    struct child list[CHILDREN_MOST];
    size_t count;
};

/* What: from here on SIGINT, SIGTERM and SIGHUP only make `interrupted` true. */
void signals_catch(void);
bool interrupted(void);
/* What: if a signal came, lets it end this process as it would have. */
void signals_obey(void);

/* What: makes the folder. false after it has said why not. */
bool children_open(struct children *children, bool keep);

/* What: starts this very program with the arguments (NULL at the end; argv[0] the
 * subcommand). Its standard error goes to NAME.log in the folder. NULL after it has said
 * why not. */
struct child *child_start(struct children *children, const char *name,
                          const char *const *argv);

/* What: waits for the line of JSON with which it says that it is ready. NULL when it ended,
 * was too slow, or we were interrupted: said on stderr, with the last lines of its log.
 * The caller decrefs. */
json_t *child_ready(struct children *children, struct child *child, double seconds);

/* What: the first child that has ended though nobody asked it to, or NULL. */
struct child *children_dead(struct children *children);

/* What: where its standard error goes; `out` has room for CHILD_LOG_PATH bytes. */
void child_log_path(const struct children *children, const struct child *child,
                    char *out);

/* What: prints the last lines of a child's log to stderr. */
void child_show_log(const struct children *children, const struct child *child);

/* What: the exit status this command should have when a child could not do its part: 3
 * where the child said that something is missing, else 1. */
int child_verdict(const struct child *child);

/* What: asks all to end, then makes them; returns when none is left. */
void children_stop(struct children *children);

/* What: stops all and removes the folder. */
void children_close(struct children *children);

#endif
