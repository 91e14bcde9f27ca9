/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an agent can be reached: a unix socket in a folder of its user alone, for links;
 * a loopback port for their data streams; with option listen a port for both from other
 * hosts (rule R22). Who comes by TCP is a stranger at first (stranger.h).
 *
 * Thread: the agent's.
 */
#ifndef AGENT_CONTROL_H
#define AGENT_CONTROL_H

#include "agent/agent.h"

#define SEGUE_UNIX_PREFIX "unix:"
#define SEGUE_TCP_PREFIX  "tcp:"
#define SEGUE_LINKS_MAX   4096 /* a peer beyond is turned away */

/* What: makes the folder and the listeners, and sets agent->address and agent->network.
 * E_SYSTEM or E_REFUSED naming the path, E_INVALID or E_REFUSED naming the option. */
enum segue_status segue_control_open(struct segue_agent *agent);
/* What: nobody is let in any more; the socket file is gone. */
void segue_control_stop(struct segue_agent *agent);
void segue_control_close(struct segue_agent *agent);

/* What: the loopback port of the data listener. */
uint16_t segue_control_port(const struct segue_agent *agent);

#endif
