/* SPDX-License-Identifier: Apache-2.0 */
/* From a body's bytes to a prompt in tokens and settings. */
#include "api_params.h"
#include "api_prompt.h"
#include "fail.h"
#include "fields.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int parse_body(struct api_params *p, const char *body, size_t length,
                      struct api_error *error)
{
    json_error_t at;
    p->root = json_loadb(body, length, 0, &at);
    if (p->root == NULL)
        return api_fail(error, 400, NULL, NULL, "the body is not JSON: %s, at byte %d",
                        at.text, at.position);
    if (!json_is_object(p->root))
        return api_fail(error, 400, NULL, NULL, "the body must be a JSON object");
    return 0;
}

static int read_model(const struct fields *f, const struct api *api)
{
    const char *model = api->model;
    if (field_string(f, "model", &model) != 0)
        return -1;
    if (strcmp(model, api->model) != 0)
        return api_fail(f->error, 404, "model_not_found", "model",
                        "the model %.200s is not served here; %.200s is", model,
                        api->model);
    return 0;
}

static int read_sampling(const struct fields *f, struct sampling *s)
{
    float top_k = 0;
    *s = (struct sampling){.temperature = 1, .top_p = 1};
    if (getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed)
        s->seed = 0;
    if (field_real(f, "temperature", 0, 100, &s->temperature) != 0 ||
        field_real(f, "top_p", 0, 1, &s->top_p) != 0 ||
        field_real(f, "min_p", 0, 1, &s->min_p) != 0 ||
        field_real(f, "top_k", -1, 1e9, &top_k) != 0) /* -1 is vLLM's word for all */
        return -1;
    if (top_k != (float)(int64_t)top_k)
        return api_fail(f->error, 400, NULL, "top_k", "top_k must be a whole number");
    if (s->top_p == 0)
        return api_fail(f->error, 400, NULL, "top_p", "top_p must be more than 0");
    s->top_k = top_k > 0 ? (uint32_t)top_k : 0;
    const json_t *seed = json_object_get(f->object, "seed");
    if (json_is_integer(seed))
        s->seed = (uint64_t)json_integer_value(seed);
    else if (seed != NULL && !json_is_null(seed))
        return api_fail(f->error, 400, NULL, "seed", "seed must be a whole number");
    return 0;
}

static int read_stops(const struct fields *f, struct api_params *p, uint32_t vocab)
{
    const json_t *stop = json_object_get(f->object, "stop");
    const json_t *tokens = json_object_get(f->object, "stop_token_ids");
    size_t n = json_is_array(stop) ? json_array_size(stop) : 1;
    if (stop != NULL && !json_is_null(stop)) {
        if (n > STOPS_MOST)
            return api_fail(f->error, 400, NULL, "stop",
                            "stop has %zu strings; %d are the "
                            "most",
                            n, STOPS_MOST);
        for (size_t i = 0; i < n; i++) {
            const json_t *one = json_is_array(stop) ? json_array_get(stop, i) : stop;
            if (!json_is_string(one) || json_string_length(one) == 0)
                return api_fail(f->error, 400, NULL, "stop",
                                "stop must be a string, or a list of them, not empty");
            p->stops[p->stop_count++] = (char *)json_string_value(one);
        }
    }
    if (tokens != NULL && !json_is_null(tokens))
        return field_tokens(f, "stop_token_ids", tokens, vocab, p->stop_tokens,
                            STOP_TOKENS_MOST, &p->stop_token_count);
    return 0;
}

/* "logprobs" is a number in one API and a switch in the other. */
static int read_logprobs(const struct fields *f, struct api_params *p)
{
    const json_t *given = json_object_get(f->object, "logprobs");
    if (!p->chat) {
        p->logprobs = json_is_integer(given);
        return field_uint(f, "logprobs", 0, REQUEST_TOP_MOST, &p->top_logprobs);
    }
    if (field_bool(f, "logprobs", &p->logprobs) != 0 ||
        field_uint(f, "top_logprobs", 0, REQUEST_TOP_MOST, &p->top_logprobs) != 0)
        return -1;
    if (p->top_logprobs > 0 && !p->logprobs)
        return api_fail(f->error, 400, NULL, "top_logprobs",
                        "top_logprobs needs logprobs to be true");
    return 0;
}

static int read_switches(const struct fields *f, struct api_params *p)
{
    bool skip_special = true;
    const json_t *options = NULL;
    if (field_bool(f, "stream", &p->stream) != 0 ||
        field_bool(f, "ignore_eos", &p->ignore_eos) != 0 ||
        field_bool(f, "return_token_ids", &p->return_token_ids) != 0 ||
        field_bool(f, "return_tokens_as_token_ids", &p->tokens_as_ids) != 0 ||
        field_bool(f, "include_stop_str_in_output", &p->include_stop) != 0 ||
        field_bool(f, "skip_special_tokens", &skip_special) != 0 ||
        field_uint(f, "n", 1, N_MOST, &p->n) != 0 ||
        field_string(f, "cache_salt", &p->cache_salt) != 0 ||
        field_object(f, "stream_options", &options) != 0)
        return -1;
    p->show_special = !skip_special;
    if (options != NULL && !p->stream)
        return api_fail(f->error, 400, NULL, "stream_options",
                        "stream_options needs stream to be true");
    struct fields inner = {options, f->error};
    return field_bool(&inner, "include_usage", &p->include_usage);
}

/* Refused rather than left out: an answer that silently ignores them would be wrong. */
static int read_unsupported(const struct fields *f)
{
    static const char *const absent[] = {"suffix",
                                         "echo",
                                         "logit_bias",
                                         "tools",
                                         "functions",
                                         "guided_json",
                                         "guided_regex",
                                         "guided_choice",
                                         "use_beam_search",
                                         "prompt_logprobs",
                                         "prompt_embeds",
                                         "structured_outputs",
                                         "continue_final_message"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (field_must_be_absent(f, absent[i]) != 0)
            return -1;
    const json_t *format = NULL;
    const char *kind = "text";
    if (field_object(f, "response_format", &format) != 0)
        return -1;
    struct fields inner = {format, f->error};
    if (field_string(&inner, "type", &kind) != 0)
        return -1;
    if (strcmp(kind, "text") != 0)
        return api_fail(f->error, 400, NULL, "response_format",
                        "response_format %.60s is not supported here; text is", kind);
    if (field_must_be(f, "presence_penalty", 0) != 0 ||
        field_must_be(f, "frequency_penalty", 0) != 0)
        return -1;
    return field_must_be(f, "repetition_penalty", 1);
}

static int read_handoff(const struct fields *f, struct api_params *p,
                        const struct api *api)
{
    const json_t *kv = NULL;
    bool prefill = false, decode = false;
    if (field_object(f, "kv_transfer_params", &kv) != 0)
        return -1;
    struct fields inner = {kv, f->error};
    if (field_bool(&inner, "do_remote_decode", &prefill) != 0 ||
        field_bool(&inner, "do_remote_prefill", &decode) != 0)
        return -1;
    if (!prefill && !decode)
        return 0;
    if (prefill && decode)
        return api_fail(f->error, 400, "kv_refused", "kv_transfer_params",
                        "a request is prefilled here or loaded from elsewhere, not both");
    if (!(prefill ? api->prefill : api->decode))
        return api_fail(f->error, 400, "kv_refused", "kv_transfer_params",
                        "this engine does not %s; start it with --role %s",
                        prefill ? "prefill for others" : "decode what others prefilled",
                        prefill ? "prefill" : "decode");
    const json_t *segue = NULL;
    if (field_object(&inner, "segue", &segue) != 0)
        return -1;
    struct fields asked = {segue, f->error};
    if (prefill && segue && field_uint(&asked, "uses", 1, USES_MOST, &p->uses) != 0)
        return -1;
    p->role = prefill ? REQUEST_PREFILL : REQUEST_DECODE;
    p->kv_params = json_dumps(kv, JSON_COMPACT);
    if (p->kv_params == NULL)
        return api_fail(f->error, 500, NULL, NULL, "no memory");
    return 0;
}

/* After the prompt: what room there is for the answer. */
static int read_lengths(const struct fields *f, struct api_params *p,
                        const struct api *api)
{
    uint32_t room = api->context - p->prompt_count, asked = 0;
    if (field_uint(f, "max_tokens", 1, UINT32_MAX, &asked) != 0)
        return -1;
    if (p->chat && field_uint(f, "max_completion_tokens", 1, UINT32_MAX, &asked) != 0)
        return -1;
    if (asked > room)
        return api_fail(
            f->error, 400, "context_length_exceeded", "max_tokens",
            "the context is %u tokens; the prompt has %u and max_tokens is %u",
            api->context, p->prompt_count, asked);
    p->max_tokens = asked > 0 ? asked : p->chat ? room : room < 16 ? room : 16;
    return field_uint(f, "min_tokens", 0, p->max_tokens, &p->min_tokens);
}

int api_params_read(struct api_params *p, const struct api *api, const char *body,
                    size_t length, bool chat, struct api_error *error)
{
    *p = (struct api_params){.chat = chat, .n = 1, .uses = 1};
    if (parse_body(p, body, length, error) != 0)
        return -1;
    struct fields f = {p->root, error};
    /* First, so that whoever refuses the rest knows what will not be loaded. */
    if (read_handoff(&f, p, api) != 0 || read_model(&f, api) != 0 ||
        read_sampling(&f, &p->sampling) != 0 || read_stops(&f, p, api->vocab) != 0 ||
        read_logprobs(&f, p) != 0 || read_switches(&f, p) != 0 ||
        read_unsupported(&f) != 0)
        return -1;
    if (p->role == REQUEST_PREFILL)
        p->n = 1; /* siblings share the prompt: they differ only where it is decoded */
    if ((chat ? api_prompt_chat(p, api, error) : api_prompt_text(p, api, error)) != 0)
        return -1;
    return read_lengths(&f, p, api);
}

void api_params_close(struct api_params *p)
{
    free(p->prompt);
    free(p->kv_params);
    json_decref(p->root);
}
