/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent among peers that break every rule: it never crashes, hangs or leaks a
 * descriptor, says to each why it is cut off, and goes on serving those that behave.
 */
#include "raw_peer.h"
#include "agent/stranger.h"
#include "base/stream.h"

#include <netinet/in.h>
#include <sys/mman.h>

static void frames_that_are_none(void **state)
{
    static uint8_t big[SEGUE_FRAME_MAX];
    uint8_t hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    size_t len = hello_frame(hello, 1);
    const struct {
        const char *bytes;
        size_t len;
        bool greeted;
        const char *want;
    } rows[] = {
        {"\x01\x00\x10\x00\x00\x01\x00\x00", 8, false, "1048577 bytes"},
        {"\x01\x00\x10\x00\x00\x01\x00\x00", 8, true, "1048577 bytes"},
        {"\x00\x00\x00\x00\x00\x06\x00\x00", 8, false, "no hello"},
        {"\x00\x00\x00\x00\x02\x01\x00\x00", 8, false, "no hello"},
        {"\x00\x00\x00\x00\x00\x01\x00\x00", 8, false, "no hello"},
        {"\x04\x00\x00\x00\x00\x01\x00\x00SGUE", 12, false, "malformed hello"},
        {"\x00\x00\x00\x00\x00\x01\x00\x00", 8, true, "second hello"},
        {"\x00\x00\x00\x00\x00\x06\x01\x00", 8, true, "brings 1 descriptors"},
        {"\x00\x00\x00\x00\x00\x06\xff\xff", 8, true, "65535 descriptors"},
        {"\x00\x00\x00\x00\x00\x03\x00\x00", 8, true, "about a data stream"},
        {"\x05\x00\x00\x00\x00\x03\x00\x00\x03\x00xyz", 13, true, "no transport"},
        {"\x05\x00\x00\x00\x00\x05\x00\x00\x03\x00tcp", 13, true, "who dialled"},
        {"\x19\x00\x00\x00\x00\x04\x00\x00\x03\x00tcp\x01\x01"
         "0123456789abcdef\x00\x00",
         33, true, "nobody asked"},
        {"\x02\x00\x00\x00\x00\x02\x00\x00zz", 10, true, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = connect_raw();
        if (rows[i].greeted)
            send_all(fd, hello, len);
        send_all(fd, rows[i].bytes, rows[i].len);
        expect_end(fd, rows[i].want);
    }
    /* What is unknown is skipped (rule R21): the link stays until we go. */
    int fd = connect_raw();
    send_all(fd, hello, len);
    send_all(fd, "\x03\x00\x00\x00\x00\xc8\x00\x00new", 11);
    send_all(fd, "\x03\x00\x00\x00\xc8\x01\x00\x00new", 11);
    send_all(fd, "\x00\x00\x10\x00\xc8\x01\x00\x00", 8);
    send_all(fd, big, sizeof big);
    send_all(fd, "\x00\x00\x00\x00\x00\x06\x00\x00", 8);
    uint8_t answer[512];
    size_t got = 0;
    while (got < len || memcmp(answer + got - 8, "\0\0\0\0\0\x07\0\0", 8) != 0) {
        ssize_t n = recv(fd, answer + got, sizeof answer - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    close(fd);
}

static void other_versions(void **state)
{
    uint8_t hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    for (uint16_t version = 0; version <= 9; version++) {
        int fd = connect_raw();
        size_t len = hello_frame(hello, version);
        if (version == SEGUE_WIRE_VERSION) {
            close(fd);
            continue;
        }
        send_all(fd, hello, len);
        expect_end(fd, "wire versions");
    }
}

static void cut_hellos(void **state)
{
    uint8_t hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    size_t len = hello_frame(hello, 1);
    for (size_t cut = 0; cut < len; cut++) {
        int fd = connect_raw();
        send_all(fd, hello, cut);
        close(fd);
    }
    /* Who stays silent in the middle of it is given up. */
    int fd = connect_raw();
    send_all(fd, hello, len / 2);
    expect_end(fd, "did not say hello");
}

static void too_many_descriptors(void **state)
{
    uint8_t hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    size_t len = hello_frame(hello, 1), sent;
    int fds[SEGUE_STREAM_FDS], file = memfd_create("fd", MFD_CLOEXEC);
    for (int i = 0; i < SEGUE_STREAM_FDS; i++)
        fds[i] = file;
    for (int round = 0; round < 4; round++) {
        int fd = connect_raw();
        struct iovec iov = {hello, round ? len : 1};
        assert_ok(segue_stream_send(fd, &iov, 1, fds, SEGUE_STREAM_FDS, &sent));
        /* Hoarding: a byte at a time, each with all it can carry. */
        for (int i = 0; i < 4; i++) {
            iov = (struct iovec){"x", 1};
            if (segue_stream_send(fd, &iov, 1, fds, SEGUE_STREAM_FDS, &sent) < 0)
                break;
        }
        char why[200];
        read_end(fd, why);
        close(fd);
    }
    close(file);
}

static void random_bytes(void **state)
{
    uint8_t bytes[4096], hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    for (int round = 0; round < 300; round++) {
        int fd = connect_raw();
        segue_random_fill(bytes, sizeof bytes);
        if (round % 3)
            send_all(fd, hello, hello_frame(hello, 1));
        /* Frames that are well formed and say anything, to every service. */
        for (size_t at = 0; round % 3 == 2 && at + 256 <= sizeof bytes; at += 256) {
            struct segue_frame_head head = {bytes[at] % 248, bytes[at + 1] % 5,
                                            bytes[at + 2] % 9, 0};
            segue_frame_head_write(bytes + at, &head);
            send_all(fd, bytes + at, SEGUE_FRAME_HEAD + head.len);
        }
        send_all(fd, bytes, sizeof bytes);
        close(fd);
    }
}

static void floods_of_connections(void **state)
{
    enum { MANY = 200 };
    int fds[MANY];
    struct segue_link *link;
    for (int i = 0; i < MANY; i++)
        fds[i] = connect_raw();
    /* The queue is full of strangers; who behaves gets in all the same. */
    assert_ok(get_link(friend_, victim->address, NULL, &link));
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
}

static int dial_data_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(segue_control_port(victim)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void data_streams_without_a_secret(void **state)
{
    uint8_t preamble[SEGUE_PREAMBLE_BYTES], secret[SEGUE_SECRET_BYTES] = {0};
    char byte;
    for (size_t cut = 0; cut <= sizeof preamble; cut++) {
        int fd = dial_data_port();
        segue_preamble_write(secret, preamble);
        if (cut == 3)
            segue_random_fill(preamble, sizeof preamble);
        send_all(fd, preamble, cut == 3 ? sizeof preamble : cut);
        if (cut % 2)
            shutdown(fd, SHUT_WR);
        /* Closed at once, or when the time for it is over. */
        struct pollfd p = {fd, POLLIN, 0};
        assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
    }
    int fds[2 * SEGUE_STRANGERS_MAX];
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        fds[i] = dial_data_port();
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        close(fds[i]);
}

static void a_secret_is_good_for_one_stream(void **state)
{
    struct segue_stream_message grant;
    uint8_t bytes[1024], preamble[SEGUE_PREAMBLE_BYTES];
    struct segue_frame_head head;
    size_t got = 0, at = 0;
    int fd = connect_raw();
    send_all(fd, bytes, hello_frame(bytes, 1));
    send_all(fd, "\x05\x00\x00\x00\x00\x03\x00\x00\x03\x00tcp", 13);
    send_all(fd, "\x05\x00\x00\x00\x00\x03\x00\x00\x03\x00tcp", 13);
    bool refused = false, granted = false;
    while (!refused || !granted) {
        ssize_t n = recv(fd, bytes + got, sizeof bytes - got, 0);
        assert_true(n > 0);
        got += (size_t)n;
        for (; got - at >= SEGUE_FRAME_HEAD; at += SEGUE_FRAME_HEAD + head.len) {
            assert_ok(segue_frame_head_read(bytes + at, &head));
            if (got - at < SEGUE_FRAME_HEAD + head.len)
                break;
            if (head.type != SEGUE_LINK_STREAM_GRANT)
                continue;
            struct segue_stream_message message;
            assert_ok(segue_stream_message_read(SEGUE_LINK_STREAM_GRANT,
                                                bytes + at + SEGUE_FRAME_HEAD, head.len,
                                                &message));
            if (message.port)
                grant = message;
            granted |= message.port != 0;
            refused |= message.port == 0;
        }
    }
    segue_preamble_write(grant.secret, preamble);
    int first = dial_data_port(), second = dial_data_port();
    char byte;
    send_all(first, preamble, sizeof preamble);
    struct pollfd p = {first, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 50), 0); /* it is a connection now */
    send_all(second, preamble, sizeof preamble);
    assert_true(recv(second, &byte, 1, 0) <= 0);
    close(fd);
    assert_true(recv(first, &byte, 1, 0) <= 0); /* it goes with its link */
    close(first);
    close(second);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(frames_that_are_none, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(other_versions, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(cut_hellos, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(too_many_descriptors, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(random_bytes, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(floods_of_connections, fixture_open, fixture_close),
    cmocka_unit_test_setup_teardown(data_streams_without_a_secret, fixture_open,
                                    fixture_close),
    cmocka_unit_test_setup_teardown(a_secret_is_good_for_one_stream, fixture_open,
                                    fixture_close),
};
TEST_MAIN_AROUND(tests, make_folder, drop_folder)
