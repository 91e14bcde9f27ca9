/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenAI API over one model: what its files share. */
#ifndef ENGINE_API_H
#define ENGINE_API_H

#include "chat.h"
#include "http.h"
#include "metrics.h"
#include "scheduler.h"
#include "tokenizer.h"

struct api {
    const char *model; /* the name clients use */
    const struct tokenizer *tokenizer;
    const struct chat_template *chat;
    struct scheduler *scheduler;
    struct metrics *metrics;
    uint32_t context, vocab;
    bool prefill, decode;                  /* the roles this engine has in a hand-off */
    int64_t started;                       /* seconds since 1970 */
    const struct connector_ops *connector; /* NULL: no part in hand-offs */
    void *connector_user;
    /* GET /segue/handoffs: a JSON array, malloc'ed; NULL: there is none. Any thread. */
    char *(*handoffs)(void *user);
    /* A request that was loaded from elsewhere has its first token, `ms` after it came. */
    void (*first_token)(void *user, const char *request, double ms);
    void *handoffs_user;
};

/* What an error answer says; the envelope is OpenAI's. */
struct api_error {
    int status;
    const char *type, *code; /* static; code may be NULL */
    char param[64];          /* the field that is wrong; "" for none */
    char message[512];
};

/* Fills *error and returns -1. `param` may be NULL. */
int api_fail(struct api_error *error, int status, const char *code, const char *param,
             const char *format, ...) __attribute__((format(printf, 5, 6)));

/* {"error": {...}}, malloc'ed; NULL: no memory. */
char *api_error_text(const struct api_error *error);
void api_answer_error(struct exchange *exchange, const struct api_error *error);

/* http_opts.handle and .error_body; `api` is the user pointer. */
void api_handle(void *api, struct exchange *exchange);
char *api_error_body(int status, const char *message);

/* POST /v1/completions and /v1/chat/completions. */
void api_generate(const struct api *api, struct exchange *exchange, bool chat);

#endif
