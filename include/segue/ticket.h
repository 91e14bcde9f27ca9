/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets: what travels with a request from the prefill engine through a router to the decode engine. A ticket names the
 * offer, the producer's endpoint, and what was prefilled; it rides inside `kv_transfer_params`, beside the keys that
 * today's proxies carry, so that no engine builds or parses that object by hand.
 *
 * A ticket is proved by its producer's key (rule R22): segue_group_open refuses one that was made or changed by anybody
 * else. Whoever has it may claim it, as often as its uses say, so it is as secret as the prompt.
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
    char network[64];  /* where other hosts reach it: "tcp:10.0.0.1:9000"; "": nowhere */
    uint8_t host[16];  /* the kernel's boot id there: equal on one host */
    uint8_t key[4];    /* id of the key that proves it */
    uint8_t mac[16];   /* the proof of all of the above */
};

/* What a router or a proxy may also want to read in kv_transfer_params; never trusted by Segue (rule R24). */
struct segue_params_extra {
    const char *request_id; /* the producer's name for the request; may be NULL */
    const char *host;       /* where its HTTP server listens; may be NULL */
    uint32_t port;
    uint32_t tp_size;
};

/* What: the ticket of an offer, proved with the cluster key, or without one with a key that is kept beside the agent's
 * control socket. E_STALE when the offer has ended; E_SYSTEM or E_REFUSED naming the key's file. Any thread. */
SEGUE_API enum segue_status segue_offer_ticket(segue_agent *agent,
                                               const struct segue_offer_id *id,
                                               struct segue_ticket *out);

/* What: writes the whole kv_transfer_params object as JSON text, NUL terminated, into `text` of `cap` bytes (2,048 are
 * enough without extras). `len` gets its length. E_LIMIT when it does not fit. Pure; any thread. */
SEGUE_API enum segue_status
segue_ticket_params_write(const struct segue_ticket *ticket,
                          const struct segue_params_extra *extra, char *text, size_t cap,
                          size_t *len);

/* What: reads the ticket out of a kv_transfer_params object (JSON text of `len` bytes, hostile). E_NOT_FOUND when the
 * object has no segue ticket, E_INVALID with the reason when it is malformed. Its proof is looked at when it is used. Pure;
 * any thread. */
SEGUE_API enum segue_status segue_ticket_params_read(const char *text, size_t len,
                                                     struct segue_ticket *out);

#ifdef __cplusplus
}
#endif
#endif
