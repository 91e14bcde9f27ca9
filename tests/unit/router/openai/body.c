/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting request bodies: what goes, what stays to the byte, and what is refused. */
#include "test.h"

#include "openai/body.h"

#include <stdlib.h>
#include <string.h>

#define KV                                                                               \
    "\"kv_transfer_params\":{\"do_remote_decode\":true,\"do_remote_prefill\":false,"     \
    "\"remote_engine_id\":null,\"remote_block_ids\":null,\"remote_host\":null,"          \
    "\"remote_port\":null"

static char *joined(const struct segue_rewrite *rewrite)
{
    char *text = malloc(rewrite->len + 1), *at = text;
    for (unsigned i = 0; i < rewrite->count; i++) {
        memcpy(at, rewrite->slice[i].data, rewrite->slice[i].len);
        at += rewrite->slice[i].len;
    }
    assert_int_equal(at - text, rewrite->len);
    *at = '\0';
    return text;
}

enum leg { PREFILL, DECODE, NOBODY };

static char *rewritten(const char *in, enum leg leg, const char *params)
{
    static struct segue_body body;
    static struct segue_rewrite out;
    struct segue_slice kv = {params, strlen(params)};
    assert_ok(segue_body_scan(&body, in, strlen(in)));
    if (leg == PREFILL)
        segue_body_for_prefill(&body, &out);
    else if (leg == DECODE)
        segue_body_for_decode(&body, kv, &out);
    else
        segue_body_for_nobody(&body, kv, &out);
    return joined(&out);
}

static void expect(const char *in, enum leg leg, const char *params, const char *want)
{
    char *got = rewritten(in, leg, params);
    assert_string_equal(got, want);
    free(got);
}

#define ONE "\"stream\":false,\"max_tokens\":1"

static void prefill_gets_one_token(void **state)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"{\"prompt\":\"a\"}", "{\"prompt\":\"a\"," ONE "," KV "}}"},
        {"{}", "{" ONE "," KV "}}"},
        {" {\n} ", "{" ONE "," KV "}}"},
        {"{\"stream\":true,\"prompt\":\"a\"}", "{\"prompt\":\"a\"," ONE "," KV "}}"},
        {"{\"prompt\":\"a\",\"stream\":true}", "{\"prompt\":\"a\"," ONE "," KV "}}"},
        {"{\"a\":1, \"stream\" : true ,\"b\":2}", "{\"a\":1,\"b\":2," ONE "," KV "}}"},
        {"{\"stream\":true,\"max_tokens\":9}", "{" ONE "," KV "}}"},
        {"{\"min_tokens\":5,\"a\":1,\"min_completion_tokens\":5,\"stream_options\":{"
         "\"x\":1},"
         "\"b\":2}",
         "{\"a\":1,\"b\":2," ONE "," KV "}}"},
        {"{\"max_completion_tokens\":7,\"a\":1}",
         "{\"a\":1," ONE ",\"max_completion_tokens\":1," KV "}}"},
        {"{\"a\":1,\"kv_transfer_params\":{\"remote_host\":\"evil\"},\"b\":2}",
         "{\"a\":1,\"b\":2," ONE "," KV "}}"},
        /* nothing else is touched: spaces between kept members, big numbers, escapes, order */
        {"{ \"z\" : 1e-5 ,\n\t\"seed\":18446744073709551616,\"s\":\"\\u00e9\\/\" , "
         "\"a\":[1, 2] }",
         "{\"z\" : 1e-5 ,\n\t\"seed\":18446744073709551616,\"s\":\"\\u00e9\\/\" , "
         "\"a\":[1, 2]," ONE "," KV "}}"},
        /* members of members are nobody's business */
        {"{\"a\":{\"stream\":true,\"max_tokens\":5}}",
         "{\"a\":{\"stream\":true,\"max_tokens\":5}," ONE "," KV "}}"},
        {"{\"n\":3,\"a\":1}", "{\"a\":1," ONE "," KV ",\"segue\":{\"uses\":3}}}"},
        {"{\"n\":2,\"best_of\":4}", "{" ONE "," KV ",\"segue\":{\"uses\":4}}}"},
        {"{\"n\":1}", "{\"n\":1," ONE "," KV "}}"},
        {"{\"n\":\"x\"}", "{\"n\":\"x\"," ONE "," KV "}}"},
        {"{\"n\":-2}", "{\"n\":-2," ONE "," KV "}}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].in, PREFILL, "", rows[i].want);
}

static void decode_gets_the_original(void **state)
{
    static const struct {
        const char *in, *params, *want;
    } rows[] = {
        {"{\"stream\":true,\"min_tokens\":3}", "{\"x\":[1]}",
         "{\"stream\":true,\"min_tokens\":3,\"kv_transfer_params\":{\"x\":[1]}}"},
        {"{}", "{\"x\":1}", "{\"kv_transfer_params\":{\"x\":1}}"},
        {"{\"kv_transfer_params\":{}}", "{\"x\":1}",
         "{\"kv_transfer_params\":{\"x\":1}}"},
        {" { \"a\" : 1 } \n", "", " { \"a\" : 1 } \n"},
        {"{\"a\":1,\"kv_transfer_params\":null}", "", "{\"a\":1}"},
        {"{\"kv_transfer_params\":null}", "", "{}"},
        {"{\"kv_transfer_params\":1,\"a\":1,\"kv_transfer_params\":2,\"b\":2,"
         "\"kv_transfer_params\":3}",
         "{}", "{\"a\":1,\"b\":2,\"kv_transfer_params\":{}}"},
        /* the same key in other letters */
        {"{\"kv_transfer_param\\u0073\":{\"remote_host\":\"evil\"},\"a\":1}", "",
         "{\"a\":1}"},
        {"{\"\\u006bv\\u005ftransfer_params\":1,\"a\":1}", "{}",
         "{\"a\":1,\"kv_transfer_params\":{}}"},
        {"{\"KV_TRANSFER_PARAMS\":1}", "", "{\"KV_TRANSFER_PARAMS\":1}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(rows[i].in, DECODE, rows[i].params, rows[i].want);
}

static void nobody_waits_for_one_token(void **state)
{
    (void)state;
    expect("{\"stream\":true,\"max_tokens\":500,\"n\":2,\"a\":1}", NOBODY, "{\"x\":1}",
           "{\"n\":2,\"a\":1," ONE ",\"kv_transfer_params\":{\"x\":1}}");
    expect("{\"max_tokens\":5}", NOBODY, "{\"x\":1}",
           "{" ONE ",\"kv_transfer_params\":{\"x\":1}}");
    expect("{\"max_tokens\":5}", NOBODY, "", "{" ONE "}");
}

static void some_requests_stay_with_one_engine(void **state)
{
    static const struct {
        const char *in, *local;
        bool stream;
    } rows[] = {
        {"{\"prompt\":\"a\"}", NULL, false},
        {"{\"prompt\":[\"a\"],\"stream\":true}", NULL, true},
        {"{\"prompt\":[1,2,3]}", NULL, false},
        {"{\"prompt\":[[1,2,3]]}", NULL, false},
        {"{\"prompt\":[]}", NULL, false},
        {"{\"prompt\":[\"a\",\"b\"]}", "several prompts", false},
        {"{\"prompt\":[[1],[2]]}", "several prompts", false},
        {"{\"prompt\":\"a\",\"prompt\":[[1],[2]]}", "several prompts", false},
        {"{\"prompt\":[[1],[2]],\"prompt\":\"a\"}", NULL, false},
        {"{\"prompt_logprobs\":0}", "prompt logprobs", false},
        {"{\"prompt_logprobs\":null}", NULL, false},
        {"{\"echo\":true,\"logprobs\":1}", "prompt logprobs", false},
        {"{\"echo\":true}", NULL, false},
        {"{\"logprobs\":1}", NULL, false},
        {"{\"use_beam_search\":true}", "beam search", false},
        {"{\"stream\":false,\"stream\":true}", NULL, true},
    };
    struct segue_body body;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_ok(segue_body_scan(&body, rows[i].in, strlen(rows[i].in)));
        if (rows[i].local == NULL)
            assert_null(body.local);
        else
            assert_string_equal(body.local, rows[i].local);
        assert_int_equal(body.stream, rows[i].stream);
    }
}

static void hostile_bodies_are_refused(void **state)
{
    static const char *const rows[] = {
        "",
        " ",
        "[]",
        "\"{}\"",
        "1",
        "null",
        "{",
        "}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\" 1}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{}{}",
        "{} x",
        "{\"a\":\"\x01\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xc0\xaf\"}",
        "\xef\xbb\xbf{}",
        "{\"a\":tru}",
        "{\"a\":1e}",
        "{\"a\":\"unterminated",
    };
    struct segue_body body;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_status(segue_body_scan(&body, rows[i], strlen(rows[i])), SEGUE_E_INVALID);
    assert_status(segue_body_scan(&body, "{\0}", 3), SEGUE_E_INVALID);
    /* utf-16, which Python's json would read */
    assert_status(segue_body_scan(&body, "{\0\"\0a\0\"\0:\0001\0}\0", 14),
                  SEGUE_E_INVALID);

    size_t deep = 100000;
    char *nested = malloc(deep + 8);
    memcpy(nested, "{\"a\":", 5);
    memset(nested + 5, '[', deep);
    assert_status(segue_body_scan(&body, nested, deep + 5), SEGUE_E_INVALID);
    free(nested);
}

static char *repeated(const char *member, size_t times)
{
    size_t len = strlen(member);
    char *text = malloc(times * (len + 1) + 3), *at = text;
    *at++ = '{';
    for (size_t i = 0; i < times; i++) {
        memcpy(at, member, len);
        at += len;
        *at++ = i + 1 < times ? ',' : '}';
    }
    *at = '\0';
    return text;
}

static void duplicates_are_bounded(void **state)
{
    struct segue_body body;
    char *text = repeated("\"stream\":true", SEGUE_BODY_EDITS);
    (void)state;
    expect(text, PREFILL, "", "{" ONE "," KV "}}");
    free(text);
    text = repeated("\"stream\":true", SEGUE_BODY_EDITS + 1);
    assert_status(segue_body_scan(&body, text, strlen(text)), SEGUE_E_LIMIT);
    free(text);

    /* alternating with members that stay: the most slices there can be */
    text = repeated("\"a\":1,\"stream\":true", SEGUE_BODY_EDITS);
    char *got = rewritten(text, PREFILL, "");
    assert_int_equal(strncmp(got, "{\"a\":1,\"a\":1,", 13), 0);
    free(got);
    free(text);
}

static void a_long_prompt_is_not_copied(void **state)
{
    static struct segue_body body;
    static struct segue_rewrite out;
    size_t len = 8 * 1024 * 1024;
    char *text = malloc(len + 64);
    (void)state;
    strcpy(text, "{\"stream\":true,\"prompt\":\"");
    size_t head = strlen(text);
    memset(text + head, 'x', len);
    strcpy(text + head + len, "\"}");
    assert_ok(segue_body_scan(&body, text, head + len + 2));
    segue_body_for_prefill(&body, &out);
    bool borrowed = false;
    for (unsigned i = 0; i < out.count; i++)
        borrowed |= out.slice[i].data > text && out.slice[i].len > len;
    assert_true(borrowed);
    free(text);
}

/* Random objects: whatever is dropped, the rest stays as it was, in order. */
static void random_bodies_keep_the_rest(void **state)
{
    static const char *const dropped[] = {"\"stream\":true", "\"max_tokens\" : 5",
                                          "\"min_tokens\":[{}]",
                                          "\"kv_transfer_params\":{\"a\":[\"}\"]}"};
    static const char *const kept[] = {"\"p\":\"a,\\\"b}\"", "\"x\":-0.0e+1", "\"\":{}",
                                       "\"y\":[ ]", "\"stream \":true"};
    unsigned seed = 12345;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char in[1024] = "{", want[1024] = "{";
        int count = (int)(seed % 9);
        bool first = true;
        for (int i = 0; i < count; i++) {
            seed = seed * 1103515245 + 12345;
            unsigned r = seed >> 16;
            const char *member = r & 1 ? dropped[(r >> 1) % 4] : kept[(r >> 1) % 5];
            if (i)
                strcat(in, ",");
            strcat(in, member);
            if (!(r & 1)) {
                if (!first)
                    strcat(want, ",");
                strcat(want, member);
                first = false;
            }
        }
        strcat(in, "}");
        if (!first)
            strcat(want, ",");
        strcat(want, ONE "," KV "}}");
        expect(in, PREFILL, "", want);
        seed = seed * 1103515245 + 12345;
        seed >>= 3;
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prefill_gets_one_token),
    cmocka_unit_test(decode_gets_the_original),
    cmocka_unit_test(nobody_waits_for_one_token),
    cmocka_unit_test(some_requests_stay_with_one_engine),
    cmocka_unit_test(hostile_bodies_are_refused),
    cmocka_unit_test(duplicates_are_bounded),
    cmocka_unit_test(a_long_prompt_is_not_copied),
    cmocka_unit_test(random_bodies_keep_the_rest),
};

TEST_MAIN(tests)
