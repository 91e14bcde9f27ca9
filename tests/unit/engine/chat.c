/* SPDX-License-Identifier: Apache-2.0 */
/* ChatML is recognised in its spellings; anything else is named, not guessed. */
#include "test.h"
#include "chat.h"

#include <stdlib.h>
#include <string.h>

#define TURNS(n)                                                                         \
    "{{'<|im_start|>' + message['role'] + '" n                                           \
    "' + message['content'] + '<|im_end|>' + '" n                                        \
    "'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant" n           \
    "' }}{% endif %}"
#define LOOP "{% for message in messages %}"
#define SYSTEM(n)                                                                        \
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system" n    \
    "You are kind<|im_end|>" n "' }}{% endif %}"

static void expect(const char *template, const struct chat_message *messages,
                   size_t count, bool generation, const char *want)
{
    struct chat_template chat;
    size_t length;
    assert_int_equal(chat_recognise(&chat, template, strlen(template)), 0);
    assert_true(chat.known);
    char *text = chat_prompt(&chat, messages, count, generation, &length);
    assert_string_equal(text, want);
    assert_int_equal(length, strlen(want));
    free(text);
    chat_close(&chat);
}

static void messages_become_turns(void **state)
{
    const struct chat_message user[] = {{"user", "Hi", 2}};
    const struct chat_message both[] = {{"system", "Be brief", 8}, {"user", "Hi", 2}};
    static const char *const with[] = {LOOP SYSTEM("\n") TURNS("\n"),
                                       LOOP SYSTEM("\\n") TURNS("\\n")};
    for (int i = 0; i < 2; i++) {
        expect(with[i], user, 1, true,
               "<|im_start|>system\nYou are kind<|im_end|>\n<|im_start|>user\n"
               "Hi<|im_end|>\n<|im_start|>assistant\n");
        expect(
            with[i], both, 2, false,
            "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
    }
    expect(LOOP TURNS("\n"), user, 1, true,
           "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

static void other_templates_are_named(void **state)
{
    static const char *const others[] = {
        "",
        "{% for message in messages %}[INST] {{ message['content'] }}",
        LOOP SYSTEM("\n") TURNS("\n") " ",
        LOOP "{% if loop.first and messages[0]['role'] != 'system' %}{{ "
             "'<|im_start|>system\nnever ends",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct chat_template chat;
        assert_int_equal(chat_recognise(&chat, others[i], strlen(others[i])), 0);
        assert_false(chat.known);
        assert_non_null(strstr(chat.problem, "not ChatML"));
        chat_close(&chat);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(messages_become_turns),
    cmocka_unit_test(other_templates_are_named),
};
TEST_MAIN(tests)
