/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a completion request, checked field by field. */
#ifndef ENGINE_API_PARAMS_H
#define ENGINE_API_PARAMS_H

#include "api.h"

#include <jansson.h>

enum { STOPS_MOST = 16, STOP_TOKENS_MOST = 64, N_MOST = 16, USES_MOST = 4096 };

struct api_params {
    json_t *root; /* what the strings below lie in */
    bool chat, stream, include_usage, return_token_ids, tokens_as_ids, include_stop,
        show_special;
    uint32_t n;
    uint32_t *prompt; /* tokens */
    uint32_t prompt_count;
    bool prompt_was_tokens;
    uint32_t max_tokens, min_tokens;
    bool ignore_eos;
    bool logprobs;
    uint32_t top_logprobs;
    struct sampling sampling;
    char *stops[STOPS_MOST]; /* lie in root */
    size_t stop_count;
    uint32_t stop_tokens[STOP_TOKENS_MOST];
    uint32_t stop_token_count;
    const char *cache_salt; /* NULL: none */
    enum request_role role;
    uint32_t uses;   /* prefill: how many answers will be decoded from its offer */
    char *kv_params; /* JSON text; NULL: none */
};

/* Reads a body. The caller owns what it fills (api_params_close), also after -1, which
 * comes with *error filled. */
int api_params_read(struct api_params *params, const struct api *api, const char *body,
                    size_t length, bool chat, struct api_error *error);
void api_params_close(struct api_params *params);

#endif
