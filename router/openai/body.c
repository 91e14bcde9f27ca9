/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a request body once and writing what each engine gets from it. */
#include "openai/body.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* name, bit; the sets below say who does not get to see them. */
#define MEMBERS(X)                                                                       \
    X(KV_TRANSFER_PARAMS, "kv_transfer_params")                                          \
    X(STREAM, "stream")                                                                  \
    X(STREAM_OPTIONS, "stream_options")                                                  \
    X(MAX_TOKENS, "max_tokens")                                                          \
    X(MAX_COMPLETION_TOKENS, "max_completion_tokens")                                    \
    X(MIN_TOKENS, "min_tokens")                                                          \
    X(MIN_COMPLETION_TOKENS, "min_completion_tokens")                                    \
    X(N, "n")                                                                            \
    X(BEST_OF, "best_of")                                                                \
    X(PROMPT, "prompt")                                                                  \
    X(PROMPT_EMBEDS, "prompt_embeds")                                                    \
    X(PROMPT_LOGPROBS, "prompt_logprobs")                                                \
    X(ECHO, "echo")                                                                      \
    X(LOGPROBS, "logprobs")                                                              \
    X(USE_BEAM_SEARCH, "use_beam_search")

enum member {
#define MEMBER_ENUM(id, name) MEMBER_##id,
    MEMBERS(MEMBER_ENUM)
#undef MEMBER_ENUM
        MEMBER_COUNT
};

static const char *const member_names[] = {
#define MEMBER_NAME(id, name) [MEMBER_##id] = (name),
    MEMBERS(MEMBER_NAME)
#undef MEMBER_NAME
};

#define BIT(id) (1u << MEMBER_##id)

/* min_tokens above max_tokens 1, and stream_options without stream, are errors 400. */
static const unsigned one_token = BIT(STREAM) | BIT(STREAM_OPTIONS) | BIT(MAX_TOKENS) |
                                  BIT(MAX_COMPLETION_TOKENS) | BIT(MIN_TOKENS) |
                                  BIT(MIN_COMPLETION_TOKENS);
static const unsigned many_answers = BIT(N) | BIT(BEST_OF);
static const unsigned droppable = BIT(KV_TRANSFER_PARAMS) | BIT(STREAM) |
                                  BIT(STREAM_OPTIONS) | BIT(MAX_TOKENS) |
                                  BIT(MAX_COMPLETION_TOKENS) | BIT(MIN_TOKENS) |
                                  BIT(MIN_COMPLETION_TOKENS) | BIT(N) | BIT(BEST_OF);

static unsigned member_find(struct segue_json_value key)
{
    for (unsigned i = 0; i < MEMBER_COUNT; i++)
        if (segue_json_equals(key, member_names[i]))
            return i;
    return MEMBER_COUNT;
}

/* A prompt is one prompt when it is a string or a list of token ids; a list of strings or
 * of lists is as many prompts as it has elements. */
static bool several_prompts(struct segue_json_value prompt)
{
    struct segue_json_cursor cursor = segue_json_walk(prompt);
    struct segue_json_value element;
    if (prompt.type != SEGUE_JSON_ARRAY || !segue_json_next_element(&cursor, &element) ||
        element.type == SEGUE_JSON_NUMBER)
        return false;
    return segue_json_next_element(&cursor, &element);
}

static bool is_true(struct segue_json_value value)
{
    bool set = false;
    return segue_json_to_bool(value, &set) >= 0 && set;
}

/* Numbers that are no count stay as they are: the engine says what is wrong with them. */
static uint64_t count_of(struct segue_json_value value)
{
    uint64_t count = 0;
    return segue_json_to_u64(value, &count) >= 0 ? count : 1;
}

/* What the members mean together, the last of equal ones winning as in Python's json. */
static void conclude(struct segue_body *body, const struct segue_json_value *last)
{
    uint64_t n = count_of(last[MEMBER_N]), best_of = count_of(last[MEMBER_BEST_OF]);
    body->uses = n > best_of ? n : best_of;
    body->shared = body->uses > 1;
    if (body->uses == 0)
        body->uses = 1;
    body->stream = is_true(last[MEMBER_STREAM]);
    body->max_completion_tokens = last[MEMBER_MAX_COMPLETION_TOKENS].data != NULL;

    bool prompt_logprobs = last[MEMBER_PROMPT_LOGPROBS].type != SEGUE_JSON_NULL;
    bool logprobs = last[MEMBER_LOGPROBS].type != SEGUE_JSON_NULL &&
                    (last[MEMBER_LOGPROBS].type != SEGUE_JSON_BOOL ||
                     is_true(last[MEMBER_LOGPROBS]));
    if (several_prompts(last[MEMBER_PROMPT]) ||
        several_prompts(last[MEMBER_PROMPT_EMBEDS]))
        body->local = "several prompts";
    else if (prompt_logprobs || (is_true(last[MEMBER_ECHO]) && logprobs))
        body->local = "prompt logprobs";
    else if (is_true(last[MEMBER_USE_BEAM_SEARCH]))
        body->local = "beam search";
}

enum segue_status segue_body_scan(struct segue_body *body, const char *data, size_t len)
{
    struct segue_json_value root, key, value;
    struct segue_json_value last[MEMBER_COUNT] = {0};
    SEGUE_TRY(segue_json_parse(data, len, &root, NULL));
    if (root.type != SEGUE_JSON_OBJECT)
        return segue_fail(SEGUE_E_INVALID, "the body must be a JSON object");

    *body = (struct segue_body){.data = data, .len = len};
    bool pending = false; /* the newest edit still wants to know what follows it */
    struct segue_json_cursor cursor = segue_json_walk(root);
    while (segue_json_next_member(&cursor, &key, &value)) {
        size_t begin = (size_t)(key.data - data);
        if (body->first == 0)
            body->first = begin;
        if (pending)
            body->edit[body->edits - 1].next = begin;
        pending = false;
        unsigned member = member_find(key);
        if (member < MEMBER_COUNT) {
            last[member] = value;
            if (droppable & (1u << member)) {
                if (body->edits == SEGUE_BODY_EDITS)
                    return segue_fail(SEGUE_E_LIMIT,
                                      "the body repeats its members too often");
                body->edit[body->edits++] = (struct segue_body_edit){
                    .member = member, .prev_end = body->end};
                pending = true;
            }
        }
        body->end = (size_t)(value.data - data) + value.len;
    }
    conclude(body, last);
    return SEGUE_OK;
}

static void push(struct segue_rewrite *out, const char *data, size_t len)
{
    out->slice[out->count++] = (struct segue_slice){data, len};
    out->len += len;
}

/* The members that stay, as runs of the original text; false when none does. */
static bool push_kept(const struct segue_body *body, unsigned drop,
                      struct segue_rewrite *out)
{
    size_t at = body->first;
    bool any = false;
    push(out, "{", 1);
    for (unsigned i = 0; i <= body->edits; i++) {
        const struct segue_body_edit *edit = i < body->edits ? &body->edit[i] : NULL;
        if (edit && !(drop & (1u << edit->member)))
            continue;
        size_t end = edit ? edit->prev_end : body->end;
        if (at != 0 && end > at) {
            if (any)
                push(out, ",", 1);
            push(out, body->data + at, end - at);
            any = true;
        }
        at = edit ? edit->next : 0;
    }
    return any;
}

void segue_body_for_prefill(const struct segue_body *body, struct segue_rewrite *out)
{
    out->count = 0;
    out->len = 0;
    unsigned drop = one_token | BIT(KV_TRANSFER_PARAMS);
    if (body->shared)
        drop |= many_answers;
    bool any = push_kept(body, drop, out);

    char uses[48] = "";
    if (body->shared)
        snprintf(uses, sizeof uses, ",\"segue\":{\"uses\":%llu}",
                 (unsigned long long)body->uses);
    int len = snprintf(out->tail, sizeof out->tail,
                       "%s\"stream\":false,\"max_tokens\":1%s,\"kv_transfer_params\":{"
                       "\"do_remote_decode\":true,\"do_remote_prefill\":false,"
                       "\"remote_engine_id\":null,\"remote_block_ids\":null,"
                       "\"remote_host\":null,\"remote_port\":null%s}}",
                       any ? "," : "",
                       body->max_completion_tokens ? ",\"max_completion_tokens\":1" : "",
                       uses);
    push(out, out->tail, (size_t)len);
}

static void push_params(struct segue_rewrite *out, bool any, const char *before,
                        struct segue_slice params)
{
    int len = snprintf(out->tail, sizeof out->tail, "%s%s%s", any ? "," : "", before,
                       params.len ? "\"kv_transfer_params\":" : "");
    push(out, out->tail, (size_t)len);
    if (params.len)
        push(out, params.data, params.len);
    push(out, "}", 1);
}

void segue_body_for_decode(const struct segue_body *body, struct segue_slice params,
                           struct segue_rewrite *out)
{
    out->count = 0;
    out->len = 0;
    bool ours = params.len != 0;
    for (unsigned i = 0; i < body->edits && !ours; i++)
        ours = body->edit[i].member == MEMBER_KV_TRANSFER_PARAMS;
    if (!ours) { /* nothing to change: white space around the members stays too */
        push(out, body->data, body->len);
        return;
    }
    bool any = push_kept(body, BIT(KV_TRANSFER_PARAMS), out);
    if (params.len)
        push_params(out, any, "", params);
    else
        push(out, "}", 1);
}

void segue_body_for_nobody(const struct segue_body *body, struct segue_slice params,
                           struct segue_rewrite *out)
{
    out->count = 0;
    out->len = 0;
    bool any = push_kept(body, one_token | BIT(KV_TRANSFER_PARAMS), out);
    push_params(out, any,
                params.len ? "\"stream\":false,\"max_tokens\":1,"
                           : "\"stream\":false,\"max_tokens\":1",
                params);
}
