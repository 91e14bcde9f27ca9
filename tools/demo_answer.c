/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the OpenAI API: collected, taken apart, compared. */
#include "demo_answer.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 64 << 20 };

void answer_init(struct answer *answer, bool stream)
{
    *answer = (struct answer){.stream = stream, .first_token_ms = -1};
}

void answer_free(struct answer *answer)
{
    free(answer->text);
    free(answer->tokens);
    free(answer->gaps);
    free(answer->bytes);
    answer_init(answer, answer->stream);
}

static void complain(struct answer *answer, const char *what)
{
    if (!answer->message[0])
        snprintf(answer->message, sizeof answer->message, "%s", what);
}

static void *grow(void *old, size_t count, size_t each)
{
    void *grown = realloc(old, count * each);
    if (!grown)
        abort();
    return grown;
}

static void add_text(struct answer *answer, const json_t *text)
{
    size_t more = json_string_length(text), have = answer->text_length;
    if (!json_is_string(text))
        return;
    answer->text = grow(answer->text, have + more + 1, 1);
    memcpy(answer->text + have, json_string_value(text), more);
    answer->text[have + more] = '\0';
    answer->text_length += more;
}

/* Returns whether there were any. */
static bool add_tokens(struct answer *answer, const json_t *ids)
{
    size_t more = json_array_size(ids);
    if (!more)
        return false;
    answer->tokens = grow(answer->tokens, answer->token_count + more,
                          sizeof *answer->tokens);
    for (size_t i = 0; i < more; i++)
        answer->tokens[answer->token_count++] = (uint32_t)json_integer_value(
            json_array_get(ids, i));
    return true;
}

/* The best two values, whatever else there is. */
struct best {
    double first, second;
    int seen;
};

static void best_add(struct best *best, const json_t *value)
{
    double x = json_number_value(value);
    if (!json_is_number(value))
        return;
    if (!best->seen || x > best->first) {
        best->second = best->first;
        best->first = x;
    } else if (best->seen == 1 || x > best->second) {
        best->second = x;
    }
    best->seen++;
}

static void add_gap(struct answer *answer, const struct best *best)
{
    answer->gaps = grow(answer->gaps, answer->gap_count + 1, sizeof *answer->gaps);
    answer->gaps[answer->gap_count++] = best->seen < 2 ? NAN : best->first - best->second;
}

/* Completions name the best tokens in an object, chat in an array of objects. */
static void add_gaps(struct answer *answer, json_t *logprobs)
{
    size_t i, j;
    json_t *step, *value;
    const char *name;
    json_array_foreach(json_object_get(logprobs, "top_logprobs"), i, step)
    {
        struct best best = {0};
        json_object_foreach(step, name, value) best_add(&best, value);
        add_gap(answer, &best);
    }
    json_array_foreach(json_object_get(logprobs, "content"), i, step)
    {
        struct best best = {0};
        json_array_foreach(json_object_get(step, "top_logprobs"), j, value)
            best_add(&best, json_object_get(value, "logprob"));
        add_gap(answer, &best);
    }
}

static void take_error(struct answer *answer, const json_t *error)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));
    if (!code)
        code = json_string_value(json_object_get(error, "type"));
    complain(answer, message ? message : "an error without a message");
    snprintf(answer->error, sizeof answer->error, "%s", code ? code : "error");
}

static void take(struct answer *answer, const char *bytes, size_t len, double ms)
{
    json_error_t where;
    json_t *root = json_loadb(bytes, len, JSON_ALLOW_NUL, &where);
    if (!json_is_object(root)) {
        json_decref(root);
        complain(answer, "the answer is no JSON object");
        return;
    }
    if (json_is_object(json_object_get(root, "error")))
        take_error(answer, json_object_get(root, "error"));
    json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    json_t *inner = json_object_get(choice, answer->stream ? "delta" : "message");
    add_text(answer, json_object_get(choice, "text"));
    add_text(answer, json_object_get(inner, "content"));
    if (add_tokens(answer, json_object_get(choice, "token_ids")) &&
        answer->first_token_ms < 0)
        answer->first_token_ms = ms;
    add_gaps(answer, json_object_get(choice, "logprobs"));
    json_t *usage = json_object_get(root, "usage");
    if (json_is_object(usage))
        answer->prompt_tokens = (uint32_t)json_integer_value(
            json_object_get(usage, "prompt_tokens"));
    json_decref(root);
}

static void take_line(struct answer *answer, const char *line, size_t len, double ms)
{
    if (len && line[len - 1] == '\r')
        len--;
    if (len < 5 || memcmp(line, "data:", 5) != 0)
        return;
    line += 5;
    len -= 5;
    if (len && *line == ' ') {
        line++;
        len--;
    }
    if (len == 6 && memcmp(line, "[DONE]", 6) == 0)
        answer->done = true;
    else
        take(answer, line, len, ms);
}

void answer_feed(struct answer *answer, const void *bytes, size_t len, double ms)
{
    if (answer->used + len > MOST_BYTES) {
        complain(answer, "the answer is longer than 64 MiB");
        return;
    }
    if (answer->used + len > answer->room) {
        answer->room = (answer->used + len) * 2;
        answer->bytes = grow(answer->bytes, answer->room, 1);
    }
    if (len)
        memcpy(answer->bytes + answer->used, bytes, len);
    answer->used += len;
    if (!answer->stream || !answer->used)
        return;
    char *at = answer->bytes, *end = answer->bytes + answer->used, *stop;
    while ((stop = memchr(at, '\n', (size_t)(end - at)))) {
        take_line(answer, at, (size_t)(stop - at), ms);
        at = stop + 1;
    }
    answer->used = (size_t)(end - at);
    memmove(answer->bytes, at, answer->used);
}

void answer_end(struct answer *answer)
{
    if (!answer->stream) {
        take(answer, answer->bytes, answer->used, -1);
        answer->done = !answer->message[0];
    } else if (answer->used && answer->bytes[0] == '{') {
        take(answer, answer->bytes, answer->used, -1); /* an error instead of a stream */
    }
    if (!answer->done)
        complain(answer, "the stream ended without [DONE]");
    answer->used = 0;
    if (!answer->text)
        answer->text = calloc(1, 1);
}

bool answer_parity(const struct answer *answer, const struct answer *reference,
                   size_t *at)
{
    for (*at = 0;; ++*at) {
        size_t i = *at;
        if (i == answer->token_count && i == reference->token_count)
            return i > 0;
        if (i < reference->gap_count && reference->gaps[i] <= ANSWER_TIE)
            return true;
        if (i == answer->token_count || i == reference->token_count ||
            answer->tokens[i] != reference->tokens[i])
            return false;
    }
}

double answer_smallest_gap(const struct answer *answer)
{
    double smallest = NAN;
    for (size_t i = 0; i < answer->gap_count; i++)
        if (!(answer->gaps[i] >= smallest))
            smallest = isnan(answer->gaps[i]) ? smallest : answer->gaps[i];
    return smallest;
}
