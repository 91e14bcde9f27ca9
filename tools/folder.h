/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private temporary folders. Each is locked by the process that made it, for as long as that lives; what a killed one left
 * behind is swept by the next that makes one of the same name.
 */
#ifndef TOOLS_FOLDER_H
#define TOOLS_FOLDER_H

#include <stdbool.h>

struct folder {
    char path[96]; /* "": there is none */
    int lock;
};

/* What: makes NAME-xxxxxx in $TMPDIR, or /tmp, for its owner only; before, sweeps. false with errno. */
bool folder_make(struct folder *folder, const char *name);

/* What: removes it with all that is in it; harmless when there is none. */
void folder_remove(struct folder *folder);

/* What: leaves it there for people: no sweep takes it. */
void folder_keep(struct folder *folder);

/* What: in a child that was forked and is not to keep the folder alive: lets go of it. */
void folder_forget(struct folder *folder);

/* What: removes folders of this name whose makers are gone. */
void folder_sweep(const char *name);

#endif
