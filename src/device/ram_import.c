/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer's memory, mapped here to be read. The handle (ram_share.c) comes from the peer: nothing of it is believed.
 *
 * A mapping is made at once, which takes microseconds whatever its size, and can be used at once. Its page tables are
 * filled by a task of the pool, which goes behind whoever waits for a thread after each stretch, so that copies, and the
 * agent's thread, never wait for it; and a task unmaps it, which takes as long.
 */
#include "device/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "device/ram_chunk.h"

#define STRETCH ((size_t)1 << 20)

/* Newer than some C libraries. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

struct import {
    struct segue_list link; /* ram->imports */
    struct segue_ram *ram;
    struct segue_task task;
    char *base, *addr; /* of the mapping; of the first byte asked for */
    size_t size, filled;
    uint64_t made_ns;
    bool busy;    /* lock: the task is queued or runs */
    bool dropped; /* lock */
};

/* ---- handles ---- */

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
    char name[SEGUE_RAM_KIND + 1] = {0};
    for (int i = 0; i < SEGUE_RAM_KIND && kind[i]; i++)
        name[i] = kind[i] > ' ' && kind[i] < 0x7f ? (char)kind[i] : '?';
    return segue_fail(SEGUE_E_MISMATCH, "memory of '%s' cannot be mapped by %s", name,
                      ram->kind);
}

/* ---- pages ---- */

static void fill(char *at, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (madvise(at, size, MADV_POPULATE_READ) == 0)
        return;
    for (size_t i = 0; i < size; i += page)
        (void)*(volatile char *)(at + i);
}

/* Fills the next stretch; false when there is none. */
static bool fill_next(struct import *m)
{
    size_t left = m->size - m->filled, n = left < STRETCH ? left : STRETCH;
    if (n == 0)
        return false;
    fill(m->base + m->filled, n);
    m->filled += n;
    if (n == left)
        SEGUE_LOG(DEBUG, "device",
                  "the page tables of %zu bytes of a peer took %" PRIu64 " us", m->size,
                  (segue_now_ns() - m->made_ns) / 1000);
    return true;
}

static void work(struct segue_task *task)
{
    struct import *m = task->user;
    struct segue_ram *ram = m->ram;
    pthread_mutex_lock(&ram->lock);
    while (!m->dropped) {
        pthread_mutex_unlock(&ram->lock);
        bool more = fill_next(m);
        if (more && segue_pool_waiting(ram->pool)) {
            segue_pool_submit(ram->pool, task);
            return;
        }
        pthread_mutex_lock(&ram->lock);
        if (!more && !m->dropped) {
            m->busy = false;
            pthread_mutex_unlock(&ram->lock);
            return;
        }
    }
    pthread_mutex_unlock(&ram->lock);
    munmap(m->base, m->size); /* a reader may be long at it: not under the lock */
    pthread_mutex_lock(&ram->lock);
    segue_list_remove(&m->link);
    pthread_cond_broadcast(&ram->idle);
    pthread_mutex_unlock(&ram->lock);
    free(m);
}

static uint64_t inside_page(uint64_t offset)
{
    return offset % (uint64_t)sysconf(_SC_PAGESIZE);
}

enum segue_status segue_ram_import(struct segue_ram *ram,
                                   const struct segue_handle *handle, uint64_t len,
                                   void **addr)
{
    if (handle->n_fds != 1 || handle->len > sizeof handle->blob)
        return segue_fail(SEGUE_E_INVALID, "a memory handle of %u bytes with %u fds",
                          handle->len, handle->n_fds);
    struct segue_reader r = segue_reader_make(handle->blob, handle->len);
    const uint8_t *kind = segue_reader_take(&r, SEGUE_RAM_KIND);
    segue_reader_u64(&r); /* the id serves whoever caches imports */
    uint64_t offset = segue_reader_u64(&r), length = segue_reader_u64(&r);
    if (r.failed || r.at != r.len)
        return segue_fail(SEGUE_E_INVALID, "a memory handle of %u bytes", handle->len);
    if (strncmp((const char *)kind, ram->kind, SEGUE_RAM_KIND) != 0)
        return other_kind(ram, kind);
    if (length != len)
        return segue_fail(SEGUE_E_MISMATCH,
                          "the handle is for %" PRIu64 " bytes, the region has %" PRIu64,
                          length, len);
    SEGUE_TRY(check_fd(handle->fds[0], offset, len));
    struct import *m = calloc(1, sizeof *m);
    if (!m)
        return segue_fail(SEGUE_E_MEMORY, "no memory to list a mapping");
    uint64_t skip = inside_page(offset);
    *m = (struct import){.ram = ram, .size = len + skip, .made_ns = segue_now_ns()};
    m->base = segue_ram_map(handle->fds[0], offset - skip, m->size, PROT_READ,
                            MAP_SHARED);
    if (!m->base) {
        int err = errno;
        free(m);
        return segue_fail_errno(SEGUE_E_MEMORY, err,
                                "mapping %" PRIu64 " bytes of a peer", len);
    }
    *addr = m->addr = m->base + skip;
    m->task = (struct segue_task){.fn = work, .user = m};
    m->busy = true;
    pthread_mutex_lock(&ram->lock);
    segue_list_push_back(&ram->imports, &m->link);
    pthread_mutex_unlock(&ram->lock);
    segue_pool_submit(ram->pool, &m->task);
    return SEGUE_OK;
}

/* Called with the lock, which it lets go of. */
static void drop(struct import *m)
{
    struct segue_ram *ram = m->ram;
    bool busy = m->busy;
    m->dropped = m->busy = true;
    pthread_mutex_unlock(&ram->lock);
    if (!busy)
        segue_pool_submit(ram->pool, &m->task);
}

void segue_ram_drop(struct segue_ram *ram, void *addr)
{
    pthread_mutex_lock(&ram->lock);
    segue_list_each (l, &ram->imports) {
        struct import *m = segue_container_of(l, struct import, link);
        if (m->addr == addr && !m->dropped) {
            drop(m);
            return;
        }
    }
    pthread_mutex_unlock(&ram->lock);
}

void segue_ram_imports_fini(struct segue_ram *ram)
{
    pthread_mutex_lock(&ram->lock);
    while (!segue_list_empty(&ram->imports)) {
        struct import *m = segue_container_of(ram->imports.next, struct import, link);
        if (m->dropped) {
            pthread_cond_wait(&ram->idle, &ram->lock);
        } else {
            drop(m);
            pthread_mutex_lock(&ram->lock);
        }
    }
    pthread_mutex_unlock(&ram->lock);
}
