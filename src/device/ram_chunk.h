/* SPDX-License-Identifier: Apache-2.0 */
/* One allocation of a set, between ram.c and ram_share.c. */
#ifndef DEVICE_RAM_CHUNK_H
#define DEVICE_RAM_CHUNK_H

#include "device/ram.h"

#define SEGUE_RAM_KIND 16 /* bytes of a handle: the kind of device, zero padded */

struct segue_ram_chunk {
    char *addr; /* what the caller was given */
    char *view; /* where the bytes are; the same when the set is not guarded */
    uint64_t size, id;
    int fd;
    uint32_t copies; /* in flight */
};

/* The allocation that addr lies in, or NULL. Called with the lock. */
struct segue_ram_chunk *segue_ram_find(const struct segue_ram *ram, const void *addr);

/* What: maps `size` bytes of a memfd from `offset` (whole pages) where huge pages of the
 * file can be mapped as such. NULL with errno. */
void *segue_ram_map(int fd, uint64_t offset, size_t size, int prot, int flags);

/* What: ends the mappings of peers' memory that are left, and waits until the pool has let
 * go of them (ram_import.c). */
void segue_ram_imports_fini(struct segue_ram *ram);

#endif
