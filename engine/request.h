/* SPDX-License-Identifier: Apache-2.0 */
/* What the API asks of the scheduler: a prompt, how to continue it, and whom to tell. */
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H

#include "sampler.h"
#include "tokenizer.h"

#include <segue/agent.h>

enum request_role {
    REQUEST_WHOLE,   /* prefill and decode here */
    REQUEST_PREFILL, /* prefill here, then offer the KV (do_remote_decode) */
    REQUEST_DECODE,  /* load the prompt's KV from elsewhere (do_remote_prefill) */
};

enum finish {
    FINISH_STOP,    /* end of text, a stop token, or the consumer said so */
    FINISH_LENGTH,  /* max_tokens, or the model's context is full */
    FINISH_ABORT,   /* scheduler_abort, or the scheduler ended */
    FINISH_HANDOFF, /* the prompt's KV did not come; see outcome.verdict */
    FINISH_ERROR,   /* outcome.message */
};

/* One new token; borrowed for the call. */
struct generated {
    uint32_t token;
    bool ends;     /* it is the end of text or a stop token: no text of the answer */
    float logprob; /* with logprobs asked for */
    uint32_t top_count;
    const struct token_logprob *top;
};

/* How it ended; borrowed for the call. */
struct outcome {
    enum finish finish;
    uint32_t stop_token;        /* the stop token that ended it; TOKEN_NONE else */
    uint32_t cached_tokens;     /* of the prompt, found in the prefix cache */
    const char *params;         /* of the offer that was made; NULL: none */
    enum segue_verdict verdict; /* FINISH_HANDOFF */
    const char *message;        /* FINISH_HANDOFF and FINISH_ERROR: one sentence */
};

/* The submitter's, who keeps it, and everything it points to, unchanged until `ended`. */
struct request {
    const uint32_t *prompt;
    uint32_t prompt_count; /* >= 1 */
    uint32_t max_tokens;   /* >= 1; more than the context has room for is legal */
    uint32_t min_tokens;   /* until then neither end of text nor stop tokens come */
    bool ignore_eos;
    bool logprobs;
    uint32_t top_logprobs; /* at most REQUEST_TOP_MOST */
    struct sampling sampling;
    const uint32_t *stop_tokens;
    uint32_t stop_count;
    const char *cache_salt; /* NULL: none */
    enum request_role role;
    const char *params; /* kv_transfer_params as JSON text; NULL with REQUEST_WHOLE */
    const char *name;   /* what the client calls it, for reports only; may be NULL */
    uint32_t answers;   /* to its prompt, this request's and its siblings'; 0: one */

    /* Called on the scheduler's thread; must not block, and must not wait for it. `token`
     * returns false to stop. Nothing is called after `ended`. */
    bool (*token)(struct request *request, const struct generated *generated);
    void (*ended)(struct request *request, const struct outcome *outcome);
    void *user;
};

#define REQUEST_TOP_MOST 20

#endif
