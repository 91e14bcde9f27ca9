/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets that can be believed: those of our offers, and what others hand to us. */
#include "handoff/handoff.h"
#include "handoff/ticket.h"

#include "agent/control.h"
#include "agent/trust.h"

#include <string.h>

#define PURPOSE "segue ticket 1"

static bool proof_of(const struct segue_ticket *ticket, const struct segue_key *key,
                     uint8_t mac[SEGUE_MAC_BYTES])
{
    uint8_t bytes[SEGUE_TICKET_ROOM];
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    segue_ticket_write_proved(&w, ticket);
    if (!w.failed)
        segue_key_mac(key, PURPOSE, bytes, w.len, mac);
    return !w.failed;
}

enum segue_status segue_ticket_prove(struct segue_agent *agent,
                                     struct segue_ticket *ticket)
{
    const struct segue_key *key;
    SEGUE_TRY(segue_trust_own_key(agent, &key));
    memcpy(ticket->key, key->id, sizeof ticket->key);
    if (!proof_of(ticket, key, ticket->mac))
        return segue_fail(SEGUE_E_INVALID,
                          "the ticket's engine id or address is too long");
    return SEGUE_OK;
}

/* ---- of our offers ---- */

struct ticket {
    const struct segue_offer_id *id;
    struct segue_ticket *out;
};

static enum segue_status make(struct segue_agent *agent, void *arg)
{
    struct ticket *t = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    struct segue_offer *offer = h ? segue_offer_find(h, t->id) : NULL;
    if (!offer)
        return segue_fail(SEGUE_E_STALE, "the offer has ended already");
    struct segue_ticket made = {
        .id = *t->id, .hash = offer->hash, .tokens = offer->tokens, .uses = offer->uses};
    memcpy(made.engine_id, agent->engine_id, sizeof made.engine_id);
    memcpy(made.host, agent->boot_id, sizeof made.host);
    _Static_assert(sizeof made.address <= sizeof agent->address,
                   "an address that fits is copied whole");
    if (strlen(agent->address) >= sizeof made.address)
        return segue_fail(SEGUE_E_LIMIT,
                          "the control socket's path is too long for a ticket: %s",
                          agent->address);
    strcpy(made.address, agent->address);
    strcpy(made.network, agent->network);
    _Static_assert(sizeof made.network == sizeof agent->network, "it is copied whole");
    SEGUE_TRY(segue_ticket_prove(agent, &made));
    *t->out = made;
    return SEGUE_OK;
}

enum segue_status segue_offer_ticket(struct segue_agent *agent,
                                     const struct segue_offer_id *id,
                                     struct segue_ticket *out)
{
    return segue_agent_call(agent, make, &(struct ticket){id, out});
}

/* ---- of others ---- */

static bool is_text(const char *text, size_t cap)
{
    return memchr(text, 0, cap) != NULL;
}

static enum segue_status check_proof(struct segue_agent *agent,
                                     const struct segue_ticket *ticket)
{
    size_t prefix = strlen(SEGUE_UNIX_PREFIX);
    bool local = strncmp(ticket->address, SEGUE_UNIX_PREFIX, prefix) == 0;
    const struct segue_key *key;
    uint8_t mac[SEGUE_MAC_BYTES];
    enum segue_status status = segue_trust_find(
        agent, local ? ticket->address + prefix : NULL, ticket->key, &key);
    if (status < 0)
        return segue_fail(status, "the ticket is not believed: %s", segue_error_detail());
    if (!proof_of(ticket, key, mac) || !segue_mac_equal(mac, ticket->mac, sizeof mac))
        return segue_fail(SEGUE_E_REFUSED,
                          "the ticket is forged or damaged: its proof does not fit");
    return SEGUE_OK;
}

/* Whether the socket lies in our own folder of sockets: the folder is what processes of
 * one host share when they are to share memory. */
static bool in_our_folder(const struct segue_agent *agent, const char *address)
{
    const char *path = address + strlen(SEGUE_UNIX_PREFIX), *end = strrchr(path, '/');
    size_t len = strlen(agent->opts.ipc_dir);
    return end && (size_t)(end - path) == len &&
           memcmp(path, agent->opts.ipc_dir, len) == 0;
}

/* The unix socket first, when it can be meant: it leads to shared memory. */
static enum segue_status choose_places(struct segue_agent *agent,
                                       const struct segue_ticket *ticket,
                                       struct segue_ticket_places *out)
{
    bool keyed = segue_trust_keys(agent)->n > 0 || agent->opts.insecure;
    bool network = ticket->network[0] && keyed;
    bool here = memcmp(ticket->host, agent->boot_id, sizeof ticket->host) == 0;
    out->n = 0;
    if (here && (!network || in_our_folder(agent, ticket->address)))
        out->address[out->n++] = ticket->address;
    if (network)
        out->address[out->n++] = ticket->network;
    if (out->n)
        return SEGUE_OK;
    if (!ticket->network[0])
        return segue_fail(SEGUE_E_REFUSED,
                          "the ticket is of another host, and its engine does not listen "
                          "for other hosts (option listen)");
    return segue_fail(SEGUE_E_REFUSED,
                      "the ticket leads to %s, and without a cluster key nothing but a "
                      "unix socket of this host is followed",
                      ticket->network);
}

enum segue_status segue_ticket_check(struct segue_agent *agent,
                                     const struct segue_ticket *ticket,
                                     struct segue_ticket_places *out)
{
    if (!is_text(ticket->engine_id, sizeof ticket->engine_id) ||
        !is_text(ticket->address, sizeof ticket->address) ||
        !is_text(ticket->network, sizeof ticket->network))
        return segue_fail(SEGUE_E_REFUSED, "the ticket is malformed");
    bool trusting = agent->opts.insecure && segue_trust_keys(agent)->n == 0;
    if (!trusting)
        SEGUE_TRY(check_proof(agent, ticket));
    return choose_places(agent, ticket, out);
}
