/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an agent can be reached: a unix socket in a folder of its user alone, for links,
 * and a loopback port for data streams, which are let in by a one-time secret only. Who
 * may talk to us is decided here (rule R22).
 *
 * Thread: the agent's.
 */
#ifndef AGENT_CONTROL_H
#define AGENT_CONTROL_H

#include "agent/agent.h"

#define SEGUE_UNIX_PREFIX   "unix:"
#define SEGUE_LINKS_MAX     4096 /* a peer beyond is turned away */
#define SEGUE_STRANGERS_MAX 64   /* streams that have not proved themselves */

/* What: makes the folder and both listeners, and sets agent->address. E_SYSTEM or
 * E_REFUSED naming the path. */
enum segue_status segue_control_open(struct segue_agent *agent);
/* What: nobody is let in any more; the socket file is gone. */
void segue_control_stop(struct segue_agent *agent);
void segue_control_close(struct segue_agent *agent);

/* What: the loopback port of the data listener. */
uint16_t segue_control_port(const struct segue_agent *agent);

#endif
