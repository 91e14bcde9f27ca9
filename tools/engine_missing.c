/* SPDX-License-Identifier: Apache-2.0 */
/* segue engine where the build had not what it needs. */
#include "command.h"

#include <stdio.h>

int command_engine(int argc, char **argv)
{
    fprintf(stderr, "segue engine: this build has no engine, as libraries were missing; "
                    "scripts/setup installs them\n");
    return EXIT_MISSING;
}
