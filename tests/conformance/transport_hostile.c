/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that break the rules: frames that no sender writes, streams that stop in the
 * middle, handles that claim what is not there. Nothing crashes, hangs or lands where it
 * should not.
 */
#include "conformance/pair.h"

#include "base/clock.h"
#include "test.h"
#include "transport/tcp_frame.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN    (4 << 20)
#define MINUTE (60 * SEGUE_NS_PER_S)
#define MARK   0x33

enum { SHM, IPC, CMA, TCP };

static struct plan plan;

static struct end open_end(size_t row, int stream)
{
    struct end end = {0};
    char why[512] = "";
    if (!end_open(&end, row, "host", LEN, 2, why, sizeof why))
        fail_msg("%s", why);
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct segue_connect_args args = {getpid(), pidfd, {.fd = stream}};
    assert_ok(segue_connection_open(end.transport, &args, &end.conn));
    close(pidfd);
    for (size_t i = 0; i < PAIR_REGIONS; i++)
        memset(end.memory[i], MARK, LEN);
    return end;
}

/* ---- tcp ---- */

struct stream {
    struct end end;
    int raw; /* the hostile peer */
    struct probe recv[3];
};

/* RECVs of tags 1 (64 KiB), 2 and 3 (1 MiB each, another place) are open. */
static void stream_open(struct stream *s)
{
    int fds[2];
    tcp_pair(fds);
    s->raw = fds[1];
    s->end = open_end(TCP, fds[0]);
    for (uint64_t i = 0; i < 3; i++) {
        static struct plan plans[3];
        transfer_plain(&plans[i], i == 0 ? 1 << 16 : 1 << 20);
        plans[i].moves[0].dst_offset = i << 20;
        probe_init(&s->recv[i], &s->end, SEGUE_OP_RECV, &plans[i].t, MINUTE);
        s->recv[i].op.tag = i + 1;
        assert_ok(segue_op_post(s->end.conn, &s->recv[i].op));
    }
}

static void stream_close(struct stream *s)
{
    close(s->raw);
    end_close(&s->end);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(s->recv[i].dones, 1);
}

static void put(struct stream *s, const void *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(s->raw, (const char *)data + at, n - at,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            at += (size_t)sent;
        else
            segue_loop_turn(s->end.loop, SEGUE_NS_PER_MS);
    }
}

static void put_frame(struct stream *s, uint32_t flags, uint64_t tag, uint64_t length)
{
    uint8_t header[SEGUE_TCP_HEADER];
    struct segue_tcp_frame frame = {flags, tag, length};
    segue_tcp_frame_write(&frame, header);
    put(s, header, sizeof header);
}

static void put_body(struct stream *s, uint8_t byte, uint64_t length)
{
    static uint8_t body[1 << 20];
    memset(body, byte, length);
    put(s, body, length);
}

static void expect(struct stream *s, size_t i, enum segue_status want)
{
    enum segue_status got = probe_wait(&s->recv[i], &s->end);
    if (got != want)
        fail_msg("tag %zu: got %s, want %s: %s", i + 1, segue_status_name(got),
                 segue_status_name(want), s->recv[i].detail);
}

static void expect_bytes(struct stream *s, uint64_t from, uint64_t to, uint8_t byte)
{
    const uint8_t *at = (uint8_t *)s->end.memory[0] + from;
    if (at[0] != byte || memcmp(at, at + 1, to - from - 1) != 0)
        fail_msg("bytes %lu to %lu are not all %02x", (unsigned long)from,
                 (unsigned long)to, byte);
}

/* The stream is of use still: tag 2 arrives. */
static void expect_alive(struct stream *s)
{
    put_frame(s, 0, 2, 1 << 20);
    put_body(s, 0x22, 1 << 20);
    put_frame(s, SEGUE_TCP_END, 2, 0);
    expect(s, 1, SEGUE_OK);
    expect_bytes(s, 1 << 20, 2 << 20, 0x22);
}

/* A header no sender writes ends the stream and all that was open. */
static void check_header(uint32_t magic, uint32_t flags, uint64_t length)
{
    struct stream s;
    struct segue_tcp_frame frame = {flags, 1, length};
    uint8_t header[SEGUE_TCP_HEADER];
    stream_open(&s);
    segue_tcp_frame_write(&frame, header);
    if (magic)
        memcpy(header, &magic, sizeof magic);
    put(&s, header, sizeof header);
    for (size_t i = 0; i < 3; i++)
        expect(&s, i, SEGUE_E_LOST);
    expect_bytes(&s, 0, LEN, MARK);
    stream_close(&s);
}

static void test_tcp_headers(void **state)
{
    check_header(0x0a0d0a0d, 0, 16);
    check_header(0, 0, 0);
    check_header(0, 0, SEGUE_TCP_BODY_MAX + 1);
    check_header(0, 0, UINT64_MAX);
    check_header(0, SEGUE_TCP_END, 1);
    check_header(0, SEGUE_TCP_ABORT, 1);
    check_header(0, SEGUE_TCP_END | SEGUE_TCP_ABORT, 0);
    check_header(0, 0x80000000, 16);
}

static void test_tcp_unknown_tags(void **state)
{
    struct stream s;
    stream_open(&s);
    for (uint64_t tag = 100; tag < 108; tag++) {
        put_frame(&s, 0, tag, 1 << 20);
        put_body(&s, 0x99, 1 << 20);
        put_frame(&s, tag % 2 ? SEGUE_TCP_END : SEGUE_TCP_ABORT, tag, 0);
    }
    expect_alive(&s);
    put_frame(&s, 0, 2, 4096); /* a tag that was open once */
    put_body(&s, 0x99, 4096);
    put_frame(&s, SEGUE_TCP_ABORT, 3, 0);
    expect(&s, 2, SEGUE_E_CANCELLED);
    expect_bytes(&s, 0, 1 << 20, MARK);
    expect_bytes(&s, 1 << 20, 2 << 20, 0x22);
    stream_close(&s);
}

static void test_tcp_too_few_bytes(void **state)
{
    struct stream s;
    stream_open(&s);
    put_frame(&s, 0, 1, 1000);
    put_body(&s, 0x11, 1000);
    put_frame(&s, SEGUE_TCP_END, 1, 0);
    expect(&s, 0, SEGUE_E_PROTOCOL);
    expect(&s, 1, SEGUE_E_LOST);
    expect(&s, 2, SEGUE_E_LOST);
    expect_bytes(&s, 1000, LEN, MARK);
    stream_close(&s);
}

static void test_tcp_too_many_bytes(void **state)
{
    struct stream s;
    stream_open(&s);
    put_frame(&s, 0, 1, 65000);
    put_body(&s, 0x11, 65000);
    put_frame(&s, 0, 1, 65536 - 65000 + 1);
    expect(&s, 0, SEGUE_E_PROTOCOL);
    expect(&s, 1, SEGUE_E_LOST);
    expect_bytes(&s, 0, 65000, 0x11);
    expect_bytes(&s, 65000, LEN, MARK);
    stream_close(&s);
}

/* Frames of several tags in turn, byte by byte at first: slow and odd, but within the
 * rules. */
static void test_tcp_interleaved(void **state)
{
    struct stream s;
    uint8_t header[SEGUE_TCP_HEADER];
    struct segue_tcp_frame frame = {0, 1, 100};
    stream_open(&s);
    segue_tcp_frame_write(&frame, header);
    for (size_t i = 0; i < sizeof header; i++) {
        put(&s, header + i, 1);
        segue_loop_turn(s.end.loop, SEGUE_NS_PER_MS);
    }
    put_body(&s, 0x11, 100);
    expect_alive(&s);
    put_frame(&s, 0, 1, 65536 - 100);
    put_body(&s, 0x11, 65536 - 100);
    put_frame(&s, SEGUE_TCP_END, 1, 0);
    expect(&s, 0, SEGUE_OK);
    expect_bytes(&s, 0, 1 << 16, 0x11);
    stream_close(&s);
}

/* Ends inside a header, inside a body, and half-open: all the same. */
static void check_end(size_t header_bytes, uint64_t body_bytes, bool half)
{
    struct stream s;
    uint8_t header[SEGUE_TCP_HEADER];
    struct segue_tcp_frame frame = {0, 1, 1 << 16};
    stream_open(&s);
    segue_tcp_frame_write(&frame, header);
    put(&s, header, header_bytes);
    put_body(&s, 0x11, body_bytes);
    shutdown(s.raw, half ? SHUT_WR : SHUT_RDWR);
    for (size_t i = 0; i < 3; i++)
        expect(&s, i, SEGUE_E_LOST);
    expect_bytes(&s, body_bytes, LEN, MARK);
    stream_close(&s);
}

static void test_tcp_ends(void **state)
{
    check_end(0, 0, true);
    check_end(7, 0, true);
    check_end(SEGUE_TCP_HEADER, 0, false);
    check_end(SEGUE_TCP_HEADER, 5000, true);
    check_end(SEGUE_TCP_HEADER, 5000, false);
}

/* A peer that never reads: the deadline ends the SEND, closing the connection the
 * rest. */
static void test_tcp_peer_that_never_reads(void **state)
{
    struct stream s;
    struct probe sends[8];
    stream_open(&s);
    transfer_plain(&plan, LEN);
    for (uint64_t i = 0; i < 8; i++) {
        probe_init(&sends[i], &s.end, SEGUE_OP_SEND, &plan.t,
                   i == 7 ? 20 * SEGUE_NS_PER_MS : MINUTE);
        sends[i].op.tag = i + 1;
        assert_ok(segue_op_post(s.end.conn, &sends[i].op));
    }
    assert_int_equal(probe_wait(&sends[7], &s.end), SEGUE_E_TIMEOUT);
    stream_close(&s);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(sends[i].dones, 1);
        assert_true(sends[i].status == SEGUE_OK || sends[i].status < 0);
    }
}

/* ---- handles ---- */

static void refuse_import(struct end *end, const struct segue_handle *handle,
                          uint64_t len)
{
    struct segue_remote *remote = NULL;
    enum segue_status status = segue_remote_import(end->conn, end->device, handle, len,
                                                   &remote);
    assert_true(status < 0);
    assert_true(segue_error_detail()[0]);
    assert_null(remote);
}

static struct segue_handle export(struct end *end)
{
    struct segue_handle handle = {0};
    assert_ok(segue_registration_export(end->reg[0], &handle));
    return handle;
}

/* Every cut and a flip of every byte: refused, or what it was (a length may be less). */
static void check_blobs(size_t row)
{
    struct end end = open_end(row, -1);
    struct segue_handle good = export(&end), bad;
    for (uint32_t len = 0; len < good.len; len++) {
        bad = good;
        bad.len = len;
        refuse_import(&end, &bad, LEN);
    }
    bad = good;
    bad.len = SEGUE_BLOB_MAX + 1;
    refuse_import(&end, &bad, LEN);
    bad.len = good.len + 1;
    refuse_import(&end, &bad, LEN);
    refuse_import(&end, &good, 0);
    refuse_import(&end, &good, (uint64_t)LEN * 4);
    refuse_import(&end, &good, UINT64_MAX);
    for (uint32_t i = 0; i < good.len * 8; i++) {
        struct segue_remote *remote;
        bad = good;
        bad.blob[i / 8] ^= (uint8_t)(1 << i % 8);
        if (segue_remote_import(end.conn, end.device, &bad, LEN, &remote) >= 0)
            segue_remote_drop(remote);
    }
    segue_handle_close(&good);
    end_close(&end);
}

static void test_blobs(void **state)
{
    check_blobs(SHM);
    check_blobs(CMA);
}

/* Rule R19: memory that its owner can shrink is not mapped. */
static void test_shm_fds(void **state)
{
    struct end end = open_end(SHM, -1);
    struct segue_handle good = export(&end), bad = good;
    bad.n_fds = 0;
    refuse_import(&end, &bad, LEN);
    bad.n_fds = 1;
    bad.fds[0] = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(bad.fds[0], LEN), 0);
    refuse_import(&end, &bad, LEN);
    assert_int_equal(ftruncate(bad.fds[0], LEN / 2), 0);
    assert_int_equal(fcntl(bad.fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    refuse_import(&end, &bad, LEN);
    close(bad.fds[0]);
    bad.fds[0] = open("/dev/zero", O_RDWR | O_CLOEXEC);
    refuse_import(&end, &bad, LEN);
    close(bad.fds[0]);
    segue_handle_close(&good);
    end_close(&end);
}

/* A handle that claims more than is mapped: the read ends, and this process lives. */
static void test_cma_claims_too_much(void **state)
{
    struct end end = open_end(CMA, -1);
    struct segue_handle handle = export(&end);
    /* magic u32, address u64, length u64: one page can be read, the rest cannot (and stays
     * reserved, so that no other allocation comes to lie there). */
    char *page = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t address = (uintptr_t)page;
    assert_int_equal(mprotect(page + 4096, (1 << 16) - 4096, PROT_NONE), 0);
    memcpy(handle.blob + 4, &address, sizeof address);
    assert_ok(segue_remote_import(end.conn, end.device, &handle, LEN, &end.remote[0]));
    struct probe probe;
    transfer_plain(&plan, 1 << 16);
    probe_init(&probe, &end, SEGUE_OP_READ, &plan.t, MINUTE);
    probe.op.n_remote = 1;
    assert_ok(segue_op_post(end.conn, &probe.op));
    assert_int_equal(probe_wait(&probe, &end), SEGUE_E_STALE);
    munmap(page, 1 << 16);
    end_close(&end);
}

static void test_cma_wrong_process(void **state)
{
    struct end end = {0};
    char why[512];
    assert_true(end_open(&end, CMA, "host", LEN, 2, why, sizeof why));
    struct segue_handle handle = export(&end);
    struct segue_connection *conn;
    struct segue_connect_args args = {getpid(), -1, {.fd = -1}};
    assert_status(segue_connection_open(end.transport, &args, &conn),
                  SEGUE_E_UNSUPPORTED);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    args.pid = child;
    args.pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    assert_ok(segue_connection_open(end.transport, &args, &end.conn));
    close(args.pidfd);
    kill(child, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED), 0);
    struct segue_remote *remote;
    assert_status(segue_remote_import(end.conn, end.device, &handle, LEN, &remote),
                  SEGUE_E_LOST);
    end_close(&end);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tcp_headers),
    cmocka_unit_test(test_tcp_unknown_tags),
    cmocka_unit_test(test_tcp_too_few_bytes),
    cmocka_unit_test(test_tcp_too_many_bytes),
    cmocka_unit_test(test_tcp_interleaved),
    cmocka_unit_test(test_tcp_ends),
    cmocka_unit_test(test_tcp_peer_that_never_reads),
    cmocka_unit_test(test_blobs),
    cmocka_unit_test(test_shm_fds),
    cmocka_unit_test(test_cma_claims_too_much),
    cmocka_unit_test(test_cma_wrong_process),
};
TEST_MAIN(tests)
