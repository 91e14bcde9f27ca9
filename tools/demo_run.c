/* SPDX-License-Identifier: Apache-2.0 */
/* One run: requests are sent, engines asked about their hand-offs, and every answer is
 * compared with the answer of one engine alone. */
#include "command.h"
#include "copy_speed.h"
#include "demo.h"
#include "demo_http.h"
#include "demo_progress.h"
#include "demo_stage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double answer_seconds = 600;
/* A connection may end this much before its process does, whose end tells more. */
static const useconds_t dying_us = 300 * 1000;

static void fill_call(struct http_call *call, struct demo_request *request, int port)
{
    *call = (struct http_call){.request_id = request->id};
    snprintf(call->url, sizeof call->url, "http://127.0.0.1:%d/v1/%scompletions", port,
             request->chat ? "chat/" : "");
}

/* Sends requests [first, first + count) at once: through the router, or to the reference. */
static void ask(struct stage *stage, struct demo_request *requests, size_t count,
                bool alone)
{
    struct http_call calls[DEMO_REQUESTS + 1];
    char *bodies[DEMO_REQUESTS + 1];
    for (size_t i = 0; i < count; i++) {
        const struct server *to = alone ? &stage->reference : &stage->router;
        fill_call(&calls[i], &requests[i], to->port);
        bodies[i] = demo_body(&requests[i], stage->model, alone);
        calls[i].body = bodies[i];
        calls[i].answer = alone ? &requests[i].reference : &requests[i].answer;
    }
    http_calls(calls, count, answer_seconds, stage_broken, stage);
    bool failed = false;
    for (size_t i = 0; i < count; i++) {
        if (!alone)
            requests[i].status = calls[i].status;
        if (calls[i].error[0])
            snprintf(calls[i].answer->message, sizeof calls[i].answer->message, "%s",
                     calls[i].error);
        failed = failed || calls[i].answer->message[0];
        free(bodies[i]);
    }
    if (failed)
        usleep(dying_us);
}

/* One after the other where that disturbs no measurement; engines that share the work get
 * their requests at once. */
static void ask_all(struct stage *stage, struct demo_run *run)
{
    bool at_once = run->topology.prefill + run->topology.decode > 2;
    for (size_t i = 0; i < run->count; i++)
        snprintf(run->requests[i].id, sizeof run->requests[i].id, "demo-%ld-%s-%zu",
                 (long)getpid(), run->name, i + 1);
    if (at_once) {
        demo_progress("%s: %zu requests at once, prefilled and decoded", run->name,
                      run->count);
        ask(stage, run->requests, run->count, false);
    }
    for (size_t i = 0; i < run->count && !at_once && !stage_broken(stage); i++) {
        demo_progress("%s: %s, prefilled and decoded", run->name, run->requests[i].name);
        ask(stage, &run->requests[i], 1, false);
    }
    if (stage_broken(stage))
        return;
    demo_progress("%s: the same from one engine alone", run->name);
    ask(stage, run->requests, run->count, true);
}

/* The reports of one engine; NULL after it has said why there are none. */
static json_t *reports_of(const struct server *server)
{
    char url[80], why[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/segue/handoffs", server->port);
    json_t *list = http_json(url, why);
    if (json_is_array(list))
        return list;
    demo_progress_break();
    fprintf(stderr, "segue demo: %s does not tell about its hand-offs: %s\n",
            server->child->name, list ? "no list" : why);
    json_decref(list);
    return NULL;
}

static void take_prefill(struct demo_request *request, const json_t *list)
{
    const json_t *entry = handoff_find(list, "prefill", request->id);
    if (!entry)
        return;
    request->ticket_ms = handoff_ms(entry, "ticket");
    request->prefill_engine = handoff_engine_bytes(entry);
}

static void take_decode(struct demo_request *request, const json_t *list)
{
    const json_t *entry = handoff_find(list, "decode", request->id);
    if (entry)
        handoff_read(entry, &request->handoff);
}

static void copy_name(char *to, const char *from)
{
    snprintf(to, DEMO_ENGINE_NAME, "%s", from);
}

/* Who served a request, and when its prefill was done, is known to the router. */
static void take_legs(const struct stage *stage, struct demo_request *request)
{
    json_t *line = stage_routed(stage, request->id);
    const json_t *ms = json_object_get(line, "prefill_ms");
    copy_name(request->prefill, stage_engine(stage, json_object_get(line, "prefill")));
    copy_name(request->decode, stage_engine(stage, json_object_get(line, "decode")));
    if (json_is_number(ms))
        request->prefill_ms = json_number_value(ms);
    json_decref(line);
}

static bool gather(struct stage *stage, struct demo_run *run)
{
    const struct server *servers[] = {stage->prefill, stage->decode};
    const uint32_t counts[] = {run->topology.prefill, run->topology.decode};
    for (size_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < counts[side]; i++) {
            const struct server *server = &servers[side][i];
            json_t *list = reports_of(server);
            if (!list)
                return false;
            for (size_t r = 0; r < run->count; r++)
                (side ? take_decode : take_prefill)(&run->requests[r], list);
            json_decref(list);
        }
    for (size_t r = 0; r < run->count; r++)
        take_legs(stage, &run->requests[r]);
    return true;
}

/* A request refused before its claim has no report; the router's answer says the verdict. */
static void take_verdict(struct demo_request *request)
{
    struct handoff *handoff = &request->handoff;
    if (strncmp(request->answer.error, "kv_", 3) == 0)
        snprintf(handoff->verdict, sizeof handoff->verdict, "%.15s",
                 request->answer.error + 3);
    if (!request->answer.prompt_tokens) /* an error does not say */
        request->answer.prompt_tokens = handoff->tokens;
    if (!handoff->detail[0])
        snprintf(handoff->detail, sizeof handoff->detail, "%s", request->answer.message);
}

static void take_times(struct demo_request *request)
{
    request->first_token_ms = request->answer.first_token_ms;
    /* An answer in one piece does not show when its first token was there. */
    if (!request->chat && request->prefill_ms >= 0 &&
        request->handoff.first_token_ms >= 0)
        request->first_token_ms = request->prefill_ms + request->handoff.first_token_ms;
}

/* Neither side hashes what is converted on its way. */
static bool hashed(const struct stage *stage)
{
    return stage->options->digest != DEMO_DIGEST_OFF &&
           stage->run->prefill.dtype == stage->run->decode.dtype;
}

static bool judge(const struct stage *stage, struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    char *why = request->why;
    size_t size = sizeof request->why, at;
    if (request->status != 200 || request->answer.message[0])
        snprintf(why, size, "status %ld: %s", request->status, request->answer.message);
    else if (!h->found)
        snprintf(why, size, "no decode engine reports a hand-off for it");
    else if (strcmp(h->verdict, "valid") != 0)
        snprintf(why, size, "the verdict is %s: %s", h->verdict, h->detail);
    else if (request->reference.message[0])
        snprintf(why, size, "the reference: %s", request->reference.message);
    else if (hashed(stage) && !handoff_digests_equal(h))
        snprintf(why, size, "the digests %s", h->producer[0] ? "differ" : "are missing");
    else if (!answer_parity(&request->answer, &request->reference, &at))
        snprintf(why, size, "token %zu differs from the reference's", at + 1);
    else
        return true;
    return false;
}

static void finish(struct stage *stage, struct demo_run *run)
{
    run->parity = run->count > 0;
    demo_progress("%s: measuring plain copies", run->name);
    for (size_t i = 0; i < run->count; i++) {
        struct demo_request *request = &run->requests[i];
        take_verdict(request);
        take_times(request);
        request->expected = demo_expected(run, request->handoff.tokens);
        request->copy_gbps = copy_speed(request->handoff.moved);
        request->parity = judge(stage, request);
        run->parity = run->parity && request->parity;
    }
    demo_progress_break();
}

int demo_run(struct demo_run *run, const struct demo_options *options)
{
    struct stage stage;
    int status = stage_open(&stage, run, options);
    if (!status) {
        for (size_t i = 0; i < run->count; i++)
            run->requests[i].prefill_ms = run->requests[i].ticket_ms = -1;
        ask_all(&stage, run);
        if (stage_broken(&stage) || !gather(&stage, run))
            status = EXIT_NOT_SO;
    }
    if (!status)
        finish(&stage, run);
    demo_progress_break();
    if (stage.dead && !interrupted()) {
        fprintf(stderr, "segue demo: %s ended in the middle of the run\n",
                stage.dead->name);
        child_show_log(&stage.children, stage.dead);
    }
    stage_close(&stage);
    return interrupted() ? EXIT_NOT_SO : status;
}
