/* SPDX-License-Identifier: Apache-2.0 */
/* What a run is made of, before anything is started: the model's sizes, what fits it, what
 * is asked. */
#include "command.h"
#include "demo.h"
#include "fail.h"
#include "runner.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The request with which the CUDA + Gaudi guide checks a set-up. */
static const char guide_prompt[] =
    "Mark Elliot Zuckerberg is an American businessman who co-founded the social media "
    "service Facebook and its parent company Meta Platforms, of which he is the "
    "chairman, chief executive officer, and controlling shareholder. Zuckerberg has been "
    "the subject of multiple lawsuits regarding the creation and ownership of the "
    "website as well as issues such as user privacy. Born in White Plains, New York, "
    "Zuckerberg briefly attended Harvard College, where he launched Facebook in February "
    "2004 with his roommates Eduardo Saverin, Andrew McCollum, Dustin Moskovitz and "
    "Chris Hughes. Zuckerberg took the company public in May 2012 with majority shares. "
    "He became the worlds youngest self-made billionaire[a] in 2008, at age 23, and has "
    "consistently ranked among the worlds wealthiest individuals. According to Forbes, "
    "Zuckerbergs estimated net worth stood at US$221.2 billion as of May 2025, making "
    "him the second-richest individual in the world.";
static const char chat_question[] = "What is the capital of Japan?";

#define FETCHED "SmolLM2-135M-Instruct.Q4_1.gguf"

enum { TEMPLATE_TOKENS = 256 }; /* more than a chat template adds */

struct demo_path demo_model_path(void)
{
    struct demo_path path;
    const char *cache = getenv("SEGUE_CACHE"), *home = getenv("HOME");
    if (cache && *cache)
        snprintf(path.text, sizeof path.text, "%s/models/" FETCHED, cache);
    else
        snprintf(path.text, sizeof path.text, "%s/.cache/segue/models/" FETCHED,
                 home ? home : "/root");
    return path;
}

/* In a build tree it lies beside this program, installed under share. */
struct demo_path demo_tiny_path(void)
{
    static const char *const places[] = {"engine/tiny.gguf",
                                         "../" SEGUE_DATADIR "/segue/tiny.gguf"};
    struct demo_path path;
    char self[400];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path.text, sizeof path.text, "%s%s", self, places[i]);
        if (access(path.text, R_OK) == 0)
            break;
    }
    return path;
}

int demo_model_read(struct demo_model *out, const char *path, const char *advice)
{
    struct model *model;
    *out = (struct demo_model){0};
    snprintf(out->path, sizeof out->path, "%s", path);
    if (access(path, R_OK) != 0) {
        fprintf(stderr, "segue demo: the model %s is not there: %s\n", path, advice);
        return EXIT_MISSING;
    }
    if (model_open(&model, out->path) != 0) {
        fprintf(stderr, "segue demo: %s\n", engine_error());
        return EXIT_USAGE;
    }
    out->name = strrchr(out->path, '/') ? strrchr(out->path, '/') + 1 : out->path;
    out->config = model->config;
    model_close(model);
    return EXIT_WELL;
}

static void add_request(struct demo_run *run, const char *name, const char *prompt,
                        bool chat, uint32_t max_tokens)
{
    struct demo_request *request = &run->requests[run->count++];
    *request = (struct demo_request){
        .name = name, .chat = chat, .max_tokens = max_tokens, .prompt = strdup(prompt)};
    if (!request->prompt)
        abort();
    answer_init(&request->answer, chat);
    answer_init(&request->reference, false);
}

static void plan_custom(struct demo_run *run, const struct demo_options *options,
                        const struct demo_model *model)
{
    const char *prompt = options->prompt ? options->prompt : guide_prompt;
    const char *name = options->prompt ? "your prompt" : "the guide's prompt";
    *run = (struct demo_run){.name = "custom",
                             .model = model,
                             .topology = options->topology,
                             .prefill = options->prefill,
                             .decode = options->decode};
    uint32_t copies = run->topology.prefill > run->topology.decode ? run->topology.prefill
                                                                   : run->topology.decode;
    for (uint32_t i = 0; i < copies; i++)
        add_request(run, name, prompt, false, options->max_tokens);
}

size_t demo_plan(struct demo_run *runs, const struct demo_options *options,
                 const struct demo_model *model, const struct demo_model *tiny)
{
    static const struct demo_geometry gaudi = {128, 1, CACHE_LBNHC, CACHE_FP16,
                                               "sim:gaudi"};
    static const struct demo_geometry cuda = {16, 3, CACHE_LBHNC, CACHE_FP16, "sim:cuda"};
    /* As the XPU guide serves Llama: TP 2, blocks of 64, KV in fp8. */
    static const struct demo_geometry xpu = {64, 2, CACHE_LBNHC, CACHE_FP8_E4M3,
                                             "sim:xpu"};
    if (options->custom) {
        plan_custom(&runs[0], options, model);
        return 1;
    }
    runs[0] = (struct demo_run){"gaudi-to-cuda", model, {1, 1}, gaudi, cuda};
    runs[1] = (struct demo_run){"cuda-to-gaudi", model, {1, 1}, cuda, gaudi};
    runs[1].prefill.tp = 1;
    runs[2] = (struct demo_run){"2p1d", tiny, {2, 1}, xpu, xpu};
    for (size_t i = 0; i < DEMO_RUNS; i++) {
        add_request(&runs[i], "the guide's request", guide_prompt, false,
                    options->max_tokens);
        add_request(&runs[i], "a streamed chat", chat_question, true,
                    options->max_tokens);
    }
    return DEMO_RUNS;
}

void demo_run_free(struct demo_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        free(run->requests[i].prompt);
        answer_free(&run->requests[i].answer);
        answer_free(&run->requests[i].reference);
    }
    run->count = 0;
}

bool demo_tp_fits(const struct demo_run *run)
{
    const uint32_t tps[] = {run->prefill.tp, run->decode.tp};
    const struct model_config *c = &run->model->config;
    for (size_t i = 0; i < 2; i++) {
        if (runner_check_tp(c, tps[i]) == 0)
            continue;
        fprintf(stderr, "segue demo: %s; it can be", engine_error());
        for (uint32_t tp = 1; tp <= c->heads; tp++)
            if (runner_check_tp(c, tp) == 0)
                fprintf(stderr, " %u", tp);
        fputc('\n', stderr);
        return false;
    }
    return true;
}

static json_t *messages_of(const char *question)
{
    return json_pack("[{s:s, s:s}]", "role", "user", "content", question);
}

char *demo_body(const struct demo_request *request, const char *model, bool alone)
{
    json_t *body = json_pack("{s:s, s:i, s:i, s:b}", "model", model, "max_tokens",
                             (int)request->max_tokens, "temperature", 0,
                             "return_token_ids", 1);
    if (request->chat)
        json_object_set_new(body, "messages", messages_of(request->prompt));
    else
        json_object_set_new(body, "prompt", json_string(request->prompt));
    if (request->chat && !alone) {
        json_object_set_new(body, "stream", json_true());
        json_object_set_new(body, "stream_options",
                            json_pack("{s:b}", "include_usage", 1));
    }
    if (alone)
        json_object_set_new(body, "logprobs",
                            request->chat ? json_true() : json_integer(2));
    if (alone) /* or two tokens that read the same would be one */
        json_object_set_new(body, "return_tokens_as_token_ids", json_true());
    if (alone && request->chat)
        json_object_set_new(body, "top_logprobs", json_integer(2));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!text)
        abort();
    return text;
}

uint32_t demo_blocks(const struct demo_run *run, const struct demo_geometry *geometry)
{
    uint64_t blocks = 1;
    for (size_t i = 0; i < run->count; i++) {
        /* No token is shorter than a byte. */
        uint64_t tokens = strlen(run->requests[i].prompt) + run->requests[i].max_tokens +
                          TEMPLATE_TOKENS;
        if (tokens > run->model->config.context)
            tokens = run->model->config.context;
        blocks += (tokens + geometry->block - 1) / geometry->block + 1;
    }
    return (uint32_t)blocks;
}

uint64_t demo_expected(const struct demo_run *run, uint32_t tokens)
{
    const struct model_config *c = &run->model->config;
    return (uint64_t)tokens * c->layers * c->kv_heads * 2 * c->head_dim *
           cache_dtype_bytes(run->prefill.dtype);
}
