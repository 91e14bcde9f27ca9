/* SPDX-License-Identifier: Apache-2.0 */
/* What a subcommand of `segue` is, and the exit statuses all of them share (docs/cli.md).
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

enum exit_status {
    EXIT_WELL = 0,    /* what was asked is so */
    EXIT_NOT_SO = 1,  /* it is not: no parity, below target, unreachable */
    EXIT_USAGE = 2,   /* the command line is wrong */
    EXIT_MISSING = 3, /* something is missing on this machine; one sentence names it */
};

struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
};

int command_bench(int argc, char **argv);
int command_demo(int argc, char **argv);
int command_engine(int argc, char **argv);
int command_key(int argc, char **argv);
int command_layout(int argc, char **argv);
int command_route(int argc, char **argv);
int command_version(int argc, char **argv);

#endif
