/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks come back, whatever happens to them; sealed ones are found until taken again. */
#include "test.h"
#include "blocks.h"

#include <stdlib.h>
#include <string.h>

static struct block_hash number(uint64_t n)
{
    return (struct block_hash){n * 0x9e3779b97f4a7c15u, n};
}

static void taken_and_dropped(void **state)
{
    struct blocks *b = blocks_create(4, 1);
    uint32_t ids[4], more;
    assert_true(blocks_take(b, 3, ids));
    assert_false(blocks_take(b, 2, ids + 2));
    assert_int_equal(blocks_free(b), 1);
    blocks_hold(b, ids[1]);
    for (int i = 0; i < 3; i++)
        blocks_drop(b, ids[i]);
    assert_int_equal(blocks_free(b), 3);
    blocks_drop(b, ids[1]);
    assert_int_equal(blocks_free(b), 4);
    assert_false(blocks_find(b, number(1), &more));
    blocks_destroy(b);
}

static void sealed_blocks_are_found_until_taken(void **state)
{
    struct blocks *b = blocks_create(3, 1);
    uint32_t ids[3], found;
    assert_true(blocks_take(b, 3, ids));
    blocks_seal(b, ids[0], number(10));
    blocks_seal(b, ids[1], number(11));
    blocks_seal(b, ids[2], number(10)); /* the first one stays the one */
    blocks_drop(b, ids[1]);
    blocks_drop(b, ids[0]);
    blocks_drop(b, ids[2]);
    assert_true(blocks_find(b, number(10), &found));
    assert_int_equal(found, ids[0]);
    blocks_drop(b, found); /* now the one used last */
    uint32_t taken[2];
    assert_true(blocks_take(b, 2, taken)); /* longest free first */
    assert_int_equal(taken[0], ids[1]);
    assert_int_equal(taken[1], ids[2]);
    assert_false(blocks_find(b, number(11), &found));
    assert_true(blocks_find(b, number(10), &found));
    assert_int_equal(blocks_free(b), 0);
    blocks_destroy(b);
}

static void hashes_see_everything_before(void **state)
{
    struct blocks *b = blocks_create(1, 7), *other = blocks_create(1, 8);
    const uint32_t x[] = {1, 2, 3}, y[] = {1, 2, 4};
    struct block_hash root = blocks_root(b, NULL);
    struct block_hash hashes[] = {
        blocks_chain(b, root, x, 3),
        blocks_chain(b, root, y, 3),
        blocks_chain(b, root, x, 2),
        blocks_chain(b, blocks_chain(b, root, x, 3), x, 3),
        blocks_chain(b, blocks_root(b, "tenant"), x, 3),
        blocks_chain(b, blocks_root(b, ""), x, 3),
        blocks_chain(other, blocks_root(other, NULL), x, 3),
    };
    struct block_hash again = blocks_chain(b, root, x, 3);
    assert_memory_equal(&again, &hashes[0], sizeof again);
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < i; k++)
            if (i != 5 || k != 0) /* no salt and an empty one are the same */
                assert_memory_not_equal(&hashes[i], &hashes[k], sizeof *hashes);
    blocks_destroy(b);
    blocks_destroy(other);
}

/* Random operations beside a model of them: how often each block is held. */
static void every_block_returns(void **state)
{
    enum { COUNT = 37, HELD = 4000 };
    srand(11);
    struct blocks *b = blocks_create(COUNT, 3);
    uint32_t held[HELD], references[COUNT] = {0};
    size_t n = 0;
    for (int op = 0; op < 50000; op++) {
        uint32_t ids[5], want = 1 + (uint32_t)rand() % 5, found;
        switch (rand() % 5) {
        case 0:
            if (n + want < HELD && blocks_take(b, want, ids))
                for (uint32_t i = 0; i < want; i++) {
                    assert_int_equal(references[ids[i]]++, 0);
                    held[n++] = ids[i];
                }
            break;
        case 1:
            if (n > 0)
                blocks_seal(b, held[(size_t)rand() % n], number((uint64_t)rand() % 50));
            break;
        case 2:
            if (n + 1 < HELD && blocks_find(b, number((uint64_t)rand() % 50), &found)) {
                references[found]++;
                held[n++] = found;
            }
            break;
        default:
            if (n > 0) {
                size_t i = (size_t)rand() % n;
                blocks_drop(b, held[i]);
                references[held[i]]--;
                held[i] = held[--n];
            }
        }
        uint32_t unheld = 0;
        for (uint32_t i = 0; i < COUNT; i++)
            unheld += references[i] == 0;
        assert_int_equal(blocks_free(b), unheld);
    }
    while (n > 0)
        blocks_drop(b, held[--n]);
    assert_int_equal(blocks_free(b), COUNT);
    blocks_destroy(b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(taken_and_dropped),
    cmocka_unit_test(sealed_blocks_are_found_until_taken),
    cmocka_unit_test(hashes_see_everything_before),
    cmocka_unit_test(every_block_returns),
};
TEST_MAIN(tests)
