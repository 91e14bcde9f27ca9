/* SPDX-License-Identifier: Apache-2.0 */
/* The wire writer and reader: golden bytes, every cut, sticky failure. */
#include "test.h"
#include "base/bytes.h"

#include <string.h>

static size_t write_all(uint8_t *out, size_t cap, bool *failed)
{
    struct segue_writer w = segue_writer_make(out, cap);
    size_t at = segue_writer_reserve(&w, 4);
    segue_writer_u8(&w, 0x01);
    segue_writer_u16(&w, 0x0203);
    segue_writer_u32(&w, 0x04050607);
    segue_writer_u64(&w, UINT64_C(0x08090a0b0c0d0e0f));
    segue_writer_str16(&w, "hi");
    segue_writer_bytes16(&w, NULL, 0);
    segue_writer_bytes(&w, "xyz", 3);
    segue_writer_patch_u32(&w, at, (uint32_t)w.len);
    *failed = w.failed;
    return w.len;
}

static const uint8_t golden[] = {28, 0,  0,  0, 1, 3, 2, 7,   6,   5, 4, 15,  14,  13,
                                 12, 11, 10, 9, 8, 2, 0, 'h', 'i', 0, 0, 'x', 'y', 'z'};

static void bytes_are_little_endian(void **state)
{
    uint8_t out[64];
    bool failed;
    assert_int_equal(write_all(out, sizeof out, &failed), sizeof golden);
    assert_false(failed);
    assert_memory_equal(out, golden, sizeof golden);
}

static void every_capacity_too_small_fails_and_stays_inside(void **state)
{
    for (size_t cap = 0; cap < sizeof golden; cap++) {
        uint8_t out[64];
        bool failed;
        memset(out, 0xee, sizeof out);
        assert_true(write_all(out, cap, &failed) <= cap);
        assert_true(failed);
        for (size_t i = cap; i < sizeof out; i++)
            assert_int_equal(out[i], 0xee);
    }
}

static bool read_all(const uint8_t *data, size_t len)
{
    struct segue_reader r = segue_reader_make(data, len);
    char text[3];
    uint8_t tail[3];
    uint32_t total = segue_reader_u32(&r);
    bool same = total == sizeof golden && segue_reader_u8(&r) == 1 &&
                segue_reader_u16(&r) == 0x0203 && segue_reader_u32(&r) == 0x04050607 &&
                segue_reader_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f);
    segue_reader_str16_copy(&r, text, sizeof text);
    struct segue_bytes none = segue_reader_bytes16(&r);
    segue_reader_copy(&r, tail, sizeof tail);
    return segue_reader_done(&r) && same && strcmp(text, "hi") == 0 && none.len == 0 &&
           memcmp(tail, "xyz", 3) == 0;
}

static void what_was_written_is_read_and_no_prefix_is(void **state)
{
    assert_true(read_all(golden, sizeof golden));
    for (size_t len = 0; len < sizeof golden; len++) {
        uint8_t *exact = test_malloc(len +
                                     1); /* one more byte would be a bug ASan sees */
        memcpy(exact, golden, len);
        assert_false(read_all(exact, len));
        test_free(exact);
    }
}

static void failure_is_sticky_and_yields_zeros(void **state)
{
    struct segue_reader r = segue_reader_make("\x05\x06", 2);
    assert_int_equal(segue_reader_u32(&r), 0);
    assert_int_equal(segue_reader_u8(&r), 0); /* a byte is there, but it is too late */
    assert_null(segue_reader_take(&r, 0));
    assert_int_equal(segue_reader_left(&r), 0);
    uint8_t room[4];
    struct segue_writer w = segue_writer_make(room, sizeof room);
    segue_writer_u64(&w, 1);
    segue_writer_u8(&w, 1);
    assert_true(w.failed);
    assert_int_equal(w.len, 0);
}

static void text_refuses_nul_and_what_is_too_long(void **state)
{
    char out[4] = "???";
    struct segue_reader r = segue_reader_make("\x03\x00a\0b", 5);
    assert_null(segue_reader_str16(&r).data);
    assert_true(r.failed);
    r = segue_reader_make("\x04\x00wxyz", 6);
    segue_reader_str16_copy(&r, out, sizeof out);
    assert_true(r.failed);
    assert_string_equal(out, "");
    static uint8_t big[70000];
    struct segue_writer w = segue_writer_make(big, sizeof big);
    segue_writer_bytes16(&w, big + 1, 65536);
    assert_true(w.failed);
}

static void sub_readers_end_where_they_say(void **state)
{
    struct segue_reader r = segue_reader_make("abcdef", 6);
    struct segue_reader sub = segue_reader_sub(&r, 4);
    assert_int_equal(segue_reader_left(&sub), 4);
    assert_int_equal(segue_reader_left(&r), 2);
    segue_reader_take(&sub, 5);
    assert_true(sub.failed);
    assert_false(r.failed);
    sub = segue_reader_sub(&r, SIZE_MAX);
    assert_true(sub.failed && r.failed);
}

static void patches_stay_inside_what_was_written(void **state)
{
    uint8_t room[8];
    struct segue_writer w = segue_writer_make(room, sizeof room);
    segue_writer_u32(&w, 0);
    segue_writer_patch_u32(&w, 1, 7);
    assert_true(w.failed);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytes_are_little_endian),
    cmocka_unit_test(every_capacity_too_small_fails_and_stays_inside),
    cmocka_unit_test(what_was_written_is_read_and_no_prefix_is),
    cmocka_unit_test(failure_is_sticky_and_yields_zeros),
    cmocka_unit_test(text_refuses_nul_and_what_is_too_long),
    cmocka_unit_test(sub_readers_end_where_they_say),
    cmocka_unit_test(patches_stay_inside_what_was_written),
};
TEST_MAIN(tests)
