/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device table: what a memory backend must do. One const table a kind, listed in
 * table.c; state lives in an instance whose first member is struct segue_device. Callers
 * use the checked wrappers below, which answer E_UNSUPPORTED for a verb that is NULL.
 *
 * Threads: every verb may be called from any thread. Completions come exactly once, from
 * any thread, never from inside the call that started the work.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <segue/device.h>
#include <segue/sync.h>
#include "base/list.h"
#include "base/move.h"
#include "base/pool.h"

#define SEGUE_BLOB_MAX 256 /* bytes of an exported handle, beside its fds */
#define SEGUE_BLOB_FDS 16  /* fds (chunks) of an exported handle */

/* What this device's memory can do; what selection reads. */
enum segue_device_caps {
    SEGUE_DEVICE_VIEW = 1 << 0,     /* the CPU can address it: segue_device_view works */
    SEGUE_DEVICE_MAP_HOST = 1 << 1, /* its copy engine reaches host memory of peers mapped
                                       here, and pinned slots (nearly all do) */
    SEGUE_DEVICE_EXPORT =
        1 << 2, /* another process can map it (import verb of the same kind) */
    SEGUE_DEVICE_CMA =
        1 << 3, /* its address is ordinary process memory: process_vm_readv reaches it */
    SEGUE_DEVICE_STRIDED = 1 << 4, /* copy takes strides; without it only contiguous runs,
                                      relayout happens elsewhere */
    SEGUE_DEVICE_DMABUF = 1 << 5,  /* a NIC can be given its memory */
};

#define SEGUE_COPY_ROOM 512 /* bytes a device may use in a copy job */

struct segue_handle { /* exported memory, as it travels to a peer */
    uint32_t len;     /* bytes of blob in use */
    uint8_t blob[SEGUE_BLOB_MAX];
    uint32_t n_fds;
    int fds[SEGUE_BLOB_FDS]; /* owned by whoever holds the struct; import takes none over
                              */
};

struct segue_memory_info {
    void *base;    /* start of the allocation */
    uint64_t size; /* bytes */
    uint64_t id; /* allocation id: differs when other memory lives at the same address */
    char *view;  /* CPU pointer to `base` a kernel may use, or NULL */
};

/* One asynchronous copy. The caller owns it and what it points to until `done` runs.
 * `dev` and `impl` belong to the device. */
struct segue_copy_job {
    struct segue_transfer transfer;
    const struct segue_extent *src,
        *dst; /* addresses this device reaches: its own, imported, host */
    size_t n_src, n_dst;
    uint64_t
        part_of; /* bytes of the whole that this is a part of; 0: it is the whole. Many
                         parts into cold memory are written past the caches, few are not */
    void (*done)(struct segue_copy_job *job,
                 enum segue_status status); /* exactly once, any thread; the job may be
                                               freed inside it */
    void *user;
    struct segue_device *dev;
    _Atomic bool cancelled; /* best effort: bytes not yet copied need not be */
    union {
        struct segue_task task;
        char room[SEGUE_COPY_ROOM];
    } impl;
};

/* Waiting for an engine's stream or event. */
struct segue_wait {
    void (*done)(struct segue_wait *wait,
                 enum segue_status status); /* exactly once, any thread; not after
                                               segue_device_unwait */
    void *user;
    struct segue_device *dev;
    union {
        struct segue_list link;
        char room[64];
    } impl;
};

struct segue_device_args {
    const char *name;        /* "host", "sim:cuda" */
    struct segue_pool *pool; /* mover threads; borrowed; at least one */
};

struct segue_device_ops {
    const char *kind; /* the part of the name before ':' */

    /* Names this kind offers here, one call of `found` each; or nothing, and one sentence
     * why through segue_fail. */
    enum segue_status (*probe)(void (*found)(void *user, const char *name), void *user);
    enum segue_status (*open)(const struct segue_device_args *args,
                              struct segue_device **out);
    void (*close)(
        struct segue_device *dev); /* nothing is in flight any more when it is called */

    enum segue_status (*alloc)(struct segue_device *dev, size_t size, void **addr);
    void (*free)(struct segue_device *dev, void *addr);
    enum segue_status (*query)(struct segue_device *dev, const void *addr,
                               struct segue_memory_info *out);

    /* Memory as a handle for another process (fds duplicated: the caller closes them),
     * and back. `import` checks size, seals and identity; the address it returns may be a
     * source for `copy` of this device, read only. */
    enum segue_status (*export)(struct segue_device *dev, const void *addr, uint64_t len,
                                struct segue_handle *out);
    enum segue_status (*import)(struct segue_device *dev,
                                const struct segue_handle *handle, uint64_t len,
                                void **addr);
    void (*drop)(struct segue_device *dev, void *addr, uint64_t len);

    /* Page-locks a host range that the copy engine will use (staging slots); NULL: any
     * host memory will do as it is. */
    enum segue_status (*pin)(struct segue_device *dev, void *addr, uint64_t len, bool on);

    /* A device without SEGUE_DEVICE_STRIDED refuses (E_UNSUPPORTED) moves whose tokens do
     * not lie side by side on both sides, unless every span is one token, and conversions:
     * it copies contiguous runs. */
    enum segue_status (*copy)(struct segue_device *dev, struct segue_copy_job *job);
    /* E_INVALID for SEGUE_SYNC_NONE: there is nothing to wait for. */
    enum segue_status (*sync)(struct segue_device *dev, const struct segue_sync *sync,
                              struct segue_wait *wait);
    void (*unwait)(struct segue_device *dev,
                   struct segue_wait *wait); /* `done` has run or will not */
    /* NIC writes become visible; NULL: they are at once. */
    enum segue_status (*flush)(struct segue_device *dev, const void *addr, uint64_t len);
};

struct segue_device {
    const struct segue_device_ops *ops;
    char name[32];
    uint32_t caps;    /* enum segue_device_caps */
    uint32_t min_run; /* shortest contiguous run its copy engine moves well, bytes */
};

extern const struct segue_device_ops segue_device_host, segue_device_sim;

/* table.c, from the one array of kinds: the name of every device there could be here; and
 * a device by its name ("cpu" is host; options follow a comma). E_NOT_FOUND naming what
 * there is. */
void segue_device_probe(void (*found)(void *user, const char *name), void *user);
enum segue_status segue_device_open(const struct segue_device_args *args,
                                    struct segue_device **out);
void segue_device_close(struct segue_device *dev);

/* Checked wrappers (device.c). segue_device_copy checks that every byte lies inside its
 * extents before anything moves. */
enum segue_status segue_device_query(struct segue_device *dev, const void *addr,
                                     struct segue_memory_info *out);
enum segue_status segue_device_export(struct segue_device *dev, const void *addr,
                                      uint64_t len, struct segue_handle *out);
enum segue_status segue_device_import(struct segue_device *dev,
                                      const struct segue_handle *handle, uint64_t len,
                                      void **addr);
void segue_device_drop(struct segue_device *dev, void *addr, uint64_t len);
enum segue_status segue_device_pin(struct segue_device *dev, void *addr, uint64_t len,
                                   bool on);
enum segue_status segue_device_copy(struct segue_device *dev, struct segue_copy_job *job);
enum segue_status segue_device_sync(struct segue_device *dev,
                                    const struct segue_sync *sync,
                                    struct segue_wait *wait);
void segue_device_unwait(struct segue_device *dev, struct segue_wait *wait);
enum segue_status segue_device_flush(struct segue_device *dev, const void *addr,
                                     uint64_t len);

void segue_handle_close(struct segue_handle *handle); /* closes its fds */

#endif
