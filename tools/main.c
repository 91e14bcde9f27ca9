/* SPDX-License-Identifier: Apache-2.0 */
/* segue: finds the subcommand and runs it. */
#include "command.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"bench", "measure hand-offs beside plain copies", command_bench},
    {"demo", "hand requests over on this machine and check the answers", command_demo},
    {"engine", "serve a model: the reference engine", command_engine},
    {"key", "make, show and replace cluster keys", command_key},
    {"layout", "show which bytes go where between two layouts", command_layout},
    {"route", "route OpenAI requests to prefill and decode engines", command_route},
    {"version", "print the version", command_version},
};

static void usage(FILE *out)
{
    fprintf(out, "usage: segue COMMAND [OPTIONS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\nsegue COMMAND --help says more. Exit status: 0 all is well, 1 what "
                 "was asked is not so, "
                 "2 usage, 3 something is missing here.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        strcmp(name, "help") == 0) {
        usage(stdout);
        return EXIT_WELL;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "segue: there is no command '%s'; segue --help lists them\n", name);
    return EXIT_USAGE;
}
