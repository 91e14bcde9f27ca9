/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations as handles for other processes. A handle is
 *
 *     kind       16 bytes, zero padded
 *     id         8 bytes, of the allocation
 *     offset     8 bytes into the memfd
 *     length     8 bytes
 *
 * and the memfd. The way back is ram_import.c's.
 */
#include "device/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/status.h"
#include "device/ram_chunk.h"

enum segue_status segue_ram_export(struct segue_ram *ram, const void *addr, uint64_t len,
                                   struct segue_handle *out)
{
    struct segue_handle handle = {.n_fds = 1};
    enum segue_status status = SEGUE_OK;
    pthread_mutex_lock(&ram->lock);
    const struct segue_ram_chunk *chunk = segue_ram_find(ram, addr);
    uint64_t offset = chunk ? (uint64_t)((const char *)addr - chunk->addr) : 0;
    if (!chunk)
        status = segue_fail(SEGUE_E_UNSUPPORTED,
                            "%p was not allocated by segue_alloc: it cannot be handed "
                            "to another process",
                            addr);
    else if (len > chunk->size - offset)
        status = segue_fail(SEGUE_E_RANGE,
                            "%" PRIu64 " bytes leave the allocation by %" PRIu64, len,
                            len - (chunk->size - offset));
    else if ((handle.fds[0] = fcntl(chunk->fd, F_DUPFD_CLOEXEC, 0)) < 0)
        status = segue_fail_errno(SEGUE_E_SYSTEM, errno, "duplicating a memfd");
    uint64_t id = chunk ? chunk->id : 0;
    pthread_mutex_unlock(&ram->lock);
    SEGUE_TRY(status);
    char kind[SEGUE_RAM_KIND] = {0};
    memcpy(kind, ram->kind, strnlen(ram->kind, SEGUE_RAM_KIND));
    struct segue_writer w = segue_writer_make(handle.blob, sizeof handle.blob);
    segue_writer_bytes(&w, kind, sizeof kind);
    segue_writer_u64(&w, id);
    segue_writer_u64(&w, offset);
    segue_writer_u64(&w, len);
    handle.len = (uint32_t)w.len;
    *out = handle;
    return SEGUE_OK;
}
