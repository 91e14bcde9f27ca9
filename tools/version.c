/* SPDX-License-Identifier: Apache-2.0 */
/* segue version: which library this is. */
#include "command.h"

#include <segue/version.h>
#include <stdio.h>

int command_version(int argc, char **argv)
{
    printf("segue %s\n", segue_version());
    return EXIT_WELL;
}
