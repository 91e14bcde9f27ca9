/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: what travels with a request from the prefill engine through a router to the decode engine. A ticket names the
 * offer, the producer's endpoint, and what was prefilled; it rides inside `kv_transfer_params`, beside the keys that
 * today's proxies carry, so that no engine builds or parses that object by hand.
 */
#ifndef SEGUE_TICKET_H
#define SEGUE_TICKET_H

#include <segue/offer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct segue_ticket {
    struct segue_offer_id id;
    struct segue_prompt_hash hash;
    uint32_t tokens;
    uint32_t uses;
    char engine_id[64];
    char address[108]; /* control socket of the producer's endpoint: "unix:/..." */
};

/* What a router or a proxy may also want to read in kv_transfer_params; never trusted by Segue (rule R24). */
struct segue_params_extra {
    const char *request_id; /* the producer's name for the request; may be NULL */
    const char *host;       /* where its HTTP server listens; may be NULL */
    uint32_t port;
    uint32_t tp_size;
};

/* What: the ticket of an offer. E_STALE when it has ended. Any thread. */
SEGUE_API enum segue_status segue_offer_ticket(segue_agent *agent,
                                               const struct segue_offer_id *id,
                                               struct segue_ticket *out);

/* What: writes the whole kv_transfer_params object as JSON text, NUL terminated, into `text` of `cap` bytes (1,024 are
 * enough without extras). `len` gets its length. E_LIMIT when it does not fit. Pure; any thread. */
SEGUE_API enum segue_status
segue_ticket_params_write(const struct segue_ticket *ticket,
                          const struct segue_params_extra *extra, char *text, size_t cap,
                          size_t *len);

/* What: reads the ticket out of a kv_transfer_params object (JSON text of `len` bytes, hostile). E_NOT_FOUND when the
 * object has no segue ticket, E_INVALID with the reason when it is malformed. Pure; any thread. */
SEGUE_API enum segue_status segue_ticket_params_read(const char *text, size_t len,
                                                     struct segue_ticket *out);

#ifdef __cplusplus
}
#endif
#endif
