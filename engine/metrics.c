/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and histograms, and the text format. */
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>

static const double bounds[HISTOGRAM_BOUNDS] = {
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25,
    0.5,   0.75,   1,     2.5,  5,    7.5,  10,   20,   40,  80,
};

void metrics_open(struct metrics *metrics)
{
    *metrics = (struct metrics){0};
    pthread_mutex_init(&metrics->lock, NULL);
}

void metrics_close(struct metrics *metrics)
{
    pthread_mutex_destroy(&metrics->lock);
}

void metrics_observe(struct metrics *metrics, struct histogram *histogram, double seconds)
{
    int i = 0;
    while (i < HISTOGRAM_BOUNDS && seconds > bounds[i])
        i++;
    pthread_mutex_lock(&metrics->lock);
    histogram->counts[i]++;
    histogram->sum += seconds;
    pthread_mutex_unlock(&metrics->lock);
}

void metrics_refused(struct metrics *metrics)
{
    pthread_mutex_lock(&metrics->lock);
    metrics->refused++;
    pthread_mutex_unlock(&metrics->lock);
}

static void put_type(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(FILE *out, const char *name, const char *type, const char *help,
                      const char *model, double value)
{
    put_type(out, name, type, help);
    fprintf(out, "%s{model_name=\"%s\"} %.17g\n", name, model, value);
}

static void put_histogram(FILE *out, const char *name, const char *help,
                          const char *model, const struct histogram *h)
{
    put_type(out, name, "histogram", help);
    uint64_t count = 0;
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        count += h->counts[i];
        fprintf(out, "%s_bucket{model_name=\"%s\",le=\"%g\"} %llu\n", name, model,
                bounds[i], (unsigned long long)count);
    }
    count += h->counts[HISTOGRAM_BOUNDS];
    fprintf(out, "%s_bucket{model_name=\"%s\",le=\"+Inf\"} %llu\n", name, model,
            (unsigned long long)count);
    fprintf(out, "%s_sum{model_name=\"%s\"} %.9g\n%s_count{model_name=\"%s\"} %llu\n",
            name, model, h->sum, name, model, (unsigned long long)count);
}

static void put_scheduler(FILE *out, const struct scheduler_stats *s, const char *model)
{
    static const char *const reasons[] = {"stop", "length", "abort", "handoff", "error"};
    uint32_t used = s->blocks - s->blocks_free;
    put_value(out, "vllm:num_requests_running", "gauge", "Requests in the batch", model,
              s->running);
    put_value(out, "vllm:num_requests_waiting", "gauge",
              "Requests that wait, for a place or for their KV", model,
              s->waiting + s->loading);
    put_value(out, "vllm:kv_cache_usage_perc", "gauge", "1 is a full KV cache", model,
              s->blocks == 0 ? 0 : (double)used / s->blocks);
    put_value(out, "vllm:prompt_tokens_total", "counter", "Prompt tokens computed", model,
              (double)s->prompt_tokens);
    put_value(out, "vllm:generation_tokens_total", "counter", "Tokens generated", model,
              (double)s->generated_tokens);
    put_value(out, "vllm:num_preemptions_total", "counter",
              "Requests pushed out of a full KV cache", model, (double)s->preemptions);
    put_value(out, "vllm:prefix_cache_queries_total", "counter", "Tokens looked for",
              model, (double)s->prefix_queries);
    put_value(out, "vllm:prefix_cache_hits_total", "counter", "Tokens found", model,
              (double)s->prefix_hits);
    put_type(out, "vllm:request_success_total", "counter", "Requests ended, by reason");
    for (int i = 0; i <= FINISH_ERROR; i++)
        fprintf(
            out,
            "vllm:request_success_total{model_name=\"%s\",finished_reason=\"%s\"} %llu\n",
            model, reasons[i], (unsigned long long)s->finished[i]);
}

static void put_own(FILE *out, const struct scheduler_stats *s)
{
    const struct {
        const char *state;
        uint32_t count;
    } rows[] = {
        {"total", s->blocks},
        {"free", s->blocks_free},
        {"offered", s->blocks_offered},
        {"quarantined", s->blocks_quarantined},
    };
#define VERDICT_TEXT(name, value, text) [value] = (text),
    static const char *const verdicts[] = {SEGUE_VERDICT_MAP(VERDICT_TEXT)};
#undef VERDICT_TEXT
    put_type(out, "segue_engine_kv_blocks", "gauge", "Blocks of the KV cache");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fprintf(out, "segue_engine_kv_blocks{state=\"%s\"} %u\n", rows[i].state,
                rows[i].count);
    put_type(out, "segue_engine_loading", "gauge", "Requests whose KV is on its way");
    fprintf(out, "segue_engine_loading %u\n", s->loading);
    put_type(out, "segue_engine_steps_total", "counter", "Steps of the model");
    fprintf(out, "segue_engine_steps_total %llu\n", (unsigned long long)s->steps);
    put_type(out, "segue_engine_offers_total", "counter", "Prompts offered to others");
    fprintf(out, "segue_engine_offers_total %llu\n", (unsigned long long)s->offers);
    put_type(out, "segue_engine_loaded_tokens_total", "counter", "Tokens of KV loaded");
    fprintf(out, "segue_engine_loaded_tokens_total %llu\n",
            (unsigned long long)s->loaded_tokens);
    put_type(out, "segue_engine_handoffs_total", "counter", "Loads ended, by verdict");
    for (int i = SEGUE_VERDICT_VALID; i <= SEGUE_VERDICT_CANCELLED; i++)
        fprintf(out, "segue_engine_handoffs_total{verdict=\"%s\"} %llu\n", verdicts[i],
                (unsigned long long)s->verdicts[i]);
}

char *metrics_text(struct metrics *metrics, const struct scheduler_stats *stats,
                   const char *model, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (out == NULL)
        return NULL;
    put_scheduler(out, stats, model);
    pthread_mutex_lock(&metrics->lock);
    struct histogram first = metrics->first_token, between = metrics->between_tokens,
                     whole = metrics->whole;
    uint64_t refused = metrics->refused;
    pthread_mutex_unlock(&metrics->lock);
    put_histogram(out, "vllm:time_to_first_token_seconds", "From request to first token",
                  model, &first);
    put_histogram(out, "vllm:inter_token_latency_seconds", "Between two tokens", model,
                  &between);
    put_histogram(out, "vllm:e2e_request_latency_seconds", "From request to last token",
                  model, &whole);
    put_own(out, stats);
    put_type(out, "segue_engine_requests_refused_total", "counter",
             "Requests answered with an error before they were scheduled");
    fprintf(out, "segue_engine_requests_refused_total %llu\n",
            (unsigned long long)refused);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
