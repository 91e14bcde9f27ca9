/* SPDX-License-Identifier: Apache-2.0 */
/* Answers taken apart, whole and streamed, and what parity means. */
#include "test.h"

#include "demo_answer.h"

#include <math.h>
#include <string.h>

static const char whole[] =
    "{\"choices\":[{\"index\":0,\"text\":\" "
    "Hi\\nyou\",\"token_ids\":[5,6,7],\"logprobs\":"
    "{\"tokens\":[\"a\",\"b\",\"c\"],\"token_logprobs\":[-0.5,-0.25,-1],\"top_logprobs\":"
    "[{\"a\":-0.5,\"x\":-2.5},{\"y\":-0.75,\"b\":-0.25},{\"c\":-1}]}}],"
    "\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":3}}";

static const char stream[] =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    ": a comment\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"token_ids\":[5]}]}\r\n\r\n"
    "data:{\"choices\":[{\"delta\":{\"content\":\" you\"},\"token_ids\":[6,7]}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":19}}\n\n"
    "data: [DONE]\n\n";

static void a_whole_answer(void **state)
{
    struct answer a;
    answer_init(&a, false);
    for (size_t i = 0; i < strlen(whole); i++)
        answer_feed(&a, whole + i, 1, (double)i);
    answer_end(&a);
    assert_string_equal(a.message, "");
    assert_true(a.done);
    assert_string_equal(a.text, " Hi\nyou");
    assert_int_equal(a.token_count, 3);
    assert_int_equal(a.tokens[2], 7);
    assert_int_equal(a.prompt_tokens, 19);
    assert_int_equal(a.gap_count, 3);
    assert_true(fabs(a.gaps[0] - 2.0) < 1e-9);
    assert_true(fabs(a.gaps[1] - 0.5) < 1e-9);
    assert_true(isnan(a.gaps[2]));
    assert_true(fabs(answer_smallest_gap(&a) - 0.5) < 1e-9);
    answer_free(&a);
}

static void chat_gaps(void **state)
{
    static const char text[] =
        "{\"choices\":[{\"message\":{\"content\":\"Hi\"},\"token_ids\":[5],\"logprobs\":"
        "{\"content\":[{\"token\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"logprob\":-1}"
        ","
        "{\"logprob\":-1.25}]}]}}]}";
    struct answer a;
    answer_init(&a, false);
    answer_feed(&a, text, strlen(text), 1);
    answer_end(&a);
    assert_string_equal(a.text, "Hi");
    assert_int_equal(a.gap_count, 1);
    assert_true(fabs(a.gaps[0] - 0.25) < 1e-9);
    answer_free(&a);
}

/* Whatever the pieces it comes in, and the first token's time is that of its piece. */
static void a_stream_cut_anywhere(void **state)
{
    for (size_t piece = 1; piece < sizeof stream; piece++) {
        struct answer a;
        answer_init(&a, true);
        for (size_t at = 0; at < strlen(stream); at += piece) {
            size_t left = strlen(stream) - at;
            answer_feed(&a, stream + at, left < piece ? left : piece, (double)at + 1);
        }
        answer_end(&a);
        assert_string_equal(a.message, "");
        assert_string_equal(a.text, "Hi you");
        assert_int_equal(a.token_count, 3);
        assert_int_equal(a.prompt_tokens, 19);
        const char *second = strstr(stream, "[5]");
        double end = (double)(strchr(second, '\n') - stream);
        assert_true(a.first_token_ms > end - (double)piece &&
                    a.first_token_ms <= end + 1);
        answer_free(&a);
    }
}

static void answers_that_fail(void **state)
{
    static const struct {
        bool stream;
        const char *text, *error, *message;
    } cases[] = {
        {false, "{\"error\":{\"message\":\"too late\",\"code\":\"kv_stale\"}}",
         "kv_stale", "too late"},
        {false, "{\"error\":{\"message\":\"no\",\"type\":\"BadRequest\",\"code\":400}}",
         "BadRequest", "no"},
        {true, "{\"error\":{\"message\":\"too late\",\"code\":\"kv_lost\"}}", "kv_lost",
         "too late"},
        {true, "data: {\"error\":{\"message\":\"died\",\"code\":\"kv_lost\"}}\n\n",
         "kv_lost", "died"},
        {true, "data: {\"choices\":[]}\n\n", "", "the stream ended without [DONE]"},
        {false, "<html>", "", "the answer is no JSON object"},
        {false, "", "", "the answer is no JSON object"},
        {true, "data: nonsense\n\n", "", "the answer is no JSON object"},
        {true, "", "", "the stream ended without [DONE]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a;
        answer_init(&a, cases[i].stream);
        answer_feed(&a, cases[i].text, strlen(cases[i].text), 1);
        answer_end(&a);
        assert_string_equal(a.error, cases[i].error);
        assert_string_equal(a.message, cases[i].message);
        assert_string_equal(a.text, "");
        answer_free(&a);
    }
}

static void text_with_a_nul(void **state)
{
    static const char text[] =
        "{\"choices\":[{\"text\":\"a\\u0000b\",\"token_ids\":[5]}]}";
    struct answer a;
    answer_init(&a, false);
    answer_feed(&a, text, strlen(text), 1);
    answer_end(&a);
    assert_int_equal(a.text_length, 3);
    assert_memory_equal(a.text, "a\0b", 4);
    answer_free(&a);
}

static void parity(void **state)
{
    static const struct {
        uint32_t tokens[4], reference[4];
        size_t count, reference_count;
        double gaps[4];
        bool parity;
        size_t at;
    } cases[] = {
        {{1, 2, 3}, {1, 2, 3}, 3, 3, {1, 1, 1}, true, 3},
        {{1, 2, 4}, {1, 2, 3}, 3, 3, {1, 1, 1}, false, 2},
        {{1, 2, 4}, {1, 2, 3}, 3, 3, {1, 1, 0.011}, false, 2},
        {{1, 2, 4}, {1, 2, 3}, 3, 3, {1, 1, 0.01}, true, 2}, /* tied there */
        {{1, 9, 9}, {1, 2, 3}, 3, 3, {1, 0, 1}, true, 1},    /* all after a tie is free */
        {{9, 2, 3}, {1, 2, 3}, 3, 3, {1, 0, 1}, false, 0},
        {{1, 2}, {1, 2, 3}, 2, 3, {1, 1, 1}, false, 2}, /* ended early */
        {{1, 2, 3}, {1, 2}, 3, 2, {1, 1, 1}, false, 2},
        {{1, 2}, {1, 2, 3}, 2, 3, {1, 1, 0.001}, true, 2},
        {{1, 2, 4}, {1, 2, 3}, 3, 3, {1, 1, NAN}, false, 2}, /* not told is no tie */
        {{0}, {0}, 0, 0, {0}, false, 0},                     /* nothing proves nothing */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = {.tokens = (uint32_t *)cases[i].tokens,
                           .token_count = cases[i].count};
        struct answer b = {.tokens = (uint32_t *)cases[i].reference,
                           .token_count = cases[i].reference_count,
                           .gaps = (double *)cases[i].gaps,
                           .gap_count = cases[i].reference_count};
        size_t at = 99;
        if (answer_parity(&a, &b, &at) != cases[i].parity || at != cases[i].at)
            fail_msg("case %zu: parity %d at %zu", i, !cases[i].parity, at);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_whole_answer),        cmocka_unit_test(chat_gaps),
    cmocka_unit_test(a_stream_cut_anywhere), cmocka_unit_test(answers_that_fail),
    cmocka_unit_test(text_with_a_nul),       cmocka_unit_test(parity),
};
TEST_MAIN(tests)
