/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls of the demo, several at once, on one thread. */
#ifndef TOOLS_DEMO_HTTP_H
#define TOOLS_DEMO_HTTP_H

#include "demo_answer.h"

#include <jansson.h>

struct http_call {
    char url[160];
    const char *body;       /* JSON to post; NULL: GET */
    const char *request_id; /* X-Request-Id, or NULL */
    /* Filled in: */
    struct answer *answer; /* gets the bytes as they come; NULL: they go to `bytes` */
    char *bytes;           /* owned by the caller, NUL terminated */
    size_t used;
    long status;     /* 0: no answer */
    char error[128]; /* why there was none */
    double began;    /* private */
    bool ended;
};

/* What: makes all calls at once and returns when each has ended, `seconds` have passed, or
 * `stop` says so. Calls cut off have status 0. */
void http_calls(struct http_call *calls, size_t count, double seconds,
                bool (*stop)(void *user), void *user);

/* What: GET of a JSON document. NULL with the reason in `error` (128 bytes). */
json_t *http_json(const char *url, char *error);

#endif
