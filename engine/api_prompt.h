/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt of a request: text, token ids or messages become tokens. */
#ifndef ENGINE_API_PROMPT_H
#define ENGINE_API_PROMPT_H

#include "api_params.h"

/* "prompt": a string, a list of token ids, or a list of one of them. */
int api_prompt_text(struct api_params *params, const struct api *api,
                    struct api_error *error);

/* "messages", through the model's chat template. */
int api_prompt_chat(struct api_params *params, const struct api *api,
                    struct api_error *error);

#endif
