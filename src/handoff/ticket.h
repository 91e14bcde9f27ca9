/* SPDX-License-Identifier: Apache-2.0 */
/* The proof of a ticket: made by its producer, looked at before anything in it is used. */
#ifndef HANDOFF_TICKET_H
#define HANDOFF_TICKET_H

#include <segue/ticket.h>
#include "agent/agent.h"
#include "base/bytes.h"

#define SEGUE_TICKET_ROOM 384 /* bytes that hold any ticket */

/* What: the bytes of a ticket that its proof covers: all but the proof. Pure. */
void segue_ticket_write_proved(struct segue_writer *w, const struct segue_ticket *ticket);

/* What: fills in key and proof. Errors: segue_trust_own_key's. Agent's thread. */
enum segue_status segue_ticket_prove(struct segue_agent *agent,
                                     struct segue_ticket *ticket);

/* Where a ticket leads, best first; borrowed from the ticket. */
struct segue_ticket_places {
    const char *address[2];
    size_t n;
};

/* What: whether it was made by somebody who has one of our keys, and leads where we may
 * go (rule R22). E_REFUSED with the reason. Agent's thread. */
enum segue_status segue_ticket_check(struct segue_agent *agent,
                                     const struct segue_ticket *ticket,
                                     struct segue_ticket_places *out);

#endif
