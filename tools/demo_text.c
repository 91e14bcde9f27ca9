/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's report for people. */
#include "demo.h"
#include "demo_draw.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *name_of(const char *engine)
{
    return engine[0] ? engine : "?";
}

static void print_answer(FILE *out, const struct demo_request *request)
{
    if (request->answer.text_length)
        draw_text(out, "answer", request->answer.text, request->answer.text_length);
}

static void print_parity(FILE *out, const struct demo_request *request)
{
    double gap = answer_smallest_gap(&request->reference);
    size_t tokens = request->answer.token_count, at;
    if (!request->parity) {
        draw_line(out, "parity", "NO: %s", request->why);
        return;
    }
    bool all = tokens == request->reference.token_count &&
               memcmp(request->answer.tokens, request->reference.tokens,
                      tokens * sizeof *request->answer.tokens) == 0;
    if (all)
        draw_line(out, "parity", "all %zu tokens are those of one engine alone", tokens);
    else if (answer_parity(&request->answer, &request->reference, &at))
        draw_line(out, "parity",
                  "the first %zu tokens are those of one engine alone; "
                  "there the two best are tied",
                  at);
    if (!isnan(gap))
        draw_line(out, "", "(its closest choice: %.4f between the two best logits)", gap);
}

static void print_bytes(FILE *out, const struct demo_run *run,
                        const struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    const struct model_config *c = &run->model->config;
    uint32_t content = 2 * c->head_dim * cache_dtype_bytes(run->prefill.dtype);
    bool equal = h->moved == request->expected;
    draw_line(out, "bytes", "%" PRIu64 " moved, %s", h->moved,
              equal ? "exactly what geometry predicts:" : "but geometry predicts:");
    draw_line(out, "",
              "%" PRIu32 " tokens x %" PRIu32 " layers x %" PRIu32 " KV heads x %" PRIu32
              " bytes = %" PRIu64,
              h->tokens, c->layers, c->kv_heads, content, request->expected);
    if (h->staged_host)
        draw_line(out, "", "%" PRIu64 " of them through a staging ring in host memory",
                  h->staged_host);
    uint64_t engine = request->prefill_engine + h->engine;
    if (engine)
        draw_line(out, "",
                  "and %" PRIu64 " by the engines, between device and working set",
                  engine);
}

static void print_digests(FILE *out, const struct demo_run *run, const struct handoff *h)
{
    if (!h->producer[0] && !h->consumer[0])
        draw_line(out, "digests", "%s",
                  run->prefill.dtype == run->decode.dtype
                      ? "off"
                      : "none: elements are converted on their way");
    else
        draw_line(out, "digests", "producer %s, consumer %s: %s", h->producer,
                  h->consumer, handoff_digests_equal(h) ? "equal" : "DIFFERENT");
}

static void add_time(char *line, size_t size, const char *name, double ms)
{
    size_t used = strlen(line);
    if (ms >= 0)
        snprintf(line + used, size - used, "%s%s %.*f", used ? ", " : "", name,
                 ms < 10 ? 2 : 0, ms);
}

static void print_times(FILE *out, const struct demo_request *request)
{
    const struct handoff *h = &request->handoff;
    char line[256] = "";
    add_time(line, sizeof line, "prefill", request->prefill_ms);
    add_time(line, sizeof line, "ticket", request->ticket_ms);
    add_time(line, sizeof line, "claim wait", h->claim_wait_ms);
    add_time(line, sizeof line, "copy", h->copy_ms);
    add_time(line, sizeof line, "commit", h->commit_ms);
    draw_line(out, "ms", "%s", line);
    if (request->first_token_ms >= 0)
        draw_line(out, "", "first token after %.0f in all", request->first_token_ms);
    if (h->copy_ms > 0 && request->copy_gbps > 0)
        draw_line(out, "speed", "%.2f GB/s; a plain copy of as many bytes: %.2f GB/s",
                  (double)h->moved / h->copy_ms / 1e6, request->copy_gbps);
}

static void print_request(FILE *out, const struct demo_run *run,
                          const struct demo_request *request)
{
    fprintf(out, "\n  %s: POST /v1/%scompletions, %" PRIu32 " prompt tokens\n",
            request->name, request->chat ? "chat/" : "", request->answer.prompt_tokens);
    print_answer(out, request);
    print_parity(out, request);
    if (request->handoff.verdict[0])
        draw_line(out, "verdict", "%s: %s -> %s%s%s", request->handoff.verdict,
                  name_of(request->prefill), name_of(request->decode),
                  request->handoff.path[0] ? " over " : "", request->handoff.path);
    if (!request->handoff.found)
        return;
    if (request->handoff.moved)
        print_bytes(out, run, request);
    print_digests(out, run, &request->handoff);
    print_times(out, request);
}

static void print_paths(FILE *out, const struct handoff *h)
{
    fprintf(out, "\n  why %s\n", h->path);
    for (size_t i = 0; i < h->explained_count; i++)
        draw_line(out, h->explained[i].path, "%s", h->explained[i].why);
}

void demo_text_run(FILE *out, const struct demo_run *run, size_t number, size_t of)
{
    draw_title(out, run, number, of);
    draw_picture(out, run);
    for (size_t i = 0; i < run->count; i++)
        print_request(out, run, &run->requests[i]);
    for (size_t i = 0; i < run->count; i++) {
        const struct handoff *h = &run->requests[i].handoff;
        bool told = !h->path[0] || !h->explained_count;
        for (size_t j = 0; j < i; j++)
            told = told || strcmp(run->requests[j].handoff.path, h->path) == 0;
        if (!told)
            print_paths(out, h);
    }
    fputc('\n', out);
}

void demo_text_end(FILE *out, const struct demo_run *runs, size_t count,
                   const struct demo_options *options)
{
    size_t well = 0;
    for (size_t i = 0; i < count; i++)
        well += runs[i].parity;
    if (options->fake_drivers)
        fprintf(out, "FAKE: the engines loaded drivers from %s\n", options->fake_drivers);
    if (options->corrupt)
        fprintf(out, "The hand-off was spoilt on purpose (%s).\n", options->corrupt);
    if (well == count)
        fprintf(out,
                "Parity in %s: same tokens as one engine alone, same digests on both "
                "sides.\n",
                count == 1 ? "the run" : "all runs");
    else
        fprintf(out, "NO PARITY in %zu of %zu run%s.\n", count - well, count,
                count == 1 ? "" : "s");
}
