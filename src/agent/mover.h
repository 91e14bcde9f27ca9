/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mover's mapped and direct ways: one transport operation, reported back on the agent's thread. The packed way is
 * stage.h; whoever moves KV picks one of the two by the selected path.
 */
#ifndef AGENT_MOVER_H
#define AGENT_MOVER_H

#include "agent/agent.h"

/* Lives in its caller's object; zeroed memory is one that is not running. */
struct segue_mover {
    struct segue_agent *agent;
    void (*done)(
        struct segue_mover *mover,
        enum segue_status status); /* once, on the agent's thread: no byte of it can
                                                                          land any more; segue_error_detail says why */
    void *user;
    struct segue_op
        op; /* kind, transfer, local, remote, tag, deadline: filled in by the caller */
    struct segue_task report; /* private from here on */
    enum segue_status status;
    bool running;
    char why[256];
};

/* What: posts mover->op on `connection`. On failure `done` does not run. Agent's thread. */
enum segue_status segue_mover_start(struct segue_mover *mover,
                                    struct segue_connection *connection);

/* What: best effort; `done` still comes. Harmless when it is not running. Agent's thread. */
void segue_mover_cancel(struct segue_mover *mover);

#endif
