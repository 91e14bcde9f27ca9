/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a router does to the bodies of an OpenAI request: reads one once, then writes what
 * the prefill engine and the decode engine get, as slices of the text that came.
 *
 * Rewriting only drops whole members and appends new ones before the last brace, so every
 * member that stays keeps its bytes and its place; a member that is there twice is
 * dropped twice. Pure: no I/O, no clock, no allocation. Everything is borrowed from the
 * body, which must outlive it. Any thread.
 */
#ifndef ROUTER_OPENAI_BODY_H
#define ROUTER_OPENAI_BODY_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Members that a rewrite may drop, duplicates included; a body with more is refused. */
#define SEGUE_BODY_EDITS  64
#define SEGUE_BODY_SLICES (2 * SEGUE_BODY_EDITS + 8)

struct segue_slice {
    const char *data;
    size_t len;
};

/* One member that some rewrite drops: offsets into the body. */
struct segue_body_edit {
    unsigned member; /* which of the members we know */
    size_t prev_end; /* where the member before it ends; 0: there is none */
    size_t next;     /* where the member behind it begins; 0: there is none */
};

struct segue_body {
    const char *data;
    size_t len;
    size_t first, end; /* where the first member begins and the last one ends */
    unsigned edits;
    struct segue_body_edit edit[SEGUE_BODY_EDITS];
    uint64_t uses; /* answers that will decode from one prefill: n or best_of */
    bool shared;   /* n or best_of is above 1: prefill is asked for one */
    bool stream;   /* the client wants server-sent events */
    bool max_completion_tokens; /* it is among the members */
    const char *local; /* why one engine must serve it whole; NULL: hand it over */
};

/* A body as it goes out: `tail` is ours, the other slices are the client's bytes. */
struct segue_rewrite {
    unsigned count;
    size_t len; /* of all slices together */
    struct segue_slice slice[SEGUE_BODY_SLICES];
    char tail[256];
};

/* What: reads a request body. Statuses: E_INVALID (no JSON object; the sentence names the
 * byte), E_LIMIT (too many duplicates). */
enum segue_status segue_body_scan(struct segue_body *body, const char *data, size_t len);

/* What: the body for the prefill engine: one token, no stream, and the parameters that
 * ask for a hand-off. */
void segue_body_for_prefill(const struct segue_body *body, struct segue_rewrite *out);

/* What: the body for the decode engine: the client's, with `params` (one JSON value, as
 * prefill gave it; empty for none) in place of every kv_transfer_params it held. */
void segue_body_for_decode(const struct segue_body *body, struct segue_slice params,
                           struct segue_rewrite *out);

/* What: the body for the decode engine when the client has left after prefill: it takes
 * the blocks over or lets go of them, and makes one token. */
void segue_body_for_nobody(const struct segue_body *body, struct segue_slice params,
                           struct segue_rewrite *out);

#endif
