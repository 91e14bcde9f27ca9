/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: the one control connection between two agents, over a unix socket on one host,
 * over TLS between hosts (rule R22). Connects on first need (R17), says hello, carries
 * frames and, over a unix socket, descriptors; notices the peer's death (socket end,
 * pidfd, a silent host: R18, R21b), and closes itself when it has had no business for a
 * while.
 *
 * Thread: the agent's, all of it.
 */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include "agent/agent.h"
#include "agent/caller.h"
#include "agent/link_io.h"
#include "base/timer.h"

/* One transport's connection on a link, and how it comes about (link_connect.c). */
struct segue_lane {
    struct segue_link *link;
    struct segue_connection *connection; /* NULL: none yet */
    struct segue_list waits;             /* segue_link_wait */
    bool begun;   /* a stream has been asked for, granted, or is being dialled */
    bool granted; /* by us: a stream with this secret may come */
    uint8_t secret[SEGUE_SECRET_BYTES];
    struct segue_timer deadline; /* while begun */
    bool secure;                 /* it has to come under TLS */
    struct segue_caller caller;  /* the stream being dialled */
};

struct segue_link {
    struct segue_list list; /* agent->links */
    struct segue_agent *agent;
    struct segue_hello peer;
    bool
        worn; /* a connection of it broke: nothing new begins on it, and it closes without
                  business */
    int pid, pidfd;    /* from the socket's credentials; 0 and -1 on another host */
    bool network;      /* over TCP: what needs one host is out of reach */
    bool dialled;      /* we connected; else they did */
    bool up;           /* hello has been exchanged */
    uint32_t business; /* open claims, offers being read, ...: not idle while > 0 */
    void *state[SEGUE_SERVICES_MAX]; /* a slot for each service, freed by its `forget` */
    char name
        [128]; /* for sentences: "engine 'p0' (pid 12)", "engine 'p0' (10.0.0.1:9000)" */

    /* private to link.c and link_connect.c */
    char path[108];             /* dialled: of the peer's socket, or its "tcp:" address */
    char where[80];             /* network: the other end's address and port */
    struct segue_address at;    /* dialled over TCP */
    struct segue_caller caller; /* while it is */
    struct segue_link_io io;
    bool connected; /* io is open */
    struct segue_watch death;
    struct segue_timer timer; /* dial and hello deadline, then the idle time */
    struct segue_timer retry; /* of a dial that met a full queue */
    uint64_t used_ns;         /* when it last had business or a frame */
    struct segue_list waits;  /* segue_link_wait, until up */
    struct segue_lane lanes[SEGUE_ROWS_MAX];
    bool closing;
    bool told;                /* the peer said why it closes: no need to answer */
    enum segue_status status; /* why it closes, with `why` */
    char why[256];
    struct segue_task end;
    struct segue_link_faults *faults; /* fault.c; NULL: nothing was done to it */
    uint32_t open_lanes; /* connections that have not gone yet while closing */
    void (*gone)(struct segue_link *link);
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
    uint8_t incarnation[16];             /* private: who must answer, when `strict` */
    bool strict;
};

/* What: the link to the agent that listens at `address` ("unix:/path", or "tcp:HOST:PORT"
 * with a numeric host), made when there is none. `incarnation` (16 bytes, may be NULL) must be the peer's: another one is
 * E_STALE, naming both (R1). `done` may run inside the call when the link is up.
 * Deadline: opts.connect_ns. E_LOST: nobody listens; E_REFUSED: the address may not be
 * followed (socket of another uid, another host without a key); E_AUTH: the peer does not
 * have the key. Without a key an address of this host leads to the unix socket. */
void segue_link_get(struct segue_agent *agent, const char *address,
                    const uint8_t *incarnation, struct segue_link_wait *wait);
void segue_link_wait_cancel(struct segue_link_wait *wait);

/* What: this link's connection of transport `row`, made when there is none: at once for
 * transports that need only the peer's pid; for tcp a data stream is dialled to the
 * peer's loopback port and proved with a one-time secret asked for over this link.
 * Borrowed: the link's life; when the link goes, every operation on it ends first. */
void segue_link_connect(struct segue_link *link, size_t row,
                        struct segue_link_wait *wait);

/* What: queues one frame (header, body, descriptors duplicated). Never blocks. A peer
 * that does not read until 64 MiB wait is dropped. Fails only when the link is going
 * down: ignore that, `gone` follows. */
enum segue_status segue_link_send(struct segue_link *link, uint8_t service, uint8_t type,
                                  const void *body, uint32_t len, const int *fds,
                                  uint32_t n_fds);

/* What: whether memory may be used by transport `row` over this link: over TCP nothing
 * that needs one host may. */
bool segue_link_reaches(const struct segue_link *link, size_t row);

void segue_link_business(struct segue_link *link, int change); /* +1, -1 */

/* What: ends the link; every service hears `gone` with the sentence, from the loop, not
 * from inside this call. The peer is told the sentence unless it is the one that is
 * gone. */
void segue_link_close(struct segue_link *link, const char *why);

/* ---- between link.c, link_dial.c, link_connect.c and control.c ---- */

/* What: a link in the agent's list, not connected, with the deadline of a first contact.
 * NULL: no memory. */
struct segue_link *segue_link_new(struct segue_agent *agent);
/* What: takes over a connected unix socket, finds out who is at its other end, and says
 * hello. */
enum segue_status segue_link_greet(struct segue_link *link, int fd);
/* What: the same over TCP, where the key has told who it is. */
enum segue_status segue_link_greet_network(struct segue_link *link,
                                           struct segue_socket socket);
/* What: frees a link that nobody has heard of yet. */
void segue_link_discard(struct segue_link *link);
/* What: a data connection of the link is broken: no new business. */
void segue_link_wear(struct segue_link *link);
/* What: segue_link_close, with a status for who waits for it. */
void segue_link_fail(struct segue_link *link, enum segue_status status, const char *why);

/* What: ends a wait: takes it out of its list, keeps the error's sentence in `why`, calls
 * done. */
void segue_link_wait_end(struct segue_link_wait *wait, enum segue_status status);
/* What: ends all of a list, with the error of this thread. */
void segue_link_waits_fail(struct segue_list *waits, enum segue_status status);
bool segue_link_is_awaited(const struct segue_link_wait *wait,
                           const struct segue_link *link);
/* What: ends a wait for a link that is up: OK, or E_STALE when another start was asked
 * for. */
void segue_link_answer(struct segue_link_wait *wait, struct segue_link *link);

/* What: a connection has come to our socket; takes the fd over. Fails when the peer may
 * not talk to us. */
enum segue_status segue_link_accept(struct segue_agent *agent, int fd);
/* What: a link has come by TCP, from `where`, and proved itself. */
enum segue_status segue_link_accept_network(struct segue_agent *agent,
                                            struct segue_socket socket,
                                            const char *where);

/* What: one message about data streams; a failure closes the link. */
enum segue_status segue_link_stream_frame(struct segue_link *link,
                                          const struct segue_frame *frame);
/* What: a data stream has come with this secret. OK when a link had granted it: then the
 * socket is taken over. E_AUTH: nobody knows the secret; E_REFUSED: it came in the clear
 * and was to come under TLS. */
enum segue_status segue_link_stream_arrived(struct segue_agent *agent,
                                            const uint8_t secret[SEGUE_SECRET_BYTES],
                                            struct segue_socket *socket);
void segue_lanes_open(struct segue_link *link);
/* What: fails who waits for a connection, with the link's `status` and `why`, and
 * disconnects what there is; `gone` is called when the last connection has gone, also at
 * once. */
void segue_lanes_close(struct segue_link *link, void (*gone)(struct segue_link *link));

#endif
