/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP connection being made: connected, both greeted, the key proved (TLS), its opening
 * sent. Links and data streams are dialled alike.
 *
 *     connecting --> [greeting --> shaking -->] opened
 *               \--> asking, answered               (where is your unix socket?)
 *
 * The deadline is its owner's. Thread: the agent's.
 */
#ifndef AGENT_CALLER_H
#define AGENT_CALLER_H

#include "agent/agent.h"
#include "agent/frame.h"
#include "base/address.h"
#include "base/tls.h"

#define SEGUE_ANSWER_MAX 107 /* bytes of the path that answers WHERE */

enum segue_caller_state {
    SEGUE_CALLER_IDLE,
    SEGUE_CALLER_CONNECTING,
    SEGUE_CALLER_GREETING,
    SEGUE_CALLER_SHAKING,
    SEGUE_CALLER_ASKING,
};

/* Lives in its owner's object; zeroed memory is one that is idle. */
struct segue_caller {
    struct segue_agent *agent;
    /* Once, from the loop. OK: take the socket (and set its fd to -1), or read `answer`. */
    void (*done)(struct segue_caller *caller, enum segue_status status);
    void *user;
    bool secure;                           /* by the cluster key, under TLS */
    uint8_t opening[SEGUE_PREAMBLE_BYTES]; /* what is said first, under TLS inside */
    size_t opening_len;
    struct segue_socket socket;        /* result */
    char answer[SEGUE_ANSWER_MAX + 1]; /* result, when the opening is WHERE */
    /* private */
    enum segue_caller_state state;
    struct segue_watch watch;
    uint8_t in[SEGUE_ANSWER_MAX + 1];
    size_t got;
};

/* What: begins; the fields above `socket` have been set. On failure `done` does not run.
 * Errors: E_REFUSED (secure without a key), E_LOST, E_INVALID. */
enum segue_status segue_caller_start(struct segue_caller *caller,
                                     const struct segue_address *to);
/* What: gives up; `done` does not run. Harmless when it is idle. */
void segue_caller_stop(struct segue_caller *caller);

#endif
