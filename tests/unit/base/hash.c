/* SPDX-License-Identifier: Apache-2.0 */
/* The hash: known values, pieces against one piece. */
#include "test.h"
#include "base/hash.h"

static void values_are_xxh3(void **state)
{
    /* Published by xxHash: XXH3-64 of the empty input, seed 0. */
    assert_true(segue_hash64(NULL, 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(segue_hash64("a", 1, 0) != segue_hash64("a", 1, 1));
}

static void pieces_hash_like_one(void **state)
{
    static uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t len = 0; len <= sizeof data; len += 1 + len / 3) {
        for (size_t piece = 1; piece < 2000; piece = piece * 3 + 1) {
            struct segue_hash64 hash;
            segue_hash64_begin(&hash, 42);
            for (size_t at = 0; at < len; at += piece)
                segue_hash64_add(&hash, data + at, piece < len - at ? piece : len - at);
            assert_true(segue_hash64_end(&hash) == segue_hash64(data, len, 42));
            assert_true(segue_hash64_end(&hash) == segue_hash64(data, len, 42));
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(values_are_xxh3),
    cmocka_unit_test(pieces_hash_like_one),
};
TEST_MAIN(tests)
