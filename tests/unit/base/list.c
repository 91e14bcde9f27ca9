/* SPDX-License-Identifier: Apache-2.0 */
/* The intrusive list. */
#include "test.h"
#include "base/list.h"

struct item {
    int before, number;
    struct segue_list link;
};

static int number_of(struct segue_list *link)
{
    return segue_container_of(link, struct item, link)->number;
}

static void first_in_first_out(void **state)
{
    struct segue_list head;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    segue_list_init(&head);
    assert_true(segue_list_empty(&head));
    assert_null(segue_list_pop_front(&head));
    for (int i = 0; i < 3; i++)
        segue_list_push_back(&head, &items[i].link);
    for (int i = 0; i < 3; i++)
        assert_int_equal(number_of(segue_list_pop_front(&head)), i);
    assert_true(segue_list_empty(&head));
    assert_true(segue_list_empty(&items[1].link));
}

static void removing_twice_is_harmless(void **state)
{
    struct segue_list head;
    struct item a = {.number = 1}, b = {.number = 2};
    segue_list_init(&head);
    segue_list_push_back(&head, &a.link);
    segue_list_push_back(&head, &b.link);
    segue_list_remove(&a.link);
    segue_list_remove(&a.link);
    assert_ptr_equal(head.next, &b.link);
    assert_ptr_equal(head.prev, &b.link);
}

static void a_walk_survives_removing_what_it_is_at(void **state)
{
    struct segue_list head, other;
    struct item items[5];
    int seen = 0, sum = 0;
    segue_list_init(&head);
    segue_list_init(&other);
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        segue_list_push_back(&head, &items[i].link);
    }
    segue_list_each (link, &head) {
        seen++;
        if (number_of(link) % 2) {
            segue_list_remove(link);
            segue_list_push_back(&other, link);
        }
    }
    assert_int_equal(seen, 5);
    segue_list_each (link, &head)
        sum += number_of(link);
    assert_int_equal(sum, 0 + 2 + 4);
    assert_int_equal(number_of(segue_list_pop_front(&other)), 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(first_in_first_out),
    cmocka_unit_test(removing_twice_is_harmless),
    cmocka_unit_test(a_walk_survives_removing_what_it_is_at),
};
TEST_MAIN(tests)
