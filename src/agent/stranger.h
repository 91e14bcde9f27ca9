/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections that have come and not yet proved what they are (rule R22): a data
 * stream by its one-time secret, a link by the cluster key. Their number and time are
 * bounded: one more than SEGUE_STRANGERS_MAX, and who has waited longest goes.
 *
 * Thread: the agent's.
 */
#ifndef AGENT_STRANGER_H
#define AGENT_STRANGER_H

#include "agent/agent.h"

#define SEGUE_STRANGERS_MAX 64

/* What: takes over a connection. `network`: it came by the listener for other hosts;
 * otherwise only data streams are let in. */
void segue_stranger_meet(struct segue_agent *agent, int fd, bool network);

/* What: closes all of them. */
void segue_strangers_close(struct segue_agent *agent);

#endif
