/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One API request while it is answered: n choices of one prompt, each a request of the
 * scheduler. The first is submitted by the HTTP thread; from then on everything but `gone`
 * happens on the scheduler's thread. The others follow with the first's first token, when
 * the prompt is in the prefix cache.
 */
#ifndef ENGINE_CALL_H
#define ENGINE_CALL_H

#include "api_params.h"
#include "stop.h"
#include "utf8.h"

#include <time.h>

struct call;

struct choice {
    struct call *call;
    uint32_t index;
    struct request request;
    uint64_t id;            /* the scheduler's number, once submitted */
    bool submitted, opened; /* opened: a chat stream has told the role */
    struct utf8_stream utf8;
    struct stop_finder finder; /* what it holds is not shown yet */
    char *text;                /* all of it; not for streams */
    size_t text_length, text_room;
    json_int_t characters; /* of all token texts, for text_offset */
    uint32_t *tokens;
    uint32_t token_count, token_room;
    uint32_t sent_tokens; /* how many were in chunks */
    json_t *logprobs;     /* list of entries, of the next chunk or of all; NULL: none */
    enum finish finish;
    int stop_index;      /* of params.stops; -1 */
    uint32_t stop_token; /* TOKEN_NONE: none */
    uint32_t cached_tokens;
    char *kv_params; /* of the offer; NULL */
    double last_token;
};

struct call {
    const struct api *api;
    struct exchange *exchange;
    struct api_params params;
    int64_t created; /* seconds since 1970 */
    double began;    /* monotonic seconds */
    bool streaming, out_of_memory;
    struct api_error error; /* status 0: none */
    uint32_t ended;         /* choices */
    pthread_mutex_t lock;   /* for the two that follow, and each choice's id, submitted */
    bool gone;
    struct choice choices[]; /* params.n */
};

/* The lines of an answer; all text is malloc'ed, NULL: no memory. */
char *answer_whole(const struct call *call);
/* `shown` is text that no chunk has had; `last` adds the finish. Takes the pending token
 * ids and logprobs. */
char *answer_chunk(struct choice *choice, const char *shown, size_t length, bool last);
char *answer_role(const struct choice *choice);
char *answer_usage_chunk(const struct call *call);
/* One entry of the logprobs list. */
json_t *answer_logprob(struct choice *choice, const struct generated *generated);

#endif
