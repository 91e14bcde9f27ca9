/* SPDX-License-Identifier: Apache-2.0 */
/* What every device must do, and what each must refuse by its caps. */
#include "device.h"
#include "pool_hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1024 * 1024)

static const char *const names[] = {"host", "sim:cuda", "sim:xpu", "sim:gaudi",
                                    "sim:tpu"};
#define NAMES (sizeof names / sizeof *names)

static int open_each(void **state)
{
    struct opened *all = calloc(NAMES, sizeof *all);
    for (size_t i = 0; i < NAMES; i++)
        all[i] = device_open(names[i]);
    *state = all;
    return 0;
}

static int close_each(void **state)
{
    struct opened *all = *state;
    for (size_t i = 0; i < NAMES; i++)
        device_close(&all[i]);
    free(all);
    return 0;
}

static void fill(char *bytes, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(seed >> 24);
    }
}

/* Through a pipe, so that a fault is an errno. */
static bool can_touch(const void *addr)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    bool can = write(fds[1], addr, 1) == 1;
    if (!can)
        assert_int_equal(errno, EFAULT);
    close(fds[0]);
    close(fds[1]);
    return can;
}

static void memory(struct segue_device *dev)
{
    bool host = (dev->caps & SEGUE_DEVICE_CMA) != 0;
    char *addr, *other;
    assert_ok(segue_alloc(dev, 3 * MIB + 5, (void **)&addr));
    assert_ok(segue_alloc(dev, 100, (void **)&other));
    assert_int_equal((uintptr_t)addr % 4096, 0);
    assert_int_equal(can_touch(addr), host);
    struct segue_memory_info a, b;
    assert_ok(segue_device_query(dev, addr + 2 * MIB, &a));
    assert_ok(segue_device_query(dev, other, &b));
    assert_ptr_equal(a.base, addr);
    assert_true(a.size >= 3 * MIB + 5 && a.size < 3 * MIB + 4096 + 5);
    assert_true(a.id != b.id);
    void *view;
    if (dev->caps & SEGUE_DEVICE_VIEW) {
        assert_ok(segue_device_view(dev, addr + MIB, 2 * MIB, &view));
        assert_int_equal(*(char *)view, 0);
        memset(view, 7, 2 * MIB);
        assert_status(segue_device_view(dev, addr + MIB, 3 * MIB, &view), SEGUE_E_RANGE);
    } else {
        assert_status(segue_device_view(dev, addr, 1, &view), SEGUE_E_UNSUPPORTED);
    }
    if (!host)
        assert_status(segue_device_query(dev, &a, &b), SEGUE_E_NOT_FOUND);
    segue_free(dev, addr);
    segue_free(dev, other);
    segue_free(dev, NULL);
    assert_status(segue_alloc(dev, 0, (void **)&addr), SEGUE_E_INVALID);
    assert_status(segue_alloc(dev, SIZE_MAX / 2, (void **)&addr), SEGUE_E_MEMORY);
    assert_status(segue_alloc(dev, SIZE_MAX, (void **)&addr), SEGUE_E_MEMORY);
}

/* In, from here to there inside the device, and out again; big enough for many chunks. */
static void copies(struct segue_device *dev)
{
    const size_t n = 9 * MIB + 77;
    char *in = malloc(n), *out = malloc(n), *one, *two;
    fill(in, n, 1);
    assert_ok(segue_alloc(dev, n, (void **)&one));
    assert_ok(segue_alloc(dev, n + MIB, (void **)&two));
    assert_ok(segue_copy(dev, one, 0, in, 0, n, 1));
    assert_ok(segue_copy(dev, two + 3, 0, one, 0, n, 1));
    assert_ok(segue_copy(dev, out, 0, two + 3, 0, n, 1));
    assert_memory_equal(in, out, n);
    /* rows: every second 100 bytes */
    assert_ok(segue_copy(dev, two, 100, in, 200, 100, 1000));
    assert_ok(segue_copy(dev, out, 300, two, 100, 100, 1000));
    for (int i = 0; i < 1000; i++)
        assert_memory_equal(out + i * 300, in + i * 200, 100);
    assert_status(segue_copy(dev, one + n - 10, 0, in, 0, 5000, 1), SEGUE_E_RANGE);
    assert_status(segue_copy(dev, out, 0, one, SIZE_MAX / 2, 1, 9), SEGUE_E_RANGE);
    assert_ok(segue_copy(dev, one, 0, in, 0, 0, 1));
    segue_free(dev, one);
    segue_free(dev, two);
    free(in);
    free(out);
}

/* Two heads and 4 tokens a block change places: strides, or a refusal that says so. */
static void relayout(struct segue_device *dev)
{
    struct segue_move move = {.src_block = 2 * 4 * 64,
                              .dst_block = 2 * 4 * 64,
                              .src_token = 2 * 64,
                              .dst_token = 64,
                              .run = 64,
                              .dims = 1,
                              .dim = {{2, 64, 4 * 64}}};
    struct segue_span spans[] = {{0, 0, 1, 0, 4}, {1, 1, 0, 2, 2}};
    struct segue_transfer t = {&move, 1, spans, 2};
    char in[1024], out[1024] = {0}, want[1024] = {0};
    fill(in, sizeof in, 2);
    for (int s = 0; s < 2; s++)
        for (uint32_t h = 0; h < 2; h++)
            for (uint32_t i = 0; i < spans[s].tokens; i++)
                memcpy(want + spans[s].dst_block * 512 + h * 256 +
                           (spans[s].dst_token + i) * 64,
                       in + spans[s].src_block * 512 + (spans[s].src_token + i) * 128 +
                           h * 64,
                       64);
    char *addr;
    assert_ok(segue_alloc(dev, sizeof in, (void **)&addr));
    assert_ok(segue_copy(dev, addr, 0, out, 0, sizeof out, 1));
    enum segue_status status = device_copy(dev, &t, (struct segue_extent){in, sizeof in},
                                           (struct segue_extent){addr, sizeof in});
    if ((dev->caps & SEGUE_DEVICE_STRIDED) == 0) {
        assert_int_equal(status, SEGUE_E_UNSUPPORTED);
        assert_non_null(strstr(segue_error_detail(), dev->name));
    } else {
        assert_ok(status);
        assert_ok(segue_copy(dev, out, 0, addr, 0, sizeof out, 1));
        assert_memory_equal(out, want, sizeof want);
    }
    move.dim[0].count = 100;
    assert_true(device_copy(dev, &t, (struct segue_extent){in, sizeof in},
                            (struct segue_extent){addr, sizeof in}) == SEGUE_E_RANGE);
    segue_free(dev, addr);
}

static void cancelled(struct segue_device *dev)
{
    const size_t n = 32 * MIB;
    char *from, *to;
    assert_ok(segue_alloc(dev, n, (void **)&from));
    assert_ok(segue_alloc(dev, n, (void **)&to));
    struct ending ending = ENDING_INIT;
    struct segue_move move = {.src_token = n, .dst_token = n, .run = n};
    struct segue_span span = {.tokens = 1};
    struct segue_extent src = {from, n}, dst = {to, n};
    struct segue_copy_job job = {.transfer = {&move, 1, &span, 1},
                                 .src = &src,
                                 .dst = &dst,
                                 .n_src = 1,
                                 .n_dst = 1,
                                 .done = copy_ended,
                                 .user = &ending,
                                 .cancelled = true};
    assert_ok(segue_device_copy(dev, &job));
    assert_int_equal(ending_wait(&ending), SEGUE_E_CANCELLED);
    /* freeing waits for a copy in flight */
    struct ending again = ENDING_INIT;
    job.cancelled = false;
    job.user = &again;
    assert_ok(segue_device_copy(dev, &job));
    segue_free(dev, from);
    segue_free(dev, to);
    assert_ok(ending_wait(&again));
}

/* What a peer of the same kind gets to see: the bytes, live, and not to be written. */
static void shared(struct segue_device *dev)
{
    char *addr, bytes[5000], seen[5000];
    fill(bytes, sizeof bytes, 3);
    assert_ok(segue_alloc(dev, 5 * 4096, (void **)&addr));
    struct segue_handle handle;
    if ((dev->caps & SEGUE_DEVICE_EXPORT) == 0) {
        assert_status(segue_device_export(dev, addr, 4096, &handle), SEGUE_E_UNSUPPORTED);
        segue_free(dev, addr);
        return;
    }
    const size_t from = 4096 + 100;
    assert_ok(segue_device_export(dev, addr + from, sizeof bytes, &handle));
    char *peer;
    assert_ok(segue_device_import(dev, &handle, sizeof bytes, (void **)&peer));
    assert_ptr_equal(
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, handle.fds[0], 0),
        MAP_FAILED);
    segue_handle_close(&handle);
    assert_ok(segue_copy(dev, addr + from, 0, bytes, 0, sizeof bytes, 1));
    assert_ok(segue_copy(dev, seen, 0, peer, 0, sizeof seen, 1));
    assert_memory_equal(bytes, seen, sizeof seen);
    segue_free(dev, addr); /* the owner may go first: the pages stay */
    assert_memory_equal(bytes, peer, sizeof seen);
    segue_device_drop(dev, peer, sizeof bytes);
    assert_soon(!can_touch(peer)); /* a task of the pool unmaps it */
    int here;
    if (dev->caps & SEGUE_DEVICE_CMA)
        assert_status(segue_device_export(dev, &here, sizeof here, &handle),
                      SEGUE_E_UNSUPPORTED);
}

/* ---- mappings are filled and ended by the pool ---- */

/* How many of the pages at `at` have an entry in this process's page tables. */
static size_t pages_present(const char *at, size_t pages)
{
    size_t present = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < pages; i++) {
        uint64_t entry;
        off_t place = (off_t)(((uintptr_t)at / 4096 + i) * sizeof entry);
        assert_int_equal(pread(fd, &entry, sizeof entry, place), sizeof entry);
        present += entry >> 63;
    }
    close(fd);
    return present;
}

#define PAGES 1280

/* An import and its end take no time of the caller, however busy the pool is: the agent's thread is such a caller. */
static void mappings_wait_for_nobody(void **state)
{
    struct opened opened = device_open("host");
    struct segue_device *dev = opened.dev;
    struct segue_handle handle;
    struct pool_hold hold = {0};
    char *addr, *peer, *other;
    assert_ok(segue_alloc(dev, PAGES * 4096, (void **)&addr));
    assert_ok(segue_device_export(dev, addr, PAGES * 4096, &handle));
    memset(addr, 5, PAGES * 4096);

    pool_hold(&hold, opened.pool);
    assert_ok(segue_device_import(dev, &handle, PAGES * 4096, (void **)&peer));
    assert_ok(segue_device_import(dev, &handle, PAGES * 4096, (void **)&other));
    assert_int_equal(pages_present(peer, PAGES), 0);
    assert_int_equal(peer[PAGES * 4096 - 1], 5); /* it can be read already */
    segue_device_drop(dev, other, PAGES * 4096); /* before it was ever filled */
    pool_let_go(&hold);
    assert_soon(pages_present(peer, PAGES) == PAGES);
    assert_soon(!can_touch(other));

    pool_hold(&hold, opened.pool);
    segue_device_drop(dev, peer, PAGES * 4096);
    assert_true(can_touch(peer));
    pool_let_go(&hold);
    assert_soon(!can_touch(peer));

    /* A device that closes waits for what the pool still does with its mappings. */
    for (int i = 0; i < 20; i++) {
        assert_ok(segue_device_import(dev, &handle, PAGES * 4096, (void **)&peer));
        if (i % 2)
            segue_device_drop(dev, peer, PAGES * 4096);
    }
    segue_handle_close(&handle);
    segue_free(dev, addr);
    device_close(&opened);
    assert_false(can_touch(peer));
}

static void kinds_stay_apart(void **state)
{
    struct opened *all = *state;
    struct segue_handle handle;
    void *addr, *peer;
    assert_ok(segue_alloc(all[1].dev, 4096, &addr));
    assert_ok(segue_device_export(all[1].dev, addr, 4096, &handle));
    assert_status(segue_device_import(all[2].dev, &handle, 4096, &peer),
                  SEGUE_E_MISMATCH);
    assert_non_null(strstr(segue_error_detail(), "sim:cuda"));
    assert_non_null(strstr(segue_error_detail(), "sim:xpu"));
    assert_status(segue_device_import(all[0].dev, &handle, 4096, &peer),
                  SEGUE_E_MISMATCH);
    assert_status(segue_device_import(all[3].dev, &handle, 4096, &peer),
                  SEGUE_E_UNSUPPORTED);
    segue_handle_close(&handle);
    segue_free(all[1].dev, addr);
}

static int memfd(size_t size, int seals)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void refuse_fd(struct segue_device *dev, const struct segue_handle *good, int fd,
                      enum segue_status want, const char *why)
{
    struct segue_handle handle = *good;
    handle.fds[0] = fd;
    void *peer;
    assert_status(segue_device_import(dev, &handle, 8192, &peer), want);
    assert_non_null(strstr(segue_error_detail(), why));
    if (fd >= 0)
        close(fd);
}

static void put_u64(struct segue_handle *handle, size_t at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        handle->blob[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

static void hostile_handles_are_refused(void **state)
{
    struct segue_device *dev = ((struct opened *)*state)[0].dev;
    struct segue_handle good, bad;
    void *addr, *peer;
    assert_ok(segue_alloc(dev, 8192, &addr));
    assert_ok(segue_device_export(dev, addr, 8192, &good));
    refuse_fd(dev, &good, memfd(8192, F_SEAL_GROW), SEGUE_E_REFUSED, "F_SEAL_SHRINK");
    refuse_fd(dev, &good, memfd(8191, F_SEAL_SHRINK), SEGUE_E_RANGE, "8191");
    refuse_fd(dev, &good, memfd(0, F_SEAL_SHRINK), SEGUE_E_RANGE, "0 bytes");
    refuse_fd(dev, &good, open("/dev/null", O_RDONLY), SEGUE_E_REFUSED, "memfd");
    refuse_fd(dev, &good, -1, SEGUE_E_REFUSED, "descriptor");
    bad = good;
    for (bad.len = 0; bad.len < good.len; bad.len++)
        assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_INVALID);
    bad.len = good.len + 1;
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_INVALID);
    bad.len = UINT32_MAX;
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_INVALID);
    bad = good;
    bad.n_fds = 2;
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_INVALID);
    bad.n_fds = UINT32_MAX;
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_INVALID);
    assert_status(segue_device_import(dev, &good, 4096, &peer), SEGUE_E_MISMATCH);
    bad = good;
    put_u64(&bad, 24, UINT64_MAX - 100);
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_RANGE);
    put_u64(&bad, 24, 1);
    assert_status(segue_device_import(dev, &bad, 8192, &peer), SEGUE_E_RANGE);
    put_u64(&bad, 32, 0);
    assert_status(segue_device_import(dev, &bad, 0, &peer), SEGUE_E_RANGE);
    memset(bad.blob, '\n', 16);
    assert_status(segue_device_import(dev, &bad, 0, &peer), SEGUE_E_MISMATCH);
    assert_null(strchr(segue_error_detail(), '\n'));
    segue_handle_close(&good);
    segue_free(dev, addr);
}

static void syncs_are_checked(struct segue_device *dev)
{
    struct ending ending = ENDING_INIT;
    struct segue_wait wait = {.done = wait_ended, .user = &ending};
    struct segue_sync sync = {.kind = SEGUE_SYNC_NONE};
    assert_status(segue_device_sync(dev, &sync, &wait), SEGUE_E_INVALID);
    sync = (struct segue_sync){SEGUE_SYNC_EVENT, NULL, &ending};
    assert_status(segue_device_sync(dev, &sync, &wait), SEGUE_E_INVALID);
    sync.device = dev;
    sync.handle = NULL;
    assert_true(segue_device_sync(dev, &sync, &wait) < 0);
    assert_int_equal(ending_times(&ending), 0);
    assert_ok(segue_device_flush(dev, NULL, 0));
    assert_ok(segue_device_pin(dev, &ending, sizeof ending, true));
}

static void every(void **state, void (*check)(struct segue_device *dev))
{
    struct opened *all = *state;
    for (size_t i = 0; i < NAMES; i++)
        check(all[i].dev);
}

static void memory_is_what_it_says(void **state)
{
    every(state, memory);
}

static void bytes_arrive(void **state)
{
    every(state, copies);
}

static void strides_are_kept_or_refused(void **state)
{
    every(state, relayout);
}

static void copies_can_be_cancelled(void **state)
{
    every(state, cancelled);
}

static void memory_is_shared_read_only(void **state)
{
    every(state, shared);
}

static void nothing_to_wait_for_is_said(void **state)
{
    every(state, syncs_are_checked);
}

static void unknown_names_name_the_known(void **state)
{
    struct segue_device *dev;
    struct segue_device_args args = {.name = "cpu",
                                     .pool = ((struct opened *)*state)->pool};
    assert_ok(segue_device_open(&args, &dev));
    assert_string_equal(segue_device_name(dev), "host");
    segue_device_close(dev);
    static const char *const bad[] = {"hostess", "sim:mars", "sim", ""};
    for (int i = 0; i < 4; i++) {
        args.name = bad[i];
        assert_status(segue_device_open(&args, &dev), SEGUE_E_NOT_FOUND);
        assert_non_null(strstr(segue_error_detail(), "sim:gaudi"));
    }
    args.name = "sim:cuda,speed=3";
    assert_true(segue_device_open(&args, &dev) < 0);
    args.name = "sim:cuda,gbps";
    assert_status(segue_device_open(&args, &dev), SEGUE_E_INVALID);
    args.name = "sim:cuda,gbps=10,latency_us=20";
    assert_ok(segue_device_open(&args, &dev));
    assert_string_equal(segue_device_name(dev), "sim:cuda");
    segue_device_close(dev);
}

static int count_cells(void **state)
{
    printf("cells: %zu\n", NAMES * 6);
    return open_each(state);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_is_what_it_says),
    cmocka_unit_test(bytes_arrive),
    cmocka_unit_test(strides_are_kept_or_refused),
    cmocka_unit_test(copies_can_be_cancelled),
    cmocka_unit_test(memory_is_shared_read_only),
    cmocka_unit_test(mappings_wait_for_nobody),
    cmocka_unit_test(kinds_stay_apart),
    cmocka_unit_test(hostile_handles_are_refused),
    cmocka_unit_test(nothing_to_wait_for_is_said),
    cmocka_unit_test(unknown_names_name_the_known),
};
TEST_MAIN_AROUND(tests, count_cells, close_each)
