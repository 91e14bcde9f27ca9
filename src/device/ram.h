/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory made of pages that can be handed to other processes: what host and sim devices
 * allocate. Each allocation is a memfd, sized, populated and sealed, so that nobody can
 * take it away from under a reader or write to it from outside (rule R19).
 *
 * A guarded set gives out addresses that nobody may touch: reservations without access,
 * beside a private mapping (the view) that copies and kernels use. Any thread.
 */
#ifndef DEVICE_RAM_H
#define DEVICE_RAM_H

#include <pthread.h>
#include "device/device.h"

struct segue_ram_chunk;

struct segue_ram {
    pthread_mutex_t lock;
    struct segue_pool *pool;   /* fills and ends mappings of peers' memory; borrowed */
    struct segue_list imports; /* those mappings */
    pthread_cond_t
        idle; /* an allocation has no copy in flight any more, or a mapping ended */
    struct segue_ram_chunk **chunks; /* by address */
    size_t n, cap;
    const char *kind; /* goes into handles: only the same kind imports them */
    bool guarded;
};

void segue_ram_init(struct segue_ram *ram, const char *kind, struct segue_pool *pool,
                    bool guarded);
void segue_ram_fini(struct segue_ram *ram); /* frees what is left */

enum segue_status segue_ram_alloc(struct segue_ram *ram, size_t size, void **addr);
void segue_ram_free(struct segue_ram *ram, void *addr); /* waits for copies */

/* What: the allocation that `addr` lies in; false: none of these. */
bool segue_ram_query(struct segue_ram *ram, const void *addr,
                     struct segue_memory_info *out);

/* What: where a copy finds what `addr` means: the view, or `addr` itself when it lies in
 * none of these allocations. */
char *segue_ram_reach(struct segue_ram *ram, char *addr);

/* What: keeps the allocations that the extents lie in from being freed, and lets go. A
 * guarded extent that leaves its allocation is refused (E_RANGE). */
enum segue_status segue_ram_hold(struct segue_ram *ram, const struct segue_extent *extent,
                                 size_t n);
void segue_ram_release(struct segue_ram *ram, const struct segue_extent *extent,
                       size_t n);

/* The device verbs of these names. Neither import nor drop walks the pages: a mapping can be used at once, while the pool
 * fills its page tables, a bounded stretch at a time and behind whoever waits for a thread; and it ends on the pool. */
enum segue_status segue_ram_export(struct segue_ram *ram, const void *addr, uint64_t len,
                                   struct segue_handle *out);
enum segue_status segue_ram_import(struct segue_ram *ram,
                                   const struct segue_handle *handle, uint64_t len,
                                   void **addr);
void segue_ram_drop(struct segue_ram *ram, void *addr);

#endif
