/* SPDX-License-Identifier: Apache-2.0 */
/* Puts an engine together and takes it apart. */
#include "engine.h"
#include "api.h"
#include "fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { RANKS_MOST = 64 };

struct engine {
    struct engine_opts opts;
    char name[128];
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_template chat;
    struct cache caches[RANKS_MOST];
    struct handoff *handoff;
    struct runner *runner;
    struct scheduler *scheduler;
    struct metrics metrics;
    struct api api;
    struct http *http;
};

void engine_defaults(struct engine_opts *opts)
{
    *opts = (struct engine_opts){
        .host = "127.0.0.1",
        .port = 8000,
        .block_tokens = 16,
        .tp = 1,
        .order = CACHE_LBNHC,
        .dtype = CACHE_FP16,
        .device = "host",
        .cache_bytes = 256ull << 20,
        .max_tokens = 512,
        .max_seqs = 32,
        .body_most = 16ull << 20,
        .round = -1,
    };
}

static void choose_name(struct engine *e)
{
    const char *name = e->opts.served_name, *slash = strrchr(e->opts.model, '/');
    if (name == NULL)
        name = slash != NULL ? slash + 1 : e->opts.model;
    snprintf(e->name, sizeof e->name, "%s", name);
    size_t length = strlen(e->name);
    if (e->opts.served_name == NULL && length > 5 &&
        strcmp(e->name + length - 5, ".gguf") == 0)
        e->name[length - 5] = '\0';
    /* It stands in labels and JSON as it is. */
    for (char *at = e->name; *at != '\0'; at++)
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = '_';
}

/* Every rank's cache, in memory of the device that other engines can be given. */
static int open_caches(struct engine *e)
{
    const struct model_config *config = &e->model->config;
    uint32_t tp = e->opts.tp;
    if (tp == 0 || tp > RANKS_MOST)
        return engine_fail("--tp %u: 1 to %d ranks are possible", tp, RANKS_MOST);
    if (runner_check_tp(config, tp) != 0)
        return -1;
    struct cache_shape shape = {
        .layers = config->layers,
        .blocks = 1,
        .block_tokens = e->opts.block_tokens,
        .kv_heads = runner_kv_heads(config, tp),
        .head_dim = config->head_dim,
        .dtype = e->opts.dtype,
        .order = e->opts.order,
    };
    struct cache one;
    if (cache_plan(&one, &shape) != 0)
        return -1;
    uint64_t fit = e->opts.cache_bytes / tp / one.size;
    shape.blocks = e->opts.blocks != 0 ? e->opts.blocks
                   : fit > 1u << 24    ? 1u << 24
                                       : (uint32_t)fit;
    if (shape.blocks == 0)
        return engine_fail("--kv-memory %llu does not hold one block of %u tokens (%llu "
                           "bytes)",
                           (unsigned long long)e->opts.cache_bytes, shape.block_tokens,
                           (unsigned long long)one.size * tp);
    for (uint32_t rank = 0; rank < tp; rank++)
        if (cache_plan(&e->caches[rank], &shape) != 0)
            return -1;
    struct handoff_opts opts = {
        .engine_id = e->opts.engine_id,
        .ipc_dir = e->opts.ipc_dir,
        .require = e->opts.require,
        .exclude = e->opts.exclude,
        .network = e->opts.network,
        .device = e->opts.device,
        .model = e->name,
        .tp = tp,
        .layers = config->layers,
        .kv_heads = config->kv_heads,
        .digest = e->opts.digest,
        .corrupt = e->opts.corrupt,
        .fault = e->opts.fault,
    };
    return handoff_open(&e->handoff, &opts, e->caches);
}

static uint32_t threads_of(const struct engine_opts *opts)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (opts->threads != 0)
        return opts->threads;
    return processors > (long)opts->tp ? (uint32_t)processors / opts->tp : 1;
}

static int step(void *engine, const struct step_seq *seqs, uint32_t count)
{
    struct engine *e = engine;
    handoff_writes(e->handoff, seqs, count);
    return runner_step(e->runner, seqs, count);
}

static int open_scheduler(struct engine *e)
{
    const struct engine_opts *opts = &e->opts;
    const struct cache_shape *shape = &e->caches[0].shape;
    uint64_t held = (uint64_t)shape->blocks * shape->block_tokens;
    uint32_t context = e->model->config.context;
    if (opts->context != 0 && opts->context < context)
        context = opts->context;
    if (held < context)
        context = (uint32_t)held;
    struct runner_opts runner = {
        .tp = opts->tp, .threads = threads_of(opts), .max_tokens = opts->max_tokens};
    if (opts->round >= 0) {
        runner.rounds = true;
        runner.round = (enum cache_dtype)opts->round;
    }
    if (runner_open(&e->runner, e->model, &runner, e->caches) != 0)
        return -1;
    struct scheduler_opts scheduler = {
        .block_tokens = shape->block_tokens,
        .blocks = shape->blocks,
        .vocab = e->model->config.vocab,
        .context = context,
        .max_tokens = opts->max_tokens,
        .max_seqs = opts->max_seqs,
        .eos = tokenizer_eos(e->tokenizer),
        .prefix_caching = !opts->no_prefix_caching,
        .recompute = opts->recompute,
        .connector = &handoff_connector,
        .connector_user = e->handoff,
        .step = step,
        .step_user = e,
    };
    if (getrandom(&scheduler.secret, sizeof scheduler.secret, 0) !=
        sizeof scheduler.secret)
        return engine_fail("the system gives no random bytes");
    e->api.context = context;
    return scheduler_open(&e->scheduler, &scheduler);
}

static void first_token(void *handoff, const char *request, double ms)
{
    handoff_first_token(handoff, request, ms);
}

static char *reports(void *handoff)
{
    return handoff_reports(handoff);
}

static int open_api(struct engine *e)
{
    e->api.model = e->name;
    e->api.tokenizer = e->tokenizer;
    e->api.chat = &e->chat;
    e->api.scheduler = e->scheduler;
    e->api.prefill = e->opts.role != ENGINE_DECODE;
    e->api.decode = e->opts.role != ENGINE_PREFILL;
    e->api.connector = &handoff_connector;
    e->api.connector_user = e->handoff;
    e->api.handoffs = reports;
    e->api.first_token = first_token;
    e->api.handoffs_user = e->handoff;
    e->api.metrics = &e->metrics;
    e->api.vocab = e->model->config.vocab;
    e->api.started = (int64_t)time(NULL);
    struct http_opts http = {
        .host = e->opts.host,
        .port = e->opts.port,
        .body_most = e->opts.body_most,
        .handle = api_handle,
        .error_body = api_error_body,
        .user = &e->api,
    };
    return http_open(&e->http, &http);
}

int engine_open(struct engine **out, const struct engine_opts *opts, bool *missing)
{
    *missing = false;
    struct engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return engine_fail("no memory for an engine");
    e->opts = *opts;
    metrics_open(&e->metrics);
    choose_name(e);
    if (model_open(&e->model, opts->model) != 0 ||
        tokenizer_open(&e->tokenizer, e->model->gguf) != 0 ||
        chat_open(&e->chat, e->model->gguf) != 0 || open_caches(e) != 0 ||
        open_scheduler(e) != 0 || open_api(e) != 0 ||
        handoff_start(e->handoff, e->scheduler, opts->host, http_port(e->http)) != 0 ||
        http_start(e->http) != 0) {
        engine_close(e);
        return -1;
    }
    *out = e;
    return 0;
}

void engine_facts(const struct engine *e, struct engine_facts *out)
{
    *out = (struct engine_facts){
        .model = e->name,
        .port = http_port(e->http),
        .context = e->api.context,
        .blocks = e->caches[0].shape.blocks,
        .threads = threads_of(&e->opts),
        .cache_bytes = (uint64_t)e->caches[0].size * e->opts.tp,
        .kv_address = handoff_network_address(e->handoff),
    };
}

void engine_close(struct engine *e)
{
    if (e == NULL)
        return;
    if (e->scheduler != NULL)
        scheduler_stop(e->scheduler); /* answers every exchange */
    handoff_stop(e->handoff);
    http_close(e->http);
    scheduler_close(e->scheduler);
    runner_close(e->runner);
    handoff_close(e->handoff);
    chat_close(&e->chat);
    tokenizer_close(e->tokenizer);
    model_close(e->model);
    metrics_close(&e->metrics);
    free(e);
}
