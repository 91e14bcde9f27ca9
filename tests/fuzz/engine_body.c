/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of completion requests: what is accepted keeps every limit, what is refused says
 * so in an envelope that is JSON. */
#include "api_params.h"
#include "fake/vocabulary.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool held)
{
    if (!held)
        abort();
}

static void accepted(const struct api_params *p, const struct api *api)
{
    check(p->prompt_count >= 1 && p->prompt_count < api->context);
    for (uint32_t i = 0; i < p->prompt_count; i++)
        check(p->prompt[i] < api->vocab);
    check(p->max_tokens >= 1 && p->max_tokens <= api->context - p->prompt_count);
    check(p->min_tokens <= p->max_tokens && p->n >= 1 && p->n <= N_MOST);
    check(p->stop_count <= STOPS_MOST && p->stop_token_count <= STOP_TOKENS_MOST);
    check(p->sampling.temperature >= 0 && p->sampling.top_p > 0);
    check((p->role != REQUEST_WHOLE) == (p->kv_params != NULL));
}

static void refused(const struct api_error *error)
{
    check(error->status >= 400 && error->message[0] != '\0');
    char *text = api_error_text(error);
    check(text != NULL);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chat_template chat;
    static struct api api = {.model = "m",
                             .chat = &chat,
                             .context = 64,
                             .vocab = FAKE_TOKENS,
                             .prefill = true,
                             .decode = true};
    static const char *const template =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    if (api.tokenizer == NULL) {
        api.tokenizer = fake_tokenizer();
        check(chat_recognise(&chat, template, strlen(template)) == 0 && chat.known);
    }
    if (size < 1)
        return 0;
    struct api_params params;
    struct api_error error = {0};
    if (api_params_read(&params, &api, (const char *)data + 1, size - 1, data[0] % 2 == 1,
                        &error) == 0)
        accepted(&params, &api);
    else
        refused(&error);
    api_params_close(&params);
    return 0;
}
