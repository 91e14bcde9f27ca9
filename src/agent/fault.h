/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults of an agent (base/fault.h): which steps of a hand-off a schedule may name, and what is done to the messages of a
 * link. docs/faults.md lists the steps. Without a schedule each of these is one comparison.
 *
 * Thread: the agent's.
 */
#ifndef AGENT_FAULT_H
#define AGENT_FAULT_H

#include "agent/link.h"
#include "base/fault.h"

/* What: reads agent->opts.fault into agent->faults. E_INVALID naming line and word. */
enum segue_status segue_agent_faults_open(struct segue_agent *agent);

/* What: a step that is no message and no byte ("offer", "named", "arrived", "released", "ended") is passed. True when
 * `what` (SEGUE_FAULT_FLIP, _SWAP) is planned there. Any thread. */
bool segue_agent_fault(struct segue_agent *agent, const char *step,
                       enum segue_fault_what what);

/* What: a message is about to go out, or to be acted on. True: it is not, or not now. */
bool segue_link_fault_send(struct segue_link *link, const struct segue_frame *frame);
bool segue_link_fault_receive(struct segue_link *link, const struct segue_frame *frame);

/* What: `done` of `count` pieces of a packed hand-off over shared memory have gone through (first-byte, mid-copy and
 * last-byte of a way without a stream). */
void segue_link_fault_piece(struct segue_link *link, uint32_t done, uint32_t count);

/* What: frees what is held back; the link goes. */
void segue_link_fault_free(struct segue_link *link);

/* What: acts on a frame (link.c). */
enum segue_status segue_link_dispatch(struct segue_link *link, struct segue_frame *frame);

#endif
