/* SPDX-License-Identifier: Apache-2.0 */
/* Reads "prompt" and "messages". What is too long is refused before work is put into it. */
#include "api_prompt.h"
#include "fail.h"
#include "fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int too_long(const struct api *api, size_t tokens, const char *field,
                    struct api_error *error)
{
    return api_fail(
        error, 400, "context_length_exceeded", field,
        "the context is %u tokens; the prompt has at least %zu and must leave "
        "room for an answer",
        api->context, tokens);
}

static int encode(struct api_params *p, const struct api *api, const char *text,
                  size_t length, const char *field, struct api_error *error)
{
    size_t count, least = length / tokenizer_longest(api->tokenizer);
    if (least >= api->context)
        return too_long(api, least, field, error);
    if (tokenizer_encode(api->tokenizer, text, length, &p->prompt, &count) != 0)
        return api_fail(error, 500, NULL, NULL, "%s", engine_error());
    if (count == 0)
        return api_fail(error, 400, NULL, field, "%s has no tokens", field);
    if (count >= api->context)
        return too_long(api, count, field, error);
    p->prompt_count = (uint32_t)count;
    return 0;
}

static int take_tokens(struct api_params *p, const struct api *api, const json_t *list,
                       struct api_error *error)
{
    struct fields f = {p->root, error};
    size_t count = json_array_size(list);
    if (count >= api->context)
        return too_long(api, count, "prompt", error);
    p->prompt_was_tokens = true;
    p->prompt = malloc((count + 1) * sizeof *p->prompt);
    if (p->prompt == NULL)
        return api_fail(error, 500, NULL, NULL, "no memory");
    return field_tokens(&f, "prompt", list, api->vocab, p->prompt, (uint32_t)count,
                        &p->prompt_count);
}

int api_prompt_text(struct api_params *p, const struct api *api, struct api_error *error)
{
    const json_t *prompt = json_object_get(p->root, "prompt");
    if (json_is_array(prompt) && !json_is_integer(json_array_get(prompt, 0))) {
        if (json_array_size(prompt) > 1)
            return api_fail(error, 400, NULL, "prompt",
                            "prompt has %zu prompts; send one a request",
                            json_array_size(prompt));
        prompt = json_array_get(prompt, 0);
    }
    if (json_is_string(prompt))
        return encode(p, api, json_string_value(prompt), json_string_length(prompt),
                      "prompt", error);
    if (json_is_array(prompt) && json_array_size(prompt) > 0)
        return take_tokens(p, api, prompt, error);
    return api_fail(error, 400, NULL, "prompt",
                    "prompt must be a string or a list of token ids, not empty");
}

/* The text of a message: a string, or a list of parts of type text. */
static int put_content(FILE *out, const json_t *content, size_t index,
                       struct api_error *error)
{
    char field[64];
    snprintf(field, sizeof field, "messages[%zu].content", index);
    if (json_is_string(content)) {
        fwrite(json_string_value(content), 1, json_string_length(content), out);
        return 0;
    }
    size_t i;
    json_t *part;
    if (!json_is_array(content))
        return api_fail(error, 400, NULL, field, "%s must be a string or a list of parts",
                        field);
    json_array_foreach((json_t *)content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (type == NULL || strcmp(type, "text") != 0 || !json_is_string(text))
            return api_fail(error, 400, NULL, field,
                            "%s: part %zu is no text, the only kind "
                            "supported here",
                            field, i);
        fwrite(json_string_value(text), 1, json_string_length(text), out);
    }
    return 0;
}

static bool is_role(const char *role)
{
    size_t length = role == NULL ? 0 : strlen(role);
    return length > 0 && length <= 32 &&
           strspn(role, "abcdefghijklmnopqrstuvwxyz_") == length;
}

static int read_messages(const json_t *list, struct chat_message *messages, FILE *out,
                         struct api_error *error)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *message = json_array_get(list, i);
        char field[64];
        snprintf(field, sizeof field, "messages[%zu].role", i);
        messages[i].role = json_string_value(json_object_get(message, "role"));
        if (!is_role(messages[i].role))
            return api_fail(error, 400, NULL, field,
                            "%s must be a role, as user or assistant", field);
        long before = ftell(out);
        if (put_content(out, json_object_get(message, "content"), i, error) != 0)
            return -1;
        messages[i].content_length = (size_t)(ftell(out) - before);
    }
    return 0;
}

static int render(struct api_params *p, const struct api *api, const json_t *list,
                  struct chat_message *messages, struct api_error *error)
{
    char *contents = NULL;
    size_t total = 0;
    bool generation = true;
    struct fields f = {p->root, error};
    if (field_bool(&f, "add_generation_prompt", &generation) != 0)
        return -1;
    FILE *out = open_memstream(&contents, &total);
    int status = out == NULL ? api_fail(error, 500, NULL, NULL, "no memory")
                             : read_messages(list, messages, out, error);
    if (out != NULL)
        fclose(out);
    size_t count = json_array_size(list), at = 0, length;
    for (size_t i = 0; status == 0 && i < count; i++) {
        messages[i].content = contents + at;
        at += messages[i].content_length;
    }
    if (status == 0) {
        char *text = chat_prompt(api->chat, messages, count, generation, &length);
        status = text == NULL ? api_fail(error, 500, NULL, NULL, "no memory")
                              : encode(p, api, text, length, "messages", error);
        free(text);
    }
    free(contents);
    return status;
}

int api_prompt_chat(struct api_params *p, const struct api *api, struct api_error *error)
{
    const json_t *list = json_object_get(p->root, "messages");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0)
        return api_fail(error, 400, NULL, "messages",
                        "messages must be a list of messages, not empty");
    if (!api->chat->known)
        return api_fail(error, 400, "chat_template_unsupported", "messages", "%s",
                        api->chat->problem);
    struct chat_message *messages = calloc(count, sizeof *messages);
    if (messages == NULL)
        return api_fail(error, 500, NULL, NULL, "no memory");
    int status = render(p, api, list, messages, error);
    free(messages);
    return status;
}
