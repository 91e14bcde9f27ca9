/* SPDX-License-Identifier: Apache-2.0 */
/* The two spellings of ChatML that models of this kind carry: with and without a default
 * system message. */
#include "chat.h"
#include "fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOP "{% for message in messages %}"
#define DEFAULT                                                                          \
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
#define DEFAULT_END "<|im_end|>\n' }}{% endif %}"
#define TURNS                                                                            \
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "   \
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"    \
    "{% endif %}"

/* Files hold a line end in a string as itself or as backslash n; here it is itself. */
static char *normalise(const char *text, size_t length, size_t *out_length)
{
    char *out = malloc(length + 1);
    size_t n = 0;
    for (size_t i = 0; out != NULL && i < length; i++) {
        if (text[i] == '\\' && i + 1 < length && text[i + 1] == 'n') {
            out[n++] = '\n';
            i++;
        } else {
            out[n++] = text[i];
        }
    }
    if (out != NULL)
        out[n] = '\0';
    *out_length = n;
    return out;
}

static bool take(const char **at, const char *end, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(end - *at) < length || memcmp(*at, word, length) != 0)
        return false;
    *at += length;
    return true;
}

/* 1: known; 0: not; -1: no memory. */
static int parse(struct chat_template *chat, const char *text, size_t length)
{
    const char *at = text, *end = text + length;
    if (!take(&at, end, LOOP))
        return 0;
    if (take(&at, end, DEFAULT)) {
        const char *message = at;
        at = memmem(at, (size_t)(end - at), DEFAULT_END, strlen(DEFAULT_END));
        if (at == NULL || memchr(message, '\'', (size_t)(at - message)) != NULL)
            return 0;
        chat->system = strndup(message, (size_t)(at - message));
        if (chat->system == NULL)
            return -1;
        at += strlen(DEFAULT_END);
    }
    return take(&at, end, TURNS) && at == end;
}

int chat_recognise(struct chat_template *chat, const char *text, size_t length)
{
    *chat = (struct chat_template){0};
    size_t n;
    char *normal = normalise(text, length, &n);
    int known = normal == NULL ? -1 : parse(chat, normal, n);
    free(normal);
    if (known < 0)
        return engine_fail("no memory for the chat template");
    chat->known = known == 1;
    if (!chat->known) {
        int shown = 0;
        while (shown < 60 && (size_t)shown < length && text[shown] >= ' ' &&
               text[shown] <= '~')
            shown++;
        snprintf(chat->problem, sizeof chat->problem,
                 "this model's chat template is not ChatML, the only one known here; it "
                 "begins with \"%.*s\". Use /v1/completions",
                 shown, text);
    }
    return 0;
}

int chat_open(struct chat_template *chat, const struct gguf *gguf)
{
    struct gguf_text text;
    if (gguf_string(gguf, "tokenizer.chat_template", &text) == 0)
        return chat_recognise(chat, text.at, text.len);
    *chat = (struct chat_template){
        .problem = "this model has no chat template. Use /v1/completions"};
    return 0;
}

void chat_close(struct chat_template *chat)
{
    free(chat->system);
    chat->system = NULL;
}

static void put(FILE *out, const char *role, const char *content, size_t length)
{
    fprintf(out, "<|im_start|>%s\n", role);
    fwrite(content, 1, length, out);
    fputs("<|im_end|>\n", out);
}

char *chat_prompt(const struct chat_template *chat, const struct chat_message *messages,
                  size_t count, bool generation, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (out == NULL)
        return NULL;
    if (chat->system != NULL && (count == 0 || strcmp(messages[0].role, "system") != 0))
        put(out, "system", chat->system, strlen(chat->system));
    for (size_t i = 0; i < count; i++)
        put(out, messages[i].role, messages[i].content, messages[i].content_length);
    if (generation)
        fputs("<|im_start|>assistant\n", out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
