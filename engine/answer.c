/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of answers: both APIs, whole and in chunks, with the members vLLM has. */
#include "call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *text_of(const char *text, size_t length)
{
    return json_stringn(text != NULL ? text : "", length);
}

/* A token by itself. What is no text of its own, as half a character, is written as the
 * completions API does, bytes:\xe2; the chat API has a list of bytes beside it. */
static json_t *token_text(const struct choice *c, uint32_t token, struct gguf_text bytes)
{
    char fixed[256];
    if (c->call->params.tokens_as_ids)
        return json_sprintf("token_id:%u", token);
    if (utf8_prefix(bytes.at, bytes.len) == bytes.len)
        return json_stringn(bytes.at, bytes.len);
    if (c->call->params.chat)
        return json_string("\xef\xbf\xbd");
    size_t n = (size_t)sprintf(fixed, "bytes:");
    for (size_t i = 0; i < bytes.len && n + 5 < sizeof fixed; i++)
        n += (size_t)sprintf(fixed + n, "\\x%02x", (unsigned char)bytes.at[i]);
    return json_stringn(fixed, n);
}

static json_t *byte_list(struct gguf_text bytes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < bytes.len; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes.at[i]));
    return list;
}

/* JSON has no infinity: what is impossible is very unlikely. */
static json_t *logprob(float value)
{
    return json_real(value > -9999 ? value : -9999);
}

static json_t *entry(const struct choice *c, uint32_t token, float value)
{
    struct gguf_text bytes = tokenizer_bytes(c->call->api->tokenizer, token, true);
    return json_pack("{s:o, s:o, s:o}", "token", token_text(c, token, bytes), "logprob",
                     logprob(value), "bytes", byte_list(bytes));
}

json_t *answer_logprob(struct choice *c, const struct generated *new)
{
    json_t *own = entry(c, new->token, new->logprob), *top = json_array();
    for (uint32_t i = 0; i < new->top_count; i++)
        json_array_append_new(top, entry(c, new->top[i].id, new->top[i].logprob));
    json_object_set_new(own, "top_logprobs", top);
    return own;
}

/* Characters that begin in these bytes, so that halves add up to one. */
static json_int_t characters(const json_t *bytes)
{
    json_int_t n = 0;
    for (size_t i = 0; i < json_array_size(bytes); i++)
        n += (json_integer_value(json_array_get(bytes, i)) & 0xc0) != 0x80;
    return n;
}

/* The completions API wants the same as parallel lists. */
static json_t *parallel_lists(struct choice *c, const json_t *entries)
{
    json_t *offsets = json_array(), *logprobs = json_array(), *tokens = json_array(),
           *tops = json_array(), *one;
    size_t i, k;
    json_array_foreach((json_t *)entries, i, one)
    {
        json_t *token = json_object_get(one, "token"), *top = json_object(), *other;
        json_array_foreach(json_object_get(one, "top_logprobs"), k, other)
            json_object_set(top, json_string_value(json_object_get(other, "token")),
                            json_object_get(other, "logprob"));
        json_array_append_new(offsets, json_integer(c->characters));
        c->characters += characters(json_object_get(one, "bytes"));
        json_array_append(logprobs, json_object_get(one, "logprob"));
        json_array_append(tokens, token);
        json_array_append_new(tops, top);
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "text_offset", offsets, "token_logprobs",
                     logprobs, "tokens", tokens, "top_logprobs", tops);
}

static json_t *logprobs_of(struct choice *c)
{
    if (c->logprobs == NULL || json_array_size(c->logprobs) == 0)
        return json_null();
    if (c->call->params.chat)
        return json_pack("{s:O}", "content", c->logprobs);
    return parallel_lists(c, c->logprobs);
}

static json_t *finish_reason(const struct choice *c)
{
    return json_string(c->finish == FINISH_LENGTH ? "length" : "stop");
}

/* The stop string or token that ended it; null for the end of text. */
static json_t *stop_reason(const struct choice *c)
{
    if (c->stop_index >= 0)
        return json_string(c->call->params.stops[c->stop_index]);
    return c->stop_token != TOKEN_NONE ? json_integer(c->stop_token) : json_null();
}

static json_t *ids(const uint32_t *tokens, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(tokens[i]));
    return list;
}

static json_t *prompt_ids(const struct call *call)
{
    return call->params.return_token_ids
               ? ids(call->params.prompt, call->params.prompt_count)
               : json_null();
}

static json_t *usage(const struct call *call)
{
    json_int_t prompt = call->params.prompt_count, generated = 0;
    for (uint32_t i = 0; i < call->params.n; i++)
        generated += call->choices[i].token_count;
    json_t *details = json_null();
    if (call->choices[0].cached_tokens > 0)
        details = json_pack("{s:I}", "cached_tokens",
                            (json_int_t)call->choices[0].cached_tokens);
    return json_pack("{s:I, s:I, s:I, s:o}", "prompt_tokens", prompt, "total_tokens",
                     prompt + generated, "completion_tokens", generated,
                     "prompt_tokens_details", details);
}

static json_t *kv_params(const struct call *call)
{
    const char *text = call->choices[0].kv_params;
    json_t *params = text == NULL ? NULL : json_loads(text, 0, NULL);
    return params != NULL ? params : json_null();
}

static json_t *envelope(const struct call *call, const char *object, json_t *choices)
{
    return json_pack(
        "{s:s+, s:s, s:I, s:s, s:o}", "id", call->params.chat ? "chatcmpl-" : "cmpl-",
        exchange_id(call->exchange), "object", object, "created",
        (json_int_t)call->created, "model", call->api->model, "choices", choices);
}

static char *dump(json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static json_t *whole_choice(struct choice *c)
{
    const struct call *call = c->call;
    json_t *out = json_object();
    json_object_set_new(out, "index", json_integer(c->index));
    json_t *text = text_of(c->text, c->text_length);
    if (call->params.chat)
        json_object_set_new(out, "message",
                            json_pack("{s:s, s:o, s:n, s:n, s:n, s:n, s:[], s:n}", "role",
                                      "assistant", "content", text, "refusal",
                                      "annotations", "audio", "function_call",
                                      "tool_calls", "reasoning_content"));
    else
        json_object_set_new(out, "text", text);
    json_object_set_new(out, "logprobs", logprobs_of(c));
    json_object_set_new(out, "finish_reason", finish_reason(c));
    json_object_set_new(out, "stop_reason", stop_reason(c));
    json_object_set_new(out, "token_ids",
                        call->params.return_token_ids ? ids(c->tokens, c->token_count)
                                                      : json_null());
    if (!call->params.chat) {
        json_object_set_new(out, "prompt_logprobs", json_null());
        json_object_set_new(out, "prompt_token_ids", prompt_ids(call));
    }
    return out;
}

char *answer_whole(const struct call *call)
{
    json_t *choices = json_array();
    for (uint32_t i = 0; i < call->params.n; i++)
        json_array_append_new(choices, whole_choice((struct choice *)&call->choices[i]));
    json_t *root = envelope(
        call, call->params.chat ? "chat.completion" : "text_completion", choices);
    json_object_set_new(root, "service_tier", json_null());
    json_object_set_new(root, "system_fingerprint", json_null());
    json_object_set_new(root, "usage", usage(call));
    if (call->params.chat) {
        json_object_set_new(root, "prompt_logprobs", json_null());
        json_object_set_new(root, "prompt_token_ids", prompt_ids(call));
    }
    json_object_set_new(root, "kv_transfer_params", kv_params(call));
    return dump(root);
}

static const char *chunk_object(const struct call *call)
{
    return call->params.chat ? "chat.completion.chunk" : "text_completion";
}

char *answer_role(const struct choice *c)
{
    const struct call *call = c->call;
    json_t *root = envelope(call, chunk_object(call),
                            json_pack("[{s:i, s:{s:s, s:s}, s:n, s:n}]", "index",
                                      (int)c->index, "delta", "role", "assistant",
                                      "content", "", "logprobs", "finish_reason"));
    if (call->params.return_token_ids)
        json_object_set_new(root, "prompt_token_ids", prompt_ids(call));
    return dump(root);
}

char *answer_chunk(struct choice *c, const char *shown, size_t length, bool last)
{
    const struct call *call = c->call;
    json_t *out = json_object(), *text = text_of(shown, length);
    json_object_set_new(out, "index", json_integer(c->index));
    if (call->params.chat)
        json_object_set_new(out, "delta", json_pack("{s:o}", "content", text));
    else
        json_object_set_new(out, "text", text);
    json_object_set_new(out, "logprobs", logprobs_of(c));
    json_object_set_new(out, "finish_reason", last ? finish_reason(c) : json_null());
    json_object_set_new(out, "stop_reason", last ? stop_reason(c) : json_null());
    if (call->params.return_token_ids) {
        json_object_set_new(
            out, "token_ids",
            ids(c->tokens + c->sent_tokens, c->token_count - c->sent_tokens));
        if (!call->params.chat && c->sent_tokens == 0)
            json_object_set_new(out, "prompt_token_ids", prompt_ids(call));
    }
    c->sent_tokens = c->token_count;
    if (c->logprobs != NULL)
        json_array_clear(c->logprobs);
    json_t *root = envelope(call, chunk_object(call), json_pack("[o]", out));
    if (call->params.include_usage)
        json_object_set_new(root, "usage", json_null());
    if (last && c->kv_params != NULL)
        json_object_set_new(root, "kv_transfer_params", kv_params(call));
    return dump(root);
}

char *answer_usage_chunk(const struct call *call)
{
    json_t *root = envelope(call, chunk_object(call), json_array());
    json_object_set_new(root, "usage", usage(call));
    return dump(root);
}
