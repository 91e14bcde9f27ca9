/* SPDX-License-Identifier: Apache-2.0 */
/* The engines' reports of their hand-offs. */
#include "test.h"

#include "demo_handoff.h"

#include <string.h>

static const char list_text[] =
    "[{\"request_id\":\"a\",\"role\":\"prefill\",\"ms\":{\"prefill\":12.5,\"ticket\":1}},"
    " 7, {\"request_id\":\"a\",\"role\":\"decode\",\"verdict\":\"stale\"},"
    " {\"request_id\":\"b\",\"role\":\"decode\",\"verdict\":\"valid\"},"
    " {\"request_id\":\"a\",\"role\":\"decode\",\"verdict\":\"valid\",\"detail\":\"\","
    "  \"path\":\"shm/packed\",\"tokens\":199,"
    "  \"bytes\":{\"moved\":4585,\"staged_host\":45,\"engine\":-3,\"digest\":9170},"
    "  \"kv_digest\":{\"producer\":\"00ff\",\"consumer\":\"00ff\"},"
    "  \"ms\":{\"claim_wait\":1,\"copy\":2.5,\"commit\":0},"
    "  \"explain\":[\"shm/packed chosen\",\"\",\"wordless\",4,\"cma possible\","
    "               \"shm/mapped refused: sim:gaudi: no\"]}]";

static void the_last_entry_counts(void **state)
{
    json_t *list = json_loads(list_text, 0, NULL);
    struct handoff h;
    assert_non_null(list);
    handoff_read(handoff_find(list, "decode", "a"), &h);
    assert_true(h.found);
    assert_string_equal(h.verdict, "valid");
    assert_string_equal(h.path, "shm/packed");
    assert_int_equal(h.tokens, 199);
    assert_int_equal(h.moved, 4585);
    assert_int_equal(h.staged_host, 45);
    assert_int_equal(h.engine, 0);
    assert_true(h.copy_ms == 2.5 && h.commit_ms == 0 && h.first_token_ms < 0);
    assert_true(handoff_digests_equal(&h));
    assert_int_equal(h.explained_count, 3);
    assert_string_equal(h.explained[0].why, "chosen");
    assert_string_equal(h.explained[1].why, "possible, but another is better");
    assert_string_equal(h.explained[2].path, "shm/mapped");
    assert_string_equal(h.explained[2].why, "sim:gaudi: no");
    assert_true(handoff_ms(handoff_find(list, "prefill", "a"), "prefill") == 12.5);
    json_decref(list);
}

static void nothing_found_is_empty(void **state)
{
    struct handoff h;
    json_t *odd = json_loads("[{\"role\":5,\"bytes\":[],\"explain\":{}}]", 0, NULL);
    assert_null(handoff_find(odd, "decode", "a"));
    assert_null(handoff_find(NULL, "decode", "a"));
    handoff_read(NULL, &h);
    assert_false(h.found);
    assert_false(handoff_digests_equal(&h));
    handoff_read(json_array_get(odd, 0), &h);
    assert_true(h.found);
    assert_int_equal(h.explained_count, 0);
    assert_true(h.copy_ms < 0);
    json_decref(odd);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_last_entry_counts),
    cmocka_unit_test(nothing_found_is_empty),
};
TEST_MAIN(tests)
