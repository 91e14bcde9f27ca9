/* SPDX-License-Identifier: Apache-2.0 */
/* segue bench: reads the options and runs one of the benchmarks. */
#include "bench.h"
#include "command.h"
#include "folder.h"

#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name, *summary;
    int (*run)(const struct bench_options *options);
} benches[] = {
    {"handoff", "hand-offs between two processes beside plain copies", bench_handoff},
    {"relayout", "models' layouts to one another beside copies, torch and NumPy",
     bench_relayout},
    {"fault", "from a producer's death, halt or cut link to the verdict", bench_fault},
};

static void usage(FILE *out)
{
    fprintf(out, "usage: segue bench NAME [OPTIONS]\n\n");
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        fprintf(out, "  %-10s %s\n", benches[i].name, benches[i].summary);
    fprintf(out, "\n"
                 "  --json        one JSON object on stdout; progress goes to stderr\n"
                 "  --case GLOB   only the cases that match, as 'shm/*'\n"
                 "  --runs N      of each case (31, small cases more)\n"
                 "  --quick       few runs, no case that takes long: a smoke test\n"
                 "  --help        this list\n\n"
                 "Exit status 1: a target was missed. Ratios are better when higher; a "
                 "target is missed\nonly when the whole 90 %% interval lies below it.\n\n"
                 "SEGUE_BENCH_PYTHON names a Python with torch and NumPy, which "
                 "relayout compares with.\n");
}

bool bench_wants(const struct bench_options *options, const char *name)
{
    return !options->glob || fnmatch(options->glob, name, 0) == 0;
}

static int parse(int argc, char **argv, struct bench_options *options, bool *help)
{
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},       {"quick", no_argument, NULL, 'q'},
        {"case", required_argument, NULL, 'c'}, {"runs", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    char *end = "";
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (c) {
        case 'j':
            options->json = true;
            break;
        case 'q':
            options->quick = true;
            break;
        case 'c':
            options->glob = optarg;
            break;
        case 'n':
            options->runs = (int)strtol(optarg, &end, 10);
            if (*end || options->runs < 1 || options->runs > 1000) {
                fprintf(stderr,
                        "segue bench: --runs takes a number from 1 to 1000, "
                        "not '%s'\n",
                        optarg);
                return EXIT_USAGE;
            }
            break;
        case 'h':
            *help = true;
            break;
        default:
            return EXIT_USAGE; /* getopt has said which */
        }
    }
    return EXIT_WELL;
}

/* The process that measures dies of a Ctrl-C as any other; this one outlives it, to remove its folder. */
static int run_guarded(int (*run)(const struct bench_options *options),
                       const struct bench_options *options)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t ends, before;
    int status = 0, number;
    sigemptyset(&ends);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&ends, numbers[i]);
    sigaddset(&ends, SIGCHLD);
    fflush(NULL);
    sigprocmask(SIG_BLOCK, &ends, &before);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        exit(run(options));
    }
    if (child < 0) {
        fprintf(stderr, "segue bench: no process: %m\n");
        return EXIT_NOT_SO;
    }
    while (waitpid(child, &status, WNOHANG) == 0)
        if (sigwait(&ends, &number) == 0 && number != SIGCHLD)
            kill(child, number);
    folder_sweep(BENCH_FOLDER);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_NOT_SO;
}

int command_bench(int argc, char **argv)
{
    struct bench_options options = {0};
    bool help = false;
    int status = parse(argc, argv, &options, &help);
    if (status != EXIT_WELL)
        return status;
    if (help || optind == argc) {
        usage(help ? stdout : stderr);
        return help ? EXIT_WELL : EXIT_USAGE;
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "segue bench: '%s' is one benchmark too many\n",
                argv[optind + 1]);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
        if (strcmp(benches[i].name, argv[optind]) == 0)
            return run_guarded(benches[i].run, &options);
    fprintf(stderr,
            "segue bench: there is no benchmark '%s'; segue bench --help lists "
            "them\n",
            argv[optind]);
    return EXIT_USAGE;
}
