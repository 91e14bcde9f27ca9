/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON object of `segue demo --json`; docs/demo.md names its members. */
#include "demo.h"

#include <math.h>
#include <string.h>

static json_t *text_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

/* Below 0 and NAN: not known. */
static json_t *number_or_null(double value)
{
    return value >= 0 ? json_real(value) : json_null();
}

static json_t *tokens_of(const struct answer *answer)
{
    json_t *list = json_array();
    for (size_t i = 0; i < answer->token_count; i++)
        json_array_append_new(list, json_integer(answer->tokens[i]));
    return list;
}

static json_t *gaps_of(const struct answer *answer)
{
    json_t *list = json_array();
    for (size_t i = 0; i < answer->gap_count; i++)
        json_array_append_new(list, number_or_null(answer->gaps[i]));
    return list;
}

static json_t *bytes_of(const struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "expected",
                     (json_int_t)request->expected, "moved", (json_int_t)h->moved,
                     "staged_host", (json_int_t)h->staged_host, "engine",
                     (json_int_t)(request->prefill_engine + h->engine), "digest",
                     (json_int_t)h->digest);
}

static json_t *times_of(const struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "prefill",
                     number_or_null(request->prefill_ms), "ticket",
                     number_or_null(request->ticket_ms), "claim_wait",
                     number_or_null(h->found ? h->claim_wait_ms : -1), "copy",
                     number_or_null(h->found ? h->copy_ms : -1), "commit",
                     number_or_null(h->found ? h->commit_ms : -1), "first_token",
                     number_or_null(request->first_token_ms));
}

static json_t *request_json(const struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    json_t *root = json_object();
    json_object_set_new(root, "prefill", text_or_null(request->prefill));
    json_object_set_new(root, "decode", text_or_null(request->decode));
    json_object_set_new(root, "prompt_tokens",
                        json_integer(request->answer.prompt_tokens));
    json_object_set_new(root, "tokens", tokens_of(&request->answer));
    json_object_set_new(root, "reference_tokens", tokens_of(&request->reference));
    json_object_set_new(root, "gap", gaps_of(&request->reference));
    json_object_set_new(root, "text",
                        json_stringn(request->answer.text, request->answer.text_length));
    json_object_set_new(root, "verdict", text_or_null(h->verdict));
    json_object_set_new(root, "detail", json_string(h->detail));
    json_object_set_new(root, "path", text_or_null(h->path));
    json_object_set_new(root, "bytes", bytes_of(request));
    json_object_set_new(root, "kv_digest",
                        json_pack("{s:o, s:o}", "producer", text_or_null(h->producer),
                                  "consumer", text_or_null(h->consumer)));
    json_object_set_new(root, "ms", times_of(request));
    json_object_set_new(root, "copy_gbps", json_real(request->copy_gbps));
    return root;
}

static json_t *path_json(const struct handoff *h)
{
    json_t *refused = json_array();
    for (size_t i = 0; i < h->explained_count; i++)
        if (strcmp(h->explained[i].path, h->path) != 0)
            json_array_append_new(refused,
                                  json_pack("{s:s, s:s}", "path", h->explained[i].path,
                                            "why", h->explained[i].why));
    return json_pack("{s:s, s:o}", "chosen", h->path, "refused", refused);
}

/* One entry a path that was chosen, however many requests took it. */
static json_t *paths_json(const struct demo_run *run)
{
    json_t *list = json_array();
    for (size_t i = 0; i < run->count; i++) {
        const char *path = run->requests[i].handoff.path;
        bool told = !path[0];
        for (size_t j = 0; j < i; j++)
            told = told || strcmp(run->requests[j].handoff.path, path) == 0;
        if (!told)
            json_array_append_new(list, path_json(&run->requests[i].handoff));
    }
    return list;
}

static json_t *run_json(const struct demo_run *run)
{
    char topology[16];
    json_t *requests = json_array();
    snprintf(topology, sizeof topology, "%up%ud", run->topology.prefill,
             run->topology.decode);
    for (size_t i = 0; i < run->count; i++)
        json_array_append_new(requests, request_json(&run->requests[i]));
    return json_pack("{s:s, s:s, s:o, s:o}", "name", run->name, "topology", topology,
                     "requests", requests, "paths", paths_json(run));
}

void demo_json(FILE *out, const struct demo_run *runs, size_t count,
               const struct demo_options *options)
{
    bool parity = count > 0;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        parity = parity && runs[i].parity;
        json_array_append_new(list, run_json(&runs[i]));
    }
    json_t *root = json_pack("{s:b, s:b, s:o}", "parity", parity, "fake",
                             options->fake_drivers != NULL, "runs", list);
    json_dumpf(root, out, JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(root);
}
