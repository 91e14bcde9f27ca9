/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of data frames: its bytes as documented, and what it refuses. */
#include "test.h"
#include "transport/tcp_frame.h"

#include <string.h>

static const uint8_t golden[SEGUE_TCP_HEADER] = {
    's',  'g',  't',  'f',  0,    0,    0, 0, 0xef, 0xcd,
    0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0x10,
};

static void test_bytes(void **state)
{
    struct segue_tcp_frame frame = {0, 0x0123456789abcdef, SEGUE_TCP_BODY_MAX};
    uint8_t out[SEGUE_TCP_HEADER];
    segue_tcp_frame_write(&frame, out);
    assert_memory_equal(out, golden, sizeof out);
    memset(&frame, 0xff, sizeof frame);
    assert_ok(segue_tcp_frame_read(golden, &frame));
    assert_int_equal(frame.flags, 0);
    assert_int_equal(frame.tag, 0x0123456789abcdef);
    assert_int_equal(frame.length, SEGUE_TCP_BODY_MAX);
}

static enum segue_status read_back(uint32_t flags, uint64_t length)
{
    struct segue_tcp_frame frame = {flags, 7, length};
    uint8_t out[SEGUE_TCP_HEADER];
    segue_tcp_frame_write(&frame, out);
    return segue_tcp_frame_read(out, &frame);
}

static void test_rules(void **state)
{
    assert_ok(read_back(0, 1));
    assert_ok(read_back(SEGUE_TCP_END, 0));
    assert_ok(read_back(SEGUE_TCP_ABORT, 0));
    assert_status(read_back(0, 0), SEGUE_E_PROTOCOL);
    assert_status(read_back(0, SEGUE_TCP_BODY_MAX + 1), SEGUE_E_PROTOCOL);
    assert_status(read_back(0, UINT64_MAX), SEGUE_E_PROTOCOL);
    assert_status(read_back(SEGUE_TCP_END, 1), SEGUE_E_PROTOCOL);
    assert_status(read_back(SEGUE_TCP_ABORT, 1), SEGUE_E_PROTOCOL);
    assert_status(read_back(SEGUE_TCP_END | SEGUE_TCP_ABORT, 0), SEGUE_E_PROTOCOL);
    assert_status(read_back(4, 0), SEGUE_E_PROTOCOL);
}

/* Each byte of the magic counts. */
static void test_magic(void **state)
{
    for (size_t i = 0; i < 4; i++) {
        uint8_t bad[SEGUE_TCP_HEADER];
        struct segue_tcp_frame frame;
        memcpy(bad, golden, sizeof bad);
        bad[i] ^= 0x20;
        assert_status(segue_tcp_frame_read(bad, &frame), SEGUE_E_PROTOCOL);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_bytes),
    cmocka_unit_test(test_rules),
    cmocka_unit_test(test_magic),
};
TEST_MAIN(tests)
