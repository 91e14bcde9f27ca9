/* SPDX-License-Identifier: Apache-2.0 */
/* Which path leads where, the pages about the engine itself, and the error envelope. */
#include "api.h"

#include "utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int api_fail(struct api_error *error, int status, const char *code, const char *param,
             const char *format, ...)
{
    *error = (struct api_error){.status = status, .code = code};
    error->type = status == 404   ? "not_found_error"
                  : status >= 500 ? "server_error"
                                  : "invalid_request_error";
    snprintf(error->param, sizeof error->param, "%s", param == NULL ? "" : param);
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    /* A cut in the middle of a character would make the envelope no JSON. */
    error->message[utf8_prefix(error->message, strlen(error->message))] = '\0';
    return -1;
}

char *api_error_text(const struct api_error *error)
{
    json_t *root = json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message",
                             error->message, "type", error->type, "param",
                             error->param[0] != '\0' ? error->param : NULL, "code",
                             error->code);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

char *api_error_body(int status, const char *message)
{
    struct api_error error;
    api_fail(&error, status, NULL, NULL, "%s", message);
    return api_error_text(&error);
}

static void answer_text(struct exchange *x, int status, const char *type, char *text)
{
    exchange_answer(x, status, type, text, text == NULL ? 0 : strlen(text));
}

static void answer_json(struct exchange *x, json_t *root)
{
    answer_text(x, 200, "application/json", json_dumps(root, JSON_COMPACT));
    json_decref(root);
}

void api_answer_error(struct exchange *x, const struct api_error *error)
{
    answer_text(x, error->status, "application/json", api_error_text(error));
}

static void models(const struct api *api, struct exchange *x)
{
    answer_json(x, json_pack("{s:s, s:[{s:s, s:s, s:I, s:s, s:s, s:n, s:I}]}", "object",
                             "list", "data", "id", api->model, "object", "model",
                             "created", (json_int_t)api->started, "owned_by", "segue",
                             "root", api->model, "parent", "max_model_len",
                             (json_int_t)api->context));
}

static void health(const struct api *api, struct exchange *x)
{
    answer_text(x, 200, "application/json", strdup("{}"));
}

static void metrics(const struct api *api, struct exchange *x)
{
    struct scheduler_stats stats;
    size_t length = 0;
    scheduler_stats(api->scheduler, &stats);
    char *text = metrics_text(api->metrics, &stats, api->model, &length);
    exchange_answer(x, text == NULL ? 500 : 200, "text/plain; version=0.0.4", text,
                    length);
}

static void handoffs(const struct api *api, struct exchange *x)
{
    char *text = api->handoffs != NULL ? api->handoffs(api->handoffs_user) : strdup("[]");
    answer_text(x, 200, "application/json", text);
}

static void completions(const struct api *api, struct exchange *x)
{
    api_generate(api, x, false);
}

static void chat_completions(const struct api *api, struct exchange *x)
{
    api_generate(api, x, true);
}

void api_handle(void *user, struct exchange *x)
{
    static const struct {
        const char *method, *path;
        void (*serve)(const struct api *api, struct exchange *x);
    } routes[] = {
        {"POST", "/v1/completions", completions},
        {"POST", "/v1/chat/completions", chat_completions},
        {"GET", "/v1/models", models},
        {"GET", "/health", health},
        {"GET", "/metrics", metrics},
        {"GET", "/segue/handoffs", handoffs},
    };
    const char *allowed = NULL, *method = exchange_method(x);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (strcmp(routes[i].path, exchange_path(x)) != 0)
            continue;
        allowed = routes[i].method;
        if (strcmp(method, allowed) == 0 ||
            (strcmp(method, "HEAD") == 0 && strcmp(allowed, "GET") == 0)) {
            routes[i].serve(user, x);
            return;
        }
    }
    struct api_error error;
    if (allowed != NULL)
        api_fail(&error, 405, NULL, NULL, "%.200s takes %s", exchange_path(x), allowed);
    else
        api_fail(&error, 404, NULL, NULL, "there is no %.200s here", exchange_path(x));
    api_answer_error(x, &error);
}
