/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes come whole. */
#include "test.h"
#include "base/random.h"

static void random_fills_all_of_it(void **state)
{
    /* More than a signal lets one call of getrandom give. */
    static uint8_t data[100000];
    size_t tail = 0;
    segue_random_fill(data, sizeof data);
    for (size_t i = sizeof data - 64; i < sizeof data; i++)
        tail += data[i] != 0;
    assert_true(tail > 32);
    assert_true(segue_random_u64() != segue_random_u64());
    segue_random_fill(data, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_fills_all_of_it),
};
TEST_MAIN(tests)
