/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: the one control connection between two agents, over a unix socket (rule R22: without a key nothing else).
 * Connects on first need (R17), says hello, carries frames and descriptors, notices the peer's death (socket end,
 * pidfd: R18), and closes itself when it has had no business for a while.
 *
 * Thread: the agent's, all of it.
 */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include "agent/agent.h"
#include "base/timer.h"

#define SEGUE_FRAME_MAX (1u << 20) /* bytes of a frame's body */

/* Services by frame type (docs/wire.md). */
enum segue_service_type {
    SEGUE_SERVICE_LINK = 0, /* hello, error, data streams */
    SEGUE_SERVICE_CACHE = 1,
    SEGUE_SERVICE_HANDOFF = 2,
    SEGUE_SERVICE_STAGE = 3,
};

struct segue_frame {
    uint8_t service, type;
    const uint8_t *body;
    uint32_t len; /* bytes */
    int *fds;
    uint32_t n_fds;
};

/* What a peer says of itself (hello), bounds checked. */
struct segue_hello {
    uint16_t version, version_min;
    uint8_t incarnation[16], agent_id[16], boot_id[16];
    char engine_id[64];
    uint16_t data_port; /* loopback TCP port of its data listener; 0: none */
};

struct segue_link {
    struct segue_list list; /* agent->links */
    struct segue_agent *agent;
    struct segue_hello peer;
    int pid, pidfd;    /* from the socket's credentials */
    bool dialled;      /* we connected; else they did */
    bool up;           /* hello has been exchanged */
    uint32_t business; /* open claims, offers being read, ...: not idle while > 0 */
    void *state[SEGUE_SERVICES_MAX]; /* a slot for each service, freed by its `gone` */
    struct segue_link_io *io;        /* link.c */
};

/* Somebody waiting for a link, or for a transport's connection on one. */
struct segue_link_wait {
    void (*done)(struct segue_link_wait *wait,
                 enum segue_status status); /* once, unless cancelled */
    void *user;
    struct segue_link *link;             /* result */
    struct segue_connection *connection; /* result of segue_link_connect */
    char why[256];                       /* result: the sentence */
    struct segue_list list;              /* private; empty when not waiting */
};

/* What: the link to the agent that listens at `address` ("unix:/path"), made when there is none. `incarnation`
 * (16 bytes, may be NULL) must be the peer's: another one is E_STALE, naming both (R1). `done` may run inside
 * the call when the link is up. Deadline: opts.connect_ns. E_LOST: nobody listens; E_REFUSED: the address may
 * not be followed (not "unix:", socket of another uid). */
void segue_link_get(struct segue_agent *agent, const char *address,
                    const uint8_t *incarnation, struct segue_link_wait *wait);
void segue_link_wait_cancel(struct segue_link_wait *wait);

/* What: this link's connection of transport `row`, made when there is none: at once for transports that need only
 * the peer's pid; for tcp a data stream is dialled to the peer's loopback port and proved with a one-time secret
 * asked for over this link. Borrowed: the link's life; when the link goes, every operation on it ends first. */
void segue_link_connect(struct segue_link *link, size_t row,
                        struct segue_link_wait *wait);

/* What: queues one frame (header, body, descriptors duplicated). Never blocks. A peer that does not read until
 * 64 MiB wait is dropped. Fails only when the link is going down: ignore that, `gone` follows. */
enum segue_status segue_link_send(struct segue_link *link, uint8_t service, uint8_t type,
                                  const void *body, uint32_t len, const int *fds,
                                  uint32_t n_fds);

void segue_link_business(struct segue_link *link, int change); /* +1, -1 */

/* What: ends the link; every service hears `gone` with the sentence, from the loop, not from inside this call. */
void segue_link_close(struct segue_link *link, const char *why);

#endif
