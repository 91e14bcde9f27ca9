/* SPDX-License-Identifier: Apache-2.0 */
/* `segue demo` over fake engines: the engines it starts are tests/fake/demo_engine.py, its
 * router is the real one. */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 80 };

int main(int argc, char **argv)
{
    char *arguments[MOST + 3] = {getenv("PYTHON"), getenv("FAKE_ENGINE_PY")};
    if (argc < 2 || argc > MOST)
        return EXIT_USAGE;
    if (strcmp(argv[1], "demo") == 0)
        return command_demo(argc - 1, argv + 1);
    if (strcmp(argv[1], "route") == 0) {
        execv(getenv("SEGUE"), argv);
    } else if (strcmp(argv[1], "engine") == 0) {
        unsetenv("LD_PRELOAD"); /* python is not sanitized */
        memcpy(arguments + 2, argv + 2, (size_t)(argc - 1) * sizeof *argv);
        execvp(arguments[0], arguments);
    }
    perror("the fake of segue");
    return EXIT_MISSING;
}
