/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations as handles for other processes, and back. A handle is
 *
 *     kind       16 bytes, zero padded
 *     id         8 bytes, of the allocation
 *     offset     8 bytes into the memfd
 *     length     8 bytes
 *
 * and the memfd. All of it comes from a peer when it is imported.
 */
#include "device/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/status.h"
#include "device/ram_chunk.h"

#define KIND_BYTES 16

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
    char kind[KIND_BYTES] = {0};
    memcpy(kind, ram->kind, strnlen(ram->kind, KIND_BYTES));
    struct segue_writer w = segue_writer_make(handle.blob, sizeof handle.blob);
    segue_writer_bytes(&w, kind, sizeof kind);
    segue_writer_u64(&w, id);
    segue_writer_u64(&w, offset);
    segue_writer_u64(&w, len);
    handle.len = (uint32_t)w.len;
    *out = handle;
    return SEGUE_OK;
}

/* Whether the bytes are there and stay there, whatever their owner does. */
static enum segue_status check_fd(int fd, uint64_t offset, uint64_t len)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return segue_fail_errno(SEGUE_E_REFUSED, errno, "the peer's memory descriptor");
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !S_ISREG(stat.st_mode))
        return segue_fail(SEGUE_E_REFUSED, "the peer's memory is no memfd");
    if ((seals & F_SEAL_SHRINK) == 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "the peer's memory is not sealed with F_SEAL_SHRINK: it could "
                          "be truncated under us");
    uint64_t end;
    if (len == 0 || __builtin_add_overflow(offset, len, &end) || stat.st_size < 0 ||
        end > (uint64_t)stat.st_size)
        return segue_fail(SEGUE_E_RANGE,
                          "the peer's memory has %" PRIi64 " bytes: not %" PRIu64
                          " at %" PRIu64,
                          (int64_t)stat.st_size, len, offset);
    return SEGUE_OK;
}

static enum segue_status other_kind(const struct segue_ram *ram, const uint8_t *kind)
{
    char name[KIND_BYTES + 1] = {0};
    for (int i = 0; i < KIND_BYTES && kind[i]; i++)
        name[i] = kind[i] > ' ' && kind[i] < 0x7f ? (char)kind[i] : '?';
    return segue_fail(SEGUE_E_MISMATCH, "memory of '%s' cannot be mapped by %s", name,
                      ram->kind);
}

static uint64_t inside_page(uint64_t offset)
{
    return offset % (uint64_t)sysconf(_SC_PAGESIZE);
}

enum segue_status segue_ram_import(const struct segue_ram *ram,
                                   const struct segue_handle *handle, uint64_t len,
                                   void **addr)
{
    if (handle->n_fds != 1 || handle->len > sizeof handle->blob)
        return segue_fail(SEGUE_E_INVALID, "a memory handle of %u bytes with %u fds",
                          handle->len, handle->n_fds);
    struct segue_reader r = segue_reader_make(handle->blob, handle->len);
    const uint8_t *kind = segue_reader_take(&r, KIND_BYTES);
    segue_reader_u64(&r); /* the id serves whoever caches imports */
    uint64_t offset = segue_reader_u64(&r), length = segue_reader_u64(&r);
    if (r.failed || r.at != r.len)
        return segue_fail(SEGUE_E_INVALID, "a memory handle of %u bytes", handle->len);
    if (strncmp((const char *)kind, ram->kind, KIND_BYTES) != 0)
        return other_kind(ram, kind);
    if (length != len)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the handle is for %" PRIu64 " bytes, the region has %" PRIu64,
                          length, len);
    SEGUE_TRY(check_fd(handle->fds[0], offset, len));
    uint64_t skip = inside_page(offset);
    char *base = segue_ram_map(handle->fds[0], offset - skip, len + skip, PROT_READ,
                               MAP_SHARED | MAP_POPULATE);
    if (!base)
        return segue_fail_errno(SEGUE_E_MEMORY, errno,
                                "mapping %" PRIu64 " bytes of a peer", len);
    *addr = base + skip;
    return SEGUE_OK;
}

void segue_ram_drop(void *addr, uint64_t len)
{
    uint64_t skip = inside_page((uintptr_t)addr);
    munmap((char *)addr - skip, len + skip);
}
