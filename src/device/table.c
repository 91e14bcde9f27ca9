/* SPDX-License-Identifier: Apache-2.0 */
/* Which kinds of devices there are. */
#include <stdio.h>
#include <string.h>
#include "base/status.h"
#include "device/device.h"

static const struct segue_device_ops *const kinds[] = {
    &segue_device_host,
    &segue_device_sim,
};
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct {
    const char *alias, *name;
} aliases[] = {{"cpu", "host"}};

void segue_device_probe(void (*found)(void *user, const char *name), void *user)
{
    for (size_t i = 0; i < KINDS; i++)
        kinds[i]->probe(found, user);
}

struct names {
    char text[256];
    size_t len;
};

static void add_name(void *user, const char *name)
{
    struct names *names = user;
    int n = snprintf(names->text + names->len, sizeof names->text - names->len, "%s%s",
                     names->len ? ", " : "", name);
    if (n > 0 && (size_t)n < sizeof names->text - names->len)
        names->len += (size_t)n;
}

enum segue_status segue_device_open(const struct segue_device_args *args,
                                    struct segue_device **out)
{
    struct segue_device_args known = *args;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(args->name, aliases[i].alias) == 0)
            known.name = aliases[i].name;
    size_t len = strcspn(known.name, ":,");
    for (size_t i = 0; i < KINDS; i++)
        if (strlen(kinds[i]->kind) == len &&
            strncmp(known.name, kinds[i]->kind, len) == 0)
            return kinds[i]->open(&known, out);
    struct names names = {0};
    segue_device_probe(add_name, &names);
    return segue_fail(SEGUE_E_NOT_FOUND, "no device is called '%s'; there are: %s",
                      args->name, names.text);
}
