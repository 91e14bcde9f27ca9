/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom an agent believes (rule R22): who has the cluster key, if there is one; who is the
 * same user on this host. Tickets are proved with the cluster key, or without one with a
 * key that lies beside the control sockets, in a folder of this user alone.
 *
 * Thread: the agent's.
 */
#ifndef AGENT_TRUST_H
#define AGENT_TRUST_H

#include "agent/agent.h"
#include "base/key.h"
#include "base/tls.h"

/* In the folder of the control sockets; made when missing, of mode 0600. */
#define SEGUE_TICKET_KEY_FILE "ticket.key"

/* What: reads the key file of option key. Errors: segue_keys_read's, and it is no error
 * that the option is not set. */
enum segue_status segue_trust_open(struct segue_agent *agent);
void segue_trust_close(struct segue_agent *agent);

/* What: the cluster keys; n is 0 when there are none. They are read again when the file
 * has changed; one that has become unreadable is logged, and the keys stay. Borrowed:
 * until the next call. */
const struct segue_keys *segue_trust_keys(struct segue_agent *agent);

/* What: TLS over a connection whose other end has one of these keys, copied. */
enum segue_status segue_trust_tls(struct segue_agent *agent, int fd, bool server,
                                  const struct segue_keys *keys, struct segue_tls **out);

/* What: which key to prove a ticket of ours with. Borrowed: until the next call. Errors: the
 * key file beside the sockets cannot be made or read. */
enum segue_status segue_trust_own_key(struct segue_agent *agent,
                                      const struct segue_key **out);

/* What: the key of that id, among the cluster keys and those of the folder in which the
 * unix socket `path` (may be NULL) lies. Borrowed: until the next call. E_REFUSED naming
 * the keys there are. */
enum segue_status segue_trust_find(struct segue_agent *agent, const char *path,
                                   const uint8_t id[SEGUE_KEY_ID_BYTES],
                                   const struct segue_key **out);

#endif
