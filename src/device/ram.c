/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations as sealed memfds, looked up by address. Handing them to other processes is
 * ram_share.c's. */
#include "device/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/random.h"
#include "base/status.h"
#include "device/ram_chunk.h"

#define HUGE_PAGE ((size_t)2 << 20)

/* Newer than some C libraries. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void segue_ram_init(struct segue_ram *ram, const char *kind, struct segue_pool *pool,
                    bool guarded)
{
    *ram = (struct segue_ram){.kind = kind, .pool = pool, .guarded = guarded};
    segue_list_init(&ram->imports);
    pthread_mutex_init(&ram->lock, NULL);
    pthread_cond_init(&ram->idle, NULL);
}

static void free_chunk(struct segue_ram_chunk *chunk)
{
    if (chunk->view)
        munmap(chunk->view, chunk->size);
    if (chunk->addr && chunk->addr != chunk->view)
        munmap(chunk->addr, chunk->size);
    if (chunk->fd >= 0)
        close(chunk->fd);
    free(chunk);
}

void segue_ram_fini(struct segue_ram *ram)
{
    segue_ram_imports_fini(ram);
    for (size_t i = 0; i < ram->n; i++)
        free_chunk(ram->chunks[i]);
    free(ram->chunks);
    pthread_cond_destroy(&ram->idle);
    pthread_mutex_destroy(&ram->lock);
}

/* How many allocations begin at or below addr. Called with the lock. */
static size_t count_below(const struct segue_ram *ram, const char *addr)
{
    size_t low = 0, high = ram->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ram->chunks[middle]->addr <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct segue_ram_chunk *segue_ram_find(const struct segue_ram *ram, const void *addr)
{
    size_t below = count_below(ram, addr);
    if (below == 0)
        return NULL;
    struct segue_ram_chunk *chunk = ram->chunks[below - 1];
    return (uint64_t)((const char *)addr - chunk->addr) < chunk->size ? chunk : NULL;
}

static enum segue_status insert(struct segue_ram *ram, struct segue_ram_chunk *chunk)
{
    pthread_mutex_lock(&ram->lock);
    if (ram->n == ram->cap) {
        size_t cap = ram->cap ? 2 * ram->cap : 16;
        struct segue_ram_chunk **chunks = realloc(ram->chunks,
                                                  cap * sizeof(struct segue_ram_chunk *));
        if (!chunks) {
            pthread_mutex_unlock(&ram->lock);
            return segue_fail(SEGUE_E_MEMORY, "no memory to list %zu allocations", cap);
        }
        ram->chunks = chunks;
        ram->cap = cap;
    }
    size_t at = count_below(ram, chunk->addr);
    memmove(&ram->chunks[at + 1], &ram->chunks[at],
            (ram->n - at) * sizeof(struct segue_ram_chunk *));
    ram->chunks[at] = chunk;
    ram->n++;
    pthread_mutex_unlock(&ram->lock);
    return SEGUE_OK;
}

/* Bytes that can be had without swapping; the kernel would kill somebody rather than
 * refuse a memfd more than there is. UINT64_MAX when it does not say. */
static uint64_t bytes_available(void)
{
    uint64_t kib = UINT64_MAX / 1024;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

static enum segue_status no_room(size_t size, uint64_t available)
{
    return segue_fail(SEGUE_E_MEMORY, "asked for %zu bytes, there are %" PRIu64, size,
                      available);
}

void *segue_ram_map(int fd, uint64_t offset, size_t size, int prot, int flags)
{
    char *room = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    size_t skip = (offset - (uintptr_t)room) % HUGE_PAGE;
    char *at = mmap(room + skip, size, prot, flags | MAP_FIXED, fd, (off_t)offset);
    int err = errno;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t used = at == MAP_FAILED ? 0 : skip + (size + page - 1) / page * page;
    if (used > 0 && skip > 0)
        munmap(room, skip);
    munmap(room + used, size + HUGE_PAGE - used);
    errno = err;
    return used > 0 ? at : NULL;
}

/* Huge pages where the kernel gives them to whoever asks (Linux 6.1; shared memory gets
 * none by itself on most systems): a relayout in blocks then stops missing the TLB, and
 * filling the memory is ten times faster. A page that is there is what lets it begin. */
static void ask_for_huge_pages(char *view, size_t size)
{
    for (size_t at = 0; at + HUGE_PAGE <= size; at += HUGE_PAGE) {
        *(volatile char *)(view + at) = 0;
        if (madvise(view + at, HUGE_PAGE, MADV_COLLAPSE) != 0)
            return;
    }
}

static void populate(char *view, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (madvise(view, size, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t at = 0; at < size; at += page)
        *(volatile char *)(view + at) = 0;
}

/* Mapped before it is sealed: F_SEAL_FUTURE_WRITE leaves ours the only mapping that can
 * write. */
static enum segue_status map_chunk(struct segue_ram_chunk *chunk, bool guarded)
{
    size_t size = chunk->size;
    chunk->fd = memfd_create("segue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (chunk->fd < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "memfd_create");
    if (ftruncate(chunk->fd, (off_t)size) != 0)
        return segue_fail_errno(SEGUE_E_MEMORY, errno, "a memfd of %zu bytes", size);
    chunk->addr = chunk->view = segue_ram_map(chunk->fd, 0, size, PROT_READ | PROT_WRITE,
                                              MAP_SHARED);
    if (!chunk->view)
        return segue_fail_errno(SEGUE_E_MEMORY, errno, "mapping %zu bytes", size);
    ask_for_huge_pages(chunk->view, size);
    if (fallocate(chunk->fd, 0, 0, (off_t)size) != 0)
        return no_room(size, bytes_available());
    populate(chunk->view, size);
    if (guarded) {
        void *guard = mmap(NULL, size, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (guard == MAP_FAILED)
            return segue_fail_errno(SEGUE_E_MEMORY, errno, "reserving %zu bytes", size);
        chunk->addr = guard;
    }
    int size_seals = F_SEAL_SHRINK | F_SEAL_GROW;
    if (fcntl(chunk->fd, F_ADD_SEALS, size_seals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
            0 &&
        fcntl(chunk->fd, F_ADD_SEALS, size_seals | F_SEAL_SEAL) != 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "sealing a memfd");
    return SEGUE_OK;
}

enum segue_status segue_ram_alloc(struct segue_ram *ram, size_t size, void **addr)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size == 0)
        return segue_fail(SEGUE_E_INVALID, "an allocation of 0 bytes");
    uint64_t available = bytes_available();
    if (size > available || size > INT64_MAX - HUGE_PAGE)
        return no_room(size, available);
    struct segue_ram_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return segue_fail(SEGUE_E_MEMORY, "no memory to list an allocation");
    chunk->fd = -1;
    chunk->id = segue_random_u64();
    chunk->size = (size + page - 1) / page * page;
    enum segue_status status = map_chunk(chunk, ram->guarded);
    if (status >= 0)
        status = insert(ram, chunk);
    if (status < 0) {
        free_chunk(chunk);
        return status;
    }
    *addr = chunk->addr;
    return SEGUE_OK;
}

void segue_ram_free(struct segue_ram *ram, void *addr)
{
    pthread_mutex_lock(&ram->lock);
    struct segue_ram_chunk *chunk = segue_ram_find(ram, addr);
    bool ours = chunk && chunk->addr == addr;
    if (ours) {
        while (chunk->copies > 0)
            pthread_cond_wait(&ram->idle, &ram->lock);
        size_t at = count_below(ram, addr);
        memmove(&ram->chunks[at - 1], &ram->chunks[at],
                (ram->n - at) * sizeof(struct segue_ram_chunk *));
        ram->n--;
    }
    pthread_mutex_unlock(&ram->lock);
    if (ours)
        free_chunk(chunk);
}

bool segue_ram_query(struct segue_ram *ram, const void *addr,
                     struct segue_memory_info *out)
{
    pthread_mutex_lock(&ram->lock);
    const struct segue_ram_chunk *chunk = segue_ram_find(ram, addr);
    if (chunk)
        *out = (struct segue_memory_info){chunk->addr, chunk->size, chunk->id,
                                          chunk->view};
    pthread_mutex_unlock(&ram->lock);
    return chunk != NULL;
}

char *segue_ram_reach(struct segue_ram *ram, char *addr)
{
    pthread_mutex_lock(&ram->lock);
    const struct segue_ram_chunk *chunk = segue_ram_find(ram, addr);
    if (chunk)
        addr = chunk->view + (addr - chunk->addr);
    pthread_mutex_unlock(&ram->lock);
    return addr;
}

static void release(struct segue_ram *ram, const struct segue_extent *extent, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct segue_ram_chunk *chunk = segue_ram_find(ram, extent[i].base);
        if (chunk && --chunk->copies == 0)
            pthread_cond_broadcast(&ram->idle);
    }
}

enum segue_status segue_ram_hold(struct segue_ram *ram, const struct segue_extent *extent,
                                 size_t n)
{
    enum segue_status status = SEGUE_OK;
    pthread_mutex_lock(&ram->lock);
    for (size_t i = 0; i < n && status == SEGUE_OK; i++) {
        struct segue_ram_chunk *chunk = segue_ram_find(ram, extent[i].base);
        if (!chunk)
            continue;
        uint64_t left = chunk->size - (uint64_t)(extent[i].base - chunk->addr);
        if (ram->guarded && extent[i].len > left) {
            status = segue_fail(SEGUE_E_RANGE,
                                "region %zu of %" PRIu64 " bytes leaves its allocation "
                                "by %" PRIu64,
                                i, extent[i].len, extent[i].len - left);
            release(ram, extent, i);
        } else {
            chunk->copies++;
        }
    }
    pthread_mutex_unlock(&ram->lock);
    return status;
}

void segue_ram_release(struct segue_ram *ram, const struct segue_extent *extent, size_t n)
{
    pthread_mutex_lock(&ram->lock);
    release(ram, extent, n);
    pthread_mutex_unlock(&ram->lock);
}
