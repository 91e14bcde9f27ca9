/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a socket pair: partial reads, descriptors, the bounded queue, and peers
 * that break the rules. */
#include "test.h"
#include "agent/link_io.h"
#include "base/random.h"
#include "base/stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
    struct segue_link_io io;
    int frames;
    uint64_t bytes, sum;
    struct segue_frame_head last;
    int kept[4], n_kept; /* descriptors taken out of frames */
    enum segue_status broken;
    char why[200];
};

struct pair {
    struct segue_loop *loop;
    struct end a, b;
    int raw; /* b's socket when the test plays b by hand */
};

static uint64_t sum_of(const uint8_t *data, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static enum segue_status on_frame(struct segue_link_io *io, struct segue_frame *frame)
{
    struct end *end = io->user;
    end->frames++;
    end->bytes += frame->len;
    end->sum = sum_of(frame->body, frame->len);
    end->last = (struct segue_frame_head){frame->len, frame->service, frame->type,
                                          (uint16_t)frame->n_fds};
    if (frame->n_fds && end->n_kept < 4) {
        end->kept[end->n_kept++] = frame->fds[0];
        frame->fds[0] = -1;
    }
    if (frame->type == 255)
        return segue_fail(SEGUE_E_PROTOCOL, "type 255 is not liked");
    return SEGUE_OK;
}

static void on_broken(struct segue_link_io *io, enum segue_status status)
{
    struct end *end = io->user;
    assert_int_equal(end->broken, SEGUE_OK);
    end->broken = status;
    snprintf(end->why, sizeof end->why, "%s", segue_error_detail());
    segue_link_io_end(io);
}

static void open_end(struct pair *p, struct end *end, int fd)
{
    end->io.loop = p->loop;
    end->io.frame = on_frame;
    end->io.broken = on_broken;
    end->io.user = end;
    assert_ok(segue_link_io_open(&end->io, &(struct segue_socket){.fd = fd}));
}

static int open_fds(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static struct pair *pair_open(bool raw)
{
    struct pair *p = calloc(1, sizeof *p);
    int fds[2];
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_ok(segue_loop_create(&p->loop));
    open_end(p, &p->a, fds[0]);
    p->raw = raw ? fds[1] : -1;
    if (!raw)
        open_end(p, &p->b, fds[1]);
    return p;
}

static void pair_close(struct pair *p)
{
    segue_link_io_close(&p->a.io);
    segue_link_io_close(&p->b.io);
    for (int i = 0; i < p->a.n_kept; i++)
        close(p->a.kept[i]);
    for (int i = 0; i < p->b.n_kept; i++)
        close(p->b.kept[i]);
    segue_fd_close(&p->raw);
    segue_loop_destroy(p->loop);
    free(p);
}

/* Turns until nothing happens any more. */
static void settle(struct pair *p)
{
    for (int quiet = 0; quiet < 3;)
        quiet = segue_loop_turn(p->loop, 1000000) ? 0 : quiet + 1;
}

static void send_frame(struct end *end, uint8_t type, const void *body, uint32_t len,
                       const int *fds, uint16_t n_fds)
{
    struct segue_frame_head head = {len, 1, type, n_fds};
    assert_ok(segue_link_io_send(&end->io, &head, body, fds));
}

static void frames_of_all_sizes_arrive(void **state)
{
    static const uint32_t sizes[] = {
        0, 1, 100, 32760, 32768, 65535, 65528, SEGUE_FRAME_MAX, 3, SEGUE_FRAME_MAX - 1};
    static uint8_t body[SEGUE_FRAME_MAX];
    int before = open_fds();
    struct pair *p = pair_open(false);
    segue_random_fill(body, sizeof body);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        send_frame(&p->a, (uint8_t)i, body, sizes[i], NULL, 0);
        settle(p);
        assert_int_equal(p->b.frames, i + 1);
        assert_int_equal(p->b.last.len, sizes[i]);
        assert_int_equal(p->b.last.type, i);
        assert_int_equal(p->b.sum, sum_of(body, sizes[i]));
    }
    /* Both ways at once, more than the sockets hold. */
    for (int i = 0; i < 20; i++) {
        send_frame(&p->a, 1, body, SEGUE_FRAME_MAX, NULL, 0);
        send_frame(&p->b, 2, body, 777777, NULL, 0);
    }
    settle(p);
    assert_int_equal(p->b.frames, sizeof sizes / sizeof *sizes + 20);
    assert_int_equal(p->a.frames, 20);
    assert_int_equal(p->a.io.queued + p->b.io.queued, 0);
    /* The room for a long frame is given back. */
    assert_true(p->b.io.in_cap <= 64 * 1024);
    pair_close(p);
    assert_int_equal(open_fds(), before);
}

static void one_byte_at_a_time(void **state)
{
    struct pair *p = pair_open(true);
    uint8_t bytes[SEGUE_FRAME_HEAD + 40];
    struct segue_frame_head head = {40, 2, 9, 0};
    segue_frame_head_write(bytes, &head);
    memset(bytes + SEGUE_FRAME_HEAD, 7, 40);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof bytes; i++) {
            assert_int_equal(p->a.frames, round);
            assert_int_equal(write(p->raw, bytes + i, 1), 1);
            segue_loop_turn(p->loop, 0);
        }
    assert_int_equal(p->a.frames, 2);
    assert_int_equal(p->a.last.service, 2);
    assert_int_equal(p->a.broken, SEGUE_OK);
    pair_close(p);
}

static void descriptors_come_with_their_frame(void **state)
{
    int before = open_fds(), fds[SEGUE_FRAME_FDS];
    struct pair *p = pair_open(false);
    static uint8_t body[300000];
    for (int i = 0; i < SEGUE_FRAME_FDS; i++)
        fds[i] = memfd_create("fd", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fds[0], 1111), 0);
    assert_int_equal(ftruncate(fds[1], 2222), 0);
    send_frame(&p->a, 1, body, 10, NULL, 0);
    send_frame(&p->a, 2, body, sizeof body, &fds[0], 1);
    send_frame(&p->a, 3, body, 10, NULL, 0);
    send_frame(&p->a, 4, body, 10, &fds[1], 1);
    send_frame(&p->a, 5, body, 0, fds, SEGUE_FRAME_FDS);
    for (int i = 0; i < SEGUE_FRAME_FDS; i++)
        close(fds[i]);
    settle(p);
    assert_int_equal(p->b.frames, 5);
    assert_int_equal(p->b.n_kept, 3);
    assert_int_equal(lseek(p->b.kept[0], 0, SEEK_END), 1111);
    assert_int_equal(lseek(p->b.kept[1], 0, SEEK_END), 2222);
    assert_int_equal(p->b.last.fds, SEGUE_FRAME_FDS);
    pair_close(p);
    assert_int_equal(open_fds(), before);
}

static void a_queue_that_nobody_reads_is_bounded(void **state)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    struct pair *p = pair_open(true);
    struct segue_frame_head head = {sizeof body, 1, 1, 0};
    enum segue_status status = SEGUE_OK;
    for (int i = 0; i < 80 && status == SEGUE_OK; i++) {
        status = segue_link_io_send(&p->a.io, &head, body, NULL);
        if (i % 4 == 0 && status == SEGUE_OK)
            segue_loop_turn(p->loop, 0);
    }
    assert_int_equal(status, SEGUE_E_LIMIT);
    assert_int_equal(p->a.broken, SEGUE_OK); /* never from inside a call */
    settle(p);
    assert_int_equal(p->a.broken, SEGUE_E_LIMIT);
    assert_non_null(strstr(p->a.why, "does not read"));
    pair_close(p);
}

static void small_frames_settle_on_one_block(void **state)
{
    struct pair *p = pair_open(false);
    char body[100] = {0};
    for (int i = 0; i < 1000; i++) {
        send_frame(&p->a, 1, body, sizeof body, NULL, 0);
        if (i % 10 == 9)
            segue_loop_turn(p->loop, 0);
    }
    settle(p);
    assert_int_equal(p->b.frames, 1000);
    assert_non_null(p->a.io.spare);
    pair_close(p);
}

/* What a peer must not send; whatever it is, the link breaks with a sentence and nothing
 * leaks. */
static void send_raw(int fd, const void *data, size_t len, int n_fds)
{
    int fds[SEGUE_FRAME_FDS] = {0};
    size_t sent;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    for (int i = 0; i < n_fds; i++)
        fds[i] = memfd_create("fd", MFD_CLOEXEC);
    assert_ok(segue_stream_send(fd, &iov, 1, fds, (size_t)n_fds, &sent));
    assert_int_equal(sent, len);
    for (int i = 0; i < n_fds; i++)
        close(fds[i]);
}

static void hostile_frames_break_the_link(void **state)
{
    const struct {
        const char *bytes;
        size_t len;
        int fds;
        const char *want;
    } rows[] = {
        {"\x01\x00\x10\x00\x00\x01\x00\x00", 8, 0, "1048577 bytes"},
        {"\xff\xff\xff\xff\x00\x01\x00\x00", 8, 0, "4294967295 bytes"},
        {"\x00\x00\x00\x00\x00\x01\xfe\x00", 8, 0, "254 descriptors"},
        {"\x00\x00\x00\x00\x00\x01\x02\x00", 8, 1, "brings 2 descriptors, 1 came"},
        {"\x00\x00\x00\x00\x00\x01\x00\x00", 8, 1, "no frame owns"},
        {"\x00\x00\x00\x00\x00\xff\x00\x00", 8, 0, "type 255 is not liked"},
        {"\x00\x00\x00\x00\x00\xff\x01\x00", 8, 1, "type 255 is not liked"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int before = open_fds();
        struct pair *p = pair_open(true);
        send_raw(p->raw, rows[i].bytes, rows[i].len, rows[i].fds);
        settle(p);
        assert_int_equal(p->a.broken, SEGUE_E_PROTOCOL);
        if (!strstr(p->a.why, rows[i].want))
            fail_msg("row %zu: '%s' does not say '%s'", i, p->a.why, rows[i].want);
        pair_close(p);
        assert_int_equal(open_fds(), before);
    }
}

static void descriptors_cannot_be_hoarded(void **state)
{
    int before = open_fds();
    struct pair *p = pair_open(true);
    /* A frame that never ends, each byte of it with as many descriptors as fit. */
    send_raw(p->raw, "\xff\x00\x00\x00\x00\x01\xfd\x00", 8, 200);
    settle(p);
    assert_int_equal(p->a.broken, SEGUE_OK);
    send_raw(p->raw, "x", 1, 200);
    settle(p);
    assert_int_equal(p->a.broken, SEGUE_E_PROTOCOL);
    pair_close(p);
    assert_int_equal(open_fds(), before);
}

static void the_end_is_told_once_and_after_the_last_frame(void **state)
{
    struct pair *p = pair_open(true);
    assert_int_equal(write(p->raw, "\0\0\0\0\1\1\0\0", 8), 8);
    segue_fd_close(&p->raw);
    settle(p);
    assert_int_equal(p->a.frames, 1);
    assert_int_equal(p->a.broken, SEGUE_E_LOST);
    struct segue_frame_head head = {0, 1, 1, 0};
    assert_status(segue_link_io_send(&p->a.io, &head, NULL, NULL), SEGUE_E_LOST);
    pair_close(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(frames_of_all_sizes_arrive),
    cmocka_unit_test(one_byte_at_a_time),
    cmocka_unit_test(descriptors_come_with_their_frame),
    cmocka_unit_test(a_queue_that_nobody_reads_is_bounded),
    cmocka_unit_test(small_frames_settle_on_one_block),
    cmocka_unit_test(hostile_frames_break_the_link),
    cmocka_unit_test(descriptors_cannot_be_hoarded),
    cmocka_unit_test(the_end_is_told_once_and_after_the_last_frame),
};
TEST_MAIN(tests)
