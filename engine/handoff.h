/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side of Segue: memory of a Segue device for the KV caches, offers for prompts that were prefilled here,
 * claims for prompts that are decoded here. It answers the scheduler through its connector, on a thread of its own that
 * sleeps on the agent's events.
 */
#ifndef ENGINE_HANDOFF_H
#define ENGINE_HANDOFF_H

#include "cache.h"
#include "connector.h"
#include "runner.h"
#include "scheduler.h"

#include <segue/claim.h>

struct handoff;

/* Negative controls: every hand-off is broken on purpose, to show that it is caught. */
enum handoff_corrupt {
    HANDOFF_WHOLE,
    HANDOFF_FLIP,  /* a bit of what arrives */
    HANDOFF_SWAP,  /* two blocks of what is offered */
    HANDOFF_CROSS, /* the claim is for another prompt than the ticket's */
};

/* How it reaches engines on other hosts, and they it (segue/agent.h). */
struct handoff_network {
    const char *key;       /* file of the cluster key; NULL: none */
    const char *listen;    /* ADDRESS:PORT; NULL: no other hosts */
    const char *advertise; /* NULL: what `listen` says */
    enum segue_encrypt encrypt;
    bool insecure;
};

struct handoff_opts {
    const char *engine_id;         /* NULL: random */
    const char *ipc_dir;           /* NULL: the agent's default */
    const char *require, *exclude; /* paths; NULL: any */
    struct handoff_network network;
    const char *device;        /* of the caches: "host", "sim:cuda", ... */
    const char *model;         /* two engines hand over only when equal */
    uint32_t tp;               /* ranks: caches[] has one each */
    uint32_t layers, kv_heads; /* of the whole model */
    uint32_t mover_threads;    /* 0: 1 */
    enum segue_digest digest;  /* what this engine's claims ask for */
    enum handoff_corrupt corrupt;
    const char *fault; /* a fault schedule, for tests; NULL: none */
};

/* Starts an agent, allocates the memory of all `caches` (planned; opts->tp of them) on the device and sets their bases to
 * what a kernel of that device sees, or, where the CPU cannot address it, to a working set in host memory (workset.h). The caches' memory lives until handoff_close. -1 with the sentence. */
int handoff_open(struct handoff **out, const struct handoff_opts *opts,
                 struct cache *caches);

extern const struct connector_ops handoff_connector; /* its user is the handoff */

/* Before every step of the model, on its thread: what it will write. */
void handoff_writes(struct handoff *handoff, const struct step_seq *seqs, uint32_t count);

/* Where the answers go; before the first request. host and port: of this engine's HTTP server, for kv_transfer_params. */
int handoff_start(struct handoff *handoff, struct scheduler *scheduler, const char *host,
                  uint32_t port);

/* Where engines on other hosts reach it; "": nowhere. Borrowed. */
const char *handoff_network_address(const struct handoff *handoff);

/* Ends all offers and claims; the scheduler gets its last answers. After scheduler_stop, before scheduler_close. */
void handoff_stop(struct handoff *handoff);
void handoff_close(struct handoff *handoff); /* frees memory and agent; NULL is allowed */

/* For the report of the last hand-off to this request: its first token came `ms` after it. Any thread. */
void handoff_first_token(struct handoff *handoff, const char *request, double ms);

/* The last hand-offs of this engine, newest last, as a JSON array for the caller to free; NULL: no memory. Any thread. */
char *handoff_reports(struct handoff *handoff);

#endif
