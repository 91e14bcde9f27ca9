/* SPDX-License-Identifier: Apache-2.0 */
/* segue demo where the build had not what it needs. */
#include "command.h"

#include <stdio.h>

int command_demo(int argc, char **argv)
{
    fprintf(stderr, "segue demo: this build has no demo, as libraries were missing; "
                    "scripts/setup installs them\n");
    return EXIT_MISSING;
}
