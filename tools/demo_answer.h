/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of the OpenAI API, whole or as a stream of events, fed piece by piece, and
 * the comparison of two. Every byte of it is hostile. Pure. */
#ifndef TOOLS_DEMO_ANSWER_H
#define TOOLS_DEMO_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Below this gap between the best two logits the order of additions may decide. */
#define ANSWER_TIE 0.01

struct answer {
    bool stream; /* set by the caller: server-sent events */
    char *text;  /* owned, with a NUL at the end and perhaps others inside */
    size_t text_length;
    uint32_t *tokens;
    size_t token_count;
    double *gaps; /* logit of the chosen token minus the next best; NAN: not told */
    size_t gap_count;
    uint32_t prompt_tokens;
    double first_token_ms; /* when the first token of a stream came; below 0: never */
    bool done;             /* the end was seen: [DONE], or a whole answer */
    char error[64];        /* error.code or error.type, "" */
    char message[256];     /* error.message, or what is wrong with the answer */

    char *bytes; /* private: what is not parsed yet */
    size_t used, room;
};

void answer_init(struct answer *answer, bool stream);
void answer_free(struct answer *answer);

/* What: takes the next bytes, which came `ms` after the request was sent. */
void answer_feed(struct answer *answer, const void *bytes, size_t len, double ms);

/* What: no more comes: parses what is left. */
void answer_end(struct answer *answer);

/* What: are the tokens equal up to the first gap of the reference that is not above
 * ANSWER_TIE? If not, *at is the first token that differs. Both must have ended well. */
bool answer_parity(const struct answer *answer, const struct answer *reference,
                   size_t *at);

/* What: the smallest gap of an answer; NAN when none was told. */
double answer_smallest_gap(const struct answer *answer);

#endif
