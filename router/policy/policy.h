/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engine gets the next request, and which ones are left alone for a while.
 *
 * Pure: loads, time and turn are arguments, so the router and the simulator run the same
 * code. Any thread; the caller guards a breaker that threads share.
 */
#ifndef ROUTER_POLICY_POLICY_H
#define ROUTER_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGUE_PICK_NONE ((size_t)-1)

/* What an engine is busy with, as counted by whoever picks. */
struct segue_load {
    uint32_t requests; /* in flight */
    uint64_t tokens;   /* prompt tokens of those, estimated */
    uint32_t limit;    /* credits: requests it may hold at once; 0: no limit */
    bool usable;       /* false: its breaker keeps requests away */
    bool tried;        /* this request has been there already */
};

struct segue_ask {
    uint64_t tokens; /* estimate for the request to place */
};

/* A policy is what an engine would cost this request; the cheapest one gets it. */
struct segue_policy {
    const char *name;
    uint64_t (*cost)(const struct segue_load *load, const struct segue_ask *ask);
};

enum segue_pick_why {
    SEGUE_PICKED = 0,
    SEGUE_PICK_DOWN, /* every engine is shut off or has been tried */
    SEGUE_PICK_FULL, /* some would do, but have no credit left */
};

/* What: a policy by name: prefill_tokens, sequences, round_robin; NULL for others. */
const struct segue_policy *segue_policy_find(const char *name);

/* What: the cheapest engine that is usable, untried and has credit; among equals the turn
 * decides, so that idle engines take turns. Returns SEGUE_PICK_NONE with the reason in
 * `why` (may be NULL). */
size_t segue_policy_pick(const struct segue_policy *policy,
                         const struct segue_load *loads, size_t count,
                         const struct segue_ask *ask, uint64_t turn,
                         enum segue_pick_why *why);

/* What: a guess at the tokens of a body of so many bytes: about four a token. */
uint64_t segue_policy_tokens(uint64_t body_bytes);

/*
 * A breaker shuts an engine off after so many failures in a row and lets one trial through
 * when its pause is over; each failed trial doubles the pause. Failures are what says the engine cannot be
 * reached or serves nobody (no connection, a reset, 502, 503, 504); what one request
 * caused (4xx, 500, a client that left, a KV verdict) never counts.
 */
#define SEGUE_BREAKER_FAILURES   5
#define SEGUE_BREAKER_PAUSE_MS   1000
#define SEGUE_BREAKER_LONGEST_MS 30000

struct segue_breaker { /* zeroed is closed */
    uint32_t failures;
    uint32_t pause_ms;
    bool trial;             /* one request is finding out whether it works again */
    uint64_t shut_until_ms; /* 0: all may go there; else nobody before this time */
};

/* What: whether a request may go there now. */
bool segue_breaker_lets(const struct segue_breaker *breaker, uint64_t now_ms);

/* What: a request goes there: after a pause it is the trial, and others wait for it. */
void segue_breaker_begin(struct segue_breaker *breaker, uint64_t now_ms);

/* What: how it went. True when this report changed who may go there. */
bool segue_breaker_report(struct segue_breaker *breaker, bool well, uint64_t now_ms);

/* What: whether an engine's answer with this status counts as a failure. */
bool segue_breaker_counts(unsigned http_status);

#endif
