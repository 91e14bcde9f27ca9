/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer over a vocabulary made here: every byte, a few merges, special tokens. */
#include "test.h"
#include "fail.h"
#include "fake/vocabulary.h"

#include <stdlib.h>
#include <string.h>

static void expect(const struct tokenizer *tokenizer, const char *text, size_t length,
                   const uint32_t *want, size_t want_count)
{
    uint32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &ids, &count), 0);
    assert_int_equal(count, want_count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], want[i]);
    free(ids);
}
#define EXPECT(text, ...)                                                                \
    expect(tokenizer, text, sizeof(text) - 1, (const uint32_t[]){__VA_ARGS__},           \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void merges_go_by_rank_inside_pieces(void **state)
{
    struct tokenizer *tokenizer = fake_tokenizer();
    EXPECT("hello", HELL, 'o');
    EXPECT(" hello", SPACE_HE, LL, 'o'); /* " he" is merged before "hell" */
    EXPECT("aaaaa", AA, AA, 'a');        /* equal ranks: left to right */
    EXPECT("h e", 'h', ' ', 'e');        /* the pattern cuts here */
    EXPECT("\xc3\xa9", E_ACUTE);
    EXPECT("he's", HE, '\'', 's');
    tokenizer_close(tokenizer);
}

static void special_tokens_are_seen_longest_first(void **state)
{
    struct tokenizer *tokenizer = fake_tokenizer();
    EXPECT("he<|im_end|>he", HE, IM_END, HE);
    EXPECT("<|im_end|>ing", IM_ENDING);
    EXPECT("<|im_end|>in", IM_END, 'i', 'n');
    EXPECT("<<user>", '<', USER);
    EXPECT("<|im_", '<', '|', 'i', 'm', '_');
    assert_int_equal(tokenizer_bytes(tokenizer, IM_END, false).len, 0);
    assert_int_equal(tokenizer_bytes(tokenizer, IM_END, true).len, 10);
    assert_int_equal(tokenizer_bytes(tokenizer, USER, false).len, 6);
    assert_int_equal(tokenizer_bytes(tokenizer, FAKE_TOKENS, true).len, 0);
    tokenizer_close(tokenizer);
}

static void any_bytes_come_back(void **state)
{
    struct tokenizer *tokenizer = fake_tokenizer();
    srand(3);
    for (int round = 0; round < 300; round++) {
        char text[64], back[64];
        size_t length = (size_t)rand() % sizeof text, count, n = 0;
        for (size_t i = 0; i < length; i++)
            text[i] = (char)(round % 2 ? rand()
                                       : "he l\xc3\xa9"
                                         "1\n'a"[rand() % 10]);
        uint32_t *ids;
        assert_int_equal(tokenizer_encode(tokenizer, text, length, &ids, &count), 0);
        for (size_t i = 0; i < count; i++) {
            struct gguf_text bytes = tokenizer_bytes(tokenizer, ids[i], true);
            assert_true(n + bytes.len <= length);
            memcpy(back + n, bytes.at, bytes.len);
            n += bytes.len;
        }
        assert_int_equal(n, length);
        assert_memory_equal(back, text, n);
        free(ids);
    }
    tokenizer_close(tokenizer);
}

/* Quadratic work would not end within the test's time. */
static void a_megabyte_of_one_letter_ends(void **state)
{
    struct tokenizer *tokenizer = fake_tokenizer();
    static const char letters[] = {'a', ' ', '<', '1', '\xff', '\''};
    size_t length = 1 << 20;
    char *text = malloc(length);
    for (size_t i = 0; i < sizeof letters; i++) {
        uint32_t *ids;
        size_t count;
        memset(text, letters[i], length);
        assert_int_equal(tokenizer_encode(tokenizer, text, length, &ids, &count), 0);
        assert_int_equal(count, letters[i] == 'a' ? length / 2 : length);
        free(ids);
    }
    free(text);
    tokenizer_close(tokenizer);
}

static void what_does_not_fit_is_named(void **state)
{
    const struct gguf_text bad[][1] = {
        {TEXT("h")}, {TEXT("h x y")}, {TEXT("zz e")}, {TEXT("")}};
    struct tokenizer *tokenizer;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vocabulary vocabulary = fake_vocabulary(bad[i], 1);
        assert_int_equal(tokenizer_from_vocabulary(&tokenizer, &vocabulary), -1);
        assert_non_null(strstr(engine_error(), "merge 0"));
    }
    struct vocabulary vocabulary = fake_vocabulary(NULL, 0);
    vocabulary.pre = TEXT("tekken");
    assert_int_equal(tokenizer_from_vocabulary(&tokenizer, &vocabulary), -1);
    assert_non_null(strstr(engine_error(), "'tekken'"));
    vocabulary.model = TEXT("llama");
    assert_int_equal(tokenizer_from_vocabulary(&tokenizer, &vocabulary), -1);
    assert_non_null(strstr(engine_error(), "'llama'"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(merges_go_by_rank_inside_pieces),
    cmocka_unit_test(special_tokens_are_seen_longest_first),
    cmocka_unit_test(any_bytes_come_back),
    cmocka_unit_test(a_megabyte_of_one_letter_ends),
    cmocka_unit_test(what_does_not_fit_is_named),
};
TEST_MAIN(tests)
