/* SPDX-License-Identifier: Apache-2.0 */
/* From tokens to text to answers, on the scheduler's thread. */
#include "call.h"
#include "fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void call_free(struct call *call)
{
    /* Whoever submitted a choice may not have left the lock yet, however short that is. */
    pthread_mutex_lock(&call->lock);
    pthread_mutex_unlock(&call->lock);
    for (uint32_t i = 0; i < call->params.n; i++) {
        struct choice *c = &call->choices[i];
        stop_close(&c->finder);
        free(c->text);
        free(c->tokens);
        free(c->kv_params);
        json_decref(c->logprobs);
    }
    api_params_close(&call->params);
    if (call->exchange != NULL)
        exchange_release(call->exchange);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

/* One SSE event; takes the text. */
static void send_event(struct call *call, char *text)
{
    if (text == NULL) {
        call->out_of_memory = true;
        return;
    }
    if (!call->streaming) { /* until now the answer could still have been an error */
        call->streaming = true;
        exchange_begin(call->exchange, "text/event-stream; charset=utf-8");
    }
    size_t length = strlen(text);
    char *event = malloc(length + 9);
    if (event == NULL) {
        call->out_of_memory = true;
    } else {
        exchange_write(call->exchange, event,
                       (size_t)sprintf(event, "data: %s\n\n", text));
    }
    free(event);
    free(text);
}

static void send_chunk(struct choice *c, const char *shown, size_t length, bool last)
{
    struct call *call = c->call;
    if (call->params.chat && !c->opened)
        send_event(call, answer_role(c));
    c->opened = true;
    if (length > 0 || last || call->params.return_token_ids || call->params.logprobs)
        send_event(call, answer_chunk(c, shown, length, last));
}

/* Shows the first bytes of what the stop finder holds. */
static void show(struct choice *c, size_t length, bool last)
{
    if (c->call->params.stream) {
        send_chunk(c, c->finder.text, length, last);
    } else if (length > 0) {
        if (c->text_room - c->text_length < length) {
            size_t room = (c->text_length + length) * 2;
            char *text = realloc(c->text, room);
            if (text == NULL) {
                c->call->out_of_memory = true;
                return;
            }
            c->text = text;
            c->text_room = room;
        }
        memcpy(c->text + c->text_length, c->finder.text, length);
        c->text_length += length;
    }
    if (length > 0)
        stop_shown(&c->finder, length);
}

static bool keep_token(struct choice *c, const struct generated *new)
{
    if (c->token_count == c->token_room) {
        uint32_t room = c->token_room * 2 + 64;
        uint32_t *tokens = realloc(c->tokens, room * sizeof *tokens);
        if (tokens == NULL)
            return false;
        c->tokens = tokens;
        c->token_room = room;
    }
    c->tokens[c->token_count++] = new->token;
    if (c->logprobs != NULL)
        json_array_append_new(c->logprobs, answer_logprob(c, new));
    return true;
}

/* The token's text through UTF-8 and stop strings; false when the answer ends here. */
static bool take_text(struct choice *c, const struct generated *new, size_t *shown)
{
    const struct api_params *params = &c->call->params;
    struct gguf_text bytes = {"", 0};
    if (!new->ends || params->include_stop)
        bytes = tokenizer_bytes(c->call->api->tokenizer, new->token,
                                params->show_special);
    char fixed[512], *text = fixed;
    if (UTF8_ROOM(bytes.len) > sizeof fixed)
        text = malloc(UTF8_ROOM(bytes.len));
    if (text == NULL)
        return false;
    size_t length = utf8_feed(&c->utf8, bytes.at, bytes.len, text);
    bool watch = c->token_count > params->min_tokens;
    int found = stop_feed(&c->finder, text, length, watch, shown);
    if (text != fixed)
        free(text);
    c->call->out_of_memory |= found == -2;
    c->stop_index = found >= 0 ? found : -1;
    if (found >= 0)
        c->finder.length = *shown; /* what follows the stop is nobody's */
    return found == -1;
}

static void submit_siblings(struct call *call);

static void observe(struct choice *c)
{
    struct metrics *metrics = c->call->api->metrics;
    const struct api *api = c->call->api;
    double time = now(), first = time - c->call->began;
    if (c->token_count == 1)
        metrics_observe(metrics, &metrics->first_token, first);
    if (c->token_count == 1 && c->request.role == REQUEST_DECODE && api->first_token)
        api->first_token(api->handoffs_user, c->request.name, first * 1e3);
    if (c->token_count > 1)
        metrics_observe(metrics, &metrics->between_tokens, time - c->last_token);
    c->last_token = time;
}

static bool on_token(struct request *request, const struct generated *new)
{
    struct choice *c = request->user;
    struct call *call = c->call;
    size_t shown = 0;
    bool kept = keep_token(c, new);
    bool more = take_text(c, new, &shown);
    if (kept)
        observe(c);
    if (!kept || call->out_of_memory) {
        call->out_of_memory = true;
        return false;
    }
    if (c->index == 0 && c->token_count == 1)
        submit_siblings(call);
    if (more && !new->ends) /* else the end shows it, with the reason */
        show(c, shown, false);
    return more;
}

static int status_of(enum segue_verdict verdict)
{
    return verdict == SEGUE_VERDICT_REFUSED   ? 400
           : verdict == SEGUE_VERDICT_TIMEOUT ? 504
                                              : 503;
}

static const char *code_of(enum segue_verdict verdict)
{
#define CODE(name, value, text) [value] = "kv_" text,
    static const char *const codes[] = {SEGUE_VERDICT_MAP(CODE)};
#undef CODE
    return codes[verdict];
}

static void note_failure(struct call *call, const struct outcome *outcome)
{
    if (call->error.status != 0)
        return;
    if (outcome->finish == FINISH_HANDOFF)
        api_fail(&call->error, status_of(outcome->verdict), code_of(outcome->verdict),
                 "kv_transfer_params", "%s", outcome->message);
    else if (outcome->finish == FINISH_ABORT)
        api_fail(&call->error, 503, "aborted", NULL, "the request was aborted");
    else
        api_fail(&call->error, 500, NULL, NULL, "%s", outcome->message);
}

static void answer_all(struct call *call)
{
    if (call->out_of_memory && call->error.status == 0)
        api_fail(&call->error, 500, NULL, NULL, "no memory for the answer");
    if (call->error.status != 0 && !call->streaming) {
        api_answer_error(call->exchange, &call->error);
    } else if (call->error.status != 0) {
        send_event(call, api_error_text(&call->error));
        exchange_end(call->exchange, true);
    } else if (call->params.stream) {
        if (call->params.include_usage)
            send_event(call, answer_usage_chunk(call));
        send_event(call, strdup("[DONE]"));
        exchange_end(call->exchange, call->out_of_memory);
    } else {
        char *text = answer_whole(call);
        exchange_answer(call->exchange, 200, "application/json", text,
                        text == NULL ? 0 : strlen(text));
    }
}

static void abort_all(struct call *call)
{
    uint64_t numbers[N_MOST];
    uint32_t count = 0;
    pthread_mutex_lock(&call->lock);
    call->gone = true;
    for (uint32_t i = 0; i < call->params.n; i++)
        if (call->choices[i].submitted)
            numbers[count++] = call->choices[i].id;
    pthread_mutex_unlock(&call->lock);
    for (uint32_t i = 0; i < count; i++)
        scheduler_abort(call->api->scheduler, numbers[i]);
}

static void finish_text(struct choice *c)
{
    char rest[3];
    size_t shown;
    if (c->stop_index < 0 &&
        stop_feed(&c->finder, rest, utf8_finish(&c->utf8, rest), false, &shown) == -2)
        c->call->out_of_memory = true;
    show(c, c->finder.length, true);
}

static void end_choice(struct call *call)
{
    if (++call->ended < call->params.n)
        return;
    answer_all(call);
    call_free(call);
}

static void on_end(struct request *request, const struct outcome *outcome)
{
    struct choice *c = request->user;
    struct call *call = c->call;
    c->finish = outcome->finish;
    c->stop_token = outcome->stop_token;
    c->cached_tokens = outcome->cached_tokens;
    if (outcome->params != NULL)
        c->kv_params = strdup(outcome->params);
    if (outcome->finish == FINISH_STOP || outcome->finish == FINISH_LENGTH) {
        metrics_observe(call->api->metrics, &call->api->metrics->whole,
                        now() - call->began);
        if (call->error.status == 0)
            finish_text(c);
    } else {
        note_failure(call, outcome);
        abort_all(call);
        if (c->index == 0 && c->token_count == 0) /* the others were never submitted */
            call->ended = call->params.n - 1;
    }
    end_choice(call);
}

static void choice_open(struct call *call, uint32_t index)
{
    const struct api_params *p = &call->params;
    struct choice *c = &call->choices[index];
    c->call = call;
    c->index = index;
    c->stop_index = -1;
    c->stop_token = TOKEN_NONE;
    c->logprobs = p->logprobs ? json_array() : NULL;
    stop_open(&c->finder, p->stops, p->stop_count, p->include_stop);
    c->request = (struct request){
        .prompt = p->prompt,
        .prompt_count = p->prompt_count,
        .max_tokens = p->max_tokens,
        .min_tokens = p->min_tokens,
        .ignore_eos = p->ignore_eos,
        .logprobs = p->logprobs,
        .top_logprobs = p->top_logprobs,
        .sampling = p->sampling,
        .stop_tokens = p->stop_tokens,
        .stop_count = p->stop_token_count,
        .cache_salt = p->cache_salt,
        .role = index == 0 ? p->role : REQUEST_WHOLE,
        .params = p->kv_params,
        .name = exchange_id(call->exchange),
        .answers = p->role == REQUEST_PREFILL ? p->uses : p->n,
        .token = on_token,
        .ended = on_end,
        .user = c,
    };
    c->request.sampling.seed += index;
}

static int submit(struct choice *c)
{
    struct call *call = c->call;
    pthread_mutex_lock(&call->lock);
    int status = call->gone ? -1
                            : scheduler_submit(call->api->scheduler, &c->request, &c->id);
    c->submitted = status == 0;
    pthread_mutex_unlock(&call->lock);
    return status;
}

static void submit_siblings(struct call *call)
{
    for (uint32_t i = 1; i < call->params.n; i++)
        if (submit(&call->choices[i]) != 0) {
            api_fail(&call->error, 503, NULL, NULL, "%s", engine_error());
            call->ended++;
        }
}

static void client_left(void *user)
{
    abort_all(user);
}

static struct call *call_create(const struct api *api, struct exchange *exchange,
                                const struct api_params *params)
{
    struct call *call = calloc(1, sizeof *call + params->n * sizeof *call->choices);
    if (call == NULL)
        return NULL;
    call->api = api;
    call->params = *params;
    call->began = now();
    call->created = (int64_t)time(NULL);
    call->exchange = exchange;
    exchange_hold(exchange);
    pthread_mutex_init(&call->lock, NULL);
    for (uint32_t i = 0; i < params->n; i++)
        choice_open(call, i);
    return call;
}

void api_generate(const struct api *api, struct exchange *exchange, bool chat)
{
    struct api_params params;
    struct api_error error;
    size_t length;
    const char *body = exchange_body(exchange, &length);
    struct call *call = NULL;
    int status = api_params_read(&params, api, body, length, chat, &error);
    if (status == 0) {
        call = call_create(api, exchange, &params);
        if (call == NULL)
            status = api_fail(&error, 500, NULL, NULL, "no memory for the request");
    }
    if (call == NULL) {
        if (params.role == REQUEST_DECODE && params.kv_params != NULL)
            api->connector->drop(api->connector_user, params.kv_params);
        api_params_close(&params);
    } else {
        exchange_on_gone(exchange, client_left, call);
        if (submit(&call->choices[0]) == 0)
            return; /* the scheduler's thread has it now */
        status = api_fail(&error, 503, NULL, NULL, "%s", engine_error());
    }
    metrics_refused(api->metrics);
    api_answer_error(exchange, &error);
    if (call != NULL)
        call_free(call);
}
