/* SPDX-License-Identifier: Apache-2.0 */
/* Reading engines' answers: hand-off parameters, verdicts, error envelopes. */
#include "test.h"

#include "openai/answer.h"

#include <string.h>

static void params_are_relayed_as_they_are(void **state)
{
    static const struct {
        const char *in, *params;
        enum segue_status status;
    } rows[] = {
        {"{\"kv_transfer_params\":{ \"a\" : [1,2] }}", "{ \"a\" : [1,2] }", SEGUE_OK},
        {"{\"x\":1,\"kv_transfer_params\": {\"n\":1e400,\"s\":\"\\u0000\"} }",
         "{\"n\":1e400,\"s\":\"\\u0000\"}", SEGUE_OK},
        {"{\"kv_transfer_params\":{\"a\":1},\"kv_transfer_params\":{\"a\":2}}",
         "{\"a\":2}", SEGUE_OK},
        {"{\"kv_transfer_params\":null}", "", SEGUE_OK},
        {"{\"choices\":[{\"kv_transfer_params\":{\"a\":1}}]}", "", SEGUE_OK},
        {"{}", "", SEGUE_OK},
        {"{\"kv_transfer_params\":[1]}", "", SEGUE_E_INVALID},
        {"{\"kv_transfer_params\":\"x\"}", "", SEGUE_E_INVALID},
        {"[]", "", SEGUE_E_INVALID},
        {"data: {}", "", SEGUE_E_INVALID},
        {"", "", SEGUE_E_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_slice params;
        assert_status(segue_answer_params(rows[i].in, strlen(rows[i].in), &params),
                      rows[i].status);
        assert_int_equal(params.len, strlen(rows[i].params));
        assert_int_equal(
            strncmp(params.len ? params.data : "", rows[i].params, params.len), 0);
    }
}

static void verdicts_are_read_from_the_code(void **state)
{
    static const struct {
        const char *in;
        enum segue_verdict verdict;
        bool again;
    } rows[] = {
        {"{\"error\":{\"code\":\"kv_stale\"}}", SEGUE_VERDICT_STALE, true},
        {"{\"error\":{\"message\":\"m\",\"code\":\"kv_lost\"}}", SEGUE_VERDICT_LOST,
         true},
        {"{\"error\":{\"code\":\"kv_corrupt\"}}", SEGUE_VERDICT_CORRUPT, true},
        {"{\"error\":{\"code\":\"kv_refused\"}}", SEGUE_VERDICT_REFUSED, false},
        {"{\"error\":{\"code\":\"kv_timeout\"}}", SEGUE_VERDICT_TIMEOUT, false},
        {"{\"error\":{\"code\":\"valid\"}}", SEGUE_VERDICT_NONE, false},
        {"{\"error\":{\"code\":\"\"}}", SEGUE_VERDICT_NONE, false},
        {"{\"error\":{\"code\":503}}", SEGUE_VERDICT_NONE, false},
        {"{\"error\":{\"code\":\"kv_stale2\"}}", SEGUE_VERDICT_NONE, false},
        {"{\"error\":\"kv_stale\"}", SEGUE_VERDICT_NONE, false},
        {"{\"code\":\"kv_stale\"}", SEGUE_VERDICT_NONE, false},
        {"kv_stale", SEGUE_VERDICT_NONE, false},
        {"", SEGUE_VERDICT_NONE, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum segue_verdict got = segue_answer_verdict(rows[i].in, strlen(rows[i].in));
        assert_int_equal(got, rows[i].verdict);
        assert_int_equal(segue_verdict_again(got), rows[i].again);
    }
    assert_string_equal(segue_answer_verdict_name(SEGUE_VERDICT_STALE), "stale");
    assert_string_equal(segue_answer_verdict_name(SEGUE_VERDICT_VALID), "valid");
    assert_string_equal(segue_answer_verdict_name(SEGUE_VERDICT_NONE), "");
}

static void envelopes_are_known(void **state)
{
    (void)state;
    assert_true(segue_answer_is_error("{\"error\":{}}", 12));
    assert_false(segue_answer_is_error("{\"error\":\"x\"}", 13));
    assert_false(segue_answer_is_error("<html>", 6));
    assert_false(segue_answer_is_error(NULL, 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(params_are_relayed_as_they_are),
    cmocka_unit_test(verdicts_are_read_from_the_code),
    cmocka_unit_test(envelopes_are_known),
};

TEST_MAIN(tests)
