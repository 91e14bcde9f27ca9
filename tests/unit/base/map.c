/* SPDX-License-Identifier: Apache-2.0 */
/* The map against a plain array as its model, and walks that remove. */
#include "test.h"
#include "base/map.h"

#include <string.h>

#define KEYS 400

static uint32_t seed = 12345;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

/* Keys that hash functions like to trip over: counting, powers of two, high bits only. */
static uint64_t key_of(uint32_t i)
{
    switch (i % 3) {
    case 0:
        return i / 3;
    case 1:
        return (uint64_t)(i / 3 + 1) << 40;
    default:
        return UINT64_MAX - i;
    }
}

static void agrees_with_its_model(void **state)
{
    struct segue_map map = {0};
    char *model[KEYS] = {NULL};
    static char values[KEYS];
    size_t count = 0;
    for (int step = 0; step < 40000; step++) {
        uint32_t i = draw(KEYS);
        if (draw(2)) {
            count += !model[i];
            model[i] = &values[draw(KEYS)];
            assert_ok(segue_map_put(&map, key_of(i), model[i]));
        } else {
            assert_ptr_equal(segue_map_remove(&map, key_of(i)), model[i]);
            count -= model[i] != NULL;
            model[i] = NULL;
        }
        assert_int_equal(map.count, count);
        i = draw(KEYS);
        assert_ptr_equal(segue_map_get(&map, key_of(i)), model[i]);
    }
    for (uint32_t i = 0; i < KEYS; i++)
        assert_ptr_equal(segue_map_get(&map, key_of(i)), model[i]);
    segue_map_clear(&map);
}

static void empty_maps_answer(void **state)
{
    struct segue_map map = {0};
    struct segue_map_cursor cursor = {0};
    assert_null(segue_map_get(&map, 0));
    assert_null(segue_map_remove(&map, 0));
    assert_null(segue_map_next(&map, &cursor, NULL));
    segue_map_clear(&map);
    assert_ok(segue_map_put(&map, 0, &map));
    assert_ptr_equal(segue_map_remove(&map, 0), &map);
    cursor = (struct segue_map_cursor){0};
    assert_null(segue_map_next(&map, &cursor, NULL));
    segue_map_clear(&map);
    segue_map_clear(&map);
}

/* Each entry once, whatever part of what was just returned is removed on the way. */
static void walk_and_remove(uint32_t one_of)
{
    struct segue_map map = {0};
    int seen[KEYS] = {0}, removed[KEYS] = {0};
    static char values[KEYS];
    for (uint32_t i = 0; i < KEYS; i++)
        assert_ok(segue_map_put(&map, key_of(i), &values[i]));
    struct segue_map_cursor cursor = {0};
    uint64_t key;
    for (char *value; (value = segue_map_next(&map, &cursor, &key));) {
        size_t i = (size_t)(value - values);
        assert_true(key == key_of((uint32_t)i));
        seen[i]++;
        if (draw(one_of) == 0) {
            removed[i] = 1;
            assert_ptr_equal(segue_map_remove(&map, key), value);
        }
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(seen[i], 1);
        assert_ptr_equal(segue_map_get(&map, key_of(i)), removed[i] ? NULL : &values[i]);
    }
    segue_map_clear(&map);
}

static void walks_see_each_entry_once(void **state)
{
    for (uint32_t one_of = 1; one_of <= 4; one_of++)
        for (int round = 0; round < 20; round++)
            walk_and_remove(one_of);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(agrees_with_its_model),
    cmocka_unit_test(empty_maps_answer),
    cmocka_unit_test(walks_see_each_entry_once),
};
TEST_MAIN(tests)
