/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An agent is Segue inside one process: it owns devices, regions, caches, links to peers and one thread that
 * serves them. Nothing polls: an idle agent uses no CPU.
 *
 * What happens is told by events, read from one queue behind one eventfd. Every offer ends in one OFFER_ENDED;
 * every claim in one VERDICT and, when nobody can touch its blocks any more, one RELEASED.
 */
#ifndef SEGUE_AGENT_H
#define SEGUE_AGENT_H

#include <segue/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct segue_agent segue_agent;

/* What is encrypted on the way to another host. Control links always are, by the cluster key. */
enum segue_encrypt {
    SEGUE_ENCRYPT_CONTROL = 0,
    SEGUE_ENCRYPT_DATA, /* the KV too: slower, see docs/security.md */
};

struct segue_agent_opts {
    size_t
        size; /* sizeof, set by SEGUE_AGENT_OPTS_INIT; zero in any other field means its default */
    const char
        *engine_id; /* what people call this engine, at most 63 bytes; default: random */
    const char *
        ipc_dir; /* folder of the control sockets; made 0700 when missing. Default: $SEGUE_IPC_DIR,
                                else $XDG_RUNTIME_DIR/segue, else /tmp/segue-UID */
    const char *
        require; /* comma list of paths, as "shm/mapped,cma": nothing else may be used; default: any */
    const char *exclude;    /* comma list of paths that may not be used */
    uint32_t mover_threads; /* threads that copy; default 1 */
    uint64_t ring_bytes;    /* staging ring for packed hand-offs; default 32 MiB */
    uint64_t
        lease_ns; /* how long an unclaimed offer lives after its last hold; default 20 s */
    uint64_t renew_ns;   /* how often an open claim renews it; default 5 s */
    uint64_t park_ns;    /* how long a claim may wait for its offer; default 30 s */
    uint64_t connect_ns; /* deadline of a first contact; default 2 s */
    uint64_t claim_ns;   /* deadline of a claim that names none; default 30 s */
    uint64_t idle_ns;    /* a link without business is closed after this; default 60 s */
    const char *fault;   /* a fault schedule (docs/faults.md), for tests and demos only;
                            default: none */
    const char *
        key; /* file of the cluster key (segue/key.h), read again when it changes; default: none */
    uint64_t
        hold_ns; /* by how much holds, and after the first claim renewals, may prolong an offer
                         in all; default 300 s */
    const char *
        listen; /* "ADDRESS:PORT" for peers on other hosts, "10.0.0.1:0" picks a port; default: none. Beyond
                               loopback it needs a key */
    const char *
        advertise; /* "ADDRESS" or "ADDRESS:PORT": where others reach `listen`, when it is not what it says */
    uint32_t encrypt; /* enum segue_encrypt, of network links; either side may ask */
    uint32_t
        insecure; /* 1: talk to peers on other hosts without a key. Whoever reaches the port, or owns the
                           network, can then read and change everything */
    uint64_t silent_ns; /* a host that is silent as long as this is gone; default 5 s */
    /* A rank of an engine whose ranks are processes: all agents of the engine have one incarnation, and one of them is its
     * endpoint (segue_endpoint_open), the one address in its tickets. */
    const uint8_t *incarnation; /* 16 bytes, read during the call; NULL: random */
    const char
        *endpoint; /* its address: this agent's caches are one rank's; NULL: none */
    uint32_t rank, ranks; /* with an endpoint: which rank; of how many */
    uint32_t
        peer_claims; /* open claims of one peer, waiting ones included; default 1,024 */
};
#define SEGUE_AGENT_OPTS_INIT                                                            \
    {                                                                                    \
        .size = sizeof(struct segue_agent_opts)                                          \
    }

/* What: starts an agent: its thread, its control socket, its incarnation (128 random bits, rule R1). `opts` may be
 * NULL. Owned: segue_agent_destroy. Any thread. Errors: E_INVALID or E_RANGE naming the option, E_REFUSED
 * when ipc_dir or the key file is open to other users, E_NOT_FOUND (no key file), E_SYSTEM naming the path. */
SEGUE_API enum segue_status segue_agent_create(const struct segue_agent_opts *opts,
                                               segue_agent **out);

/* What: ends it: offers are revoked, claims cancelled and drained, links closed, everything freed, events dropped.
 * Caches still open are closed; regions are deregistered before.
 * Waits for copies in flight. NULL is legal. Not from a log sink. No other call on the agent may be running. */
SEGUE_API void segue_agent_destroy(segue_agent *agent);

/* What: the engine id; the address of its control socket. Borrowed: the agent's life. Any thread. */
SEGUE_API const char *segue_agent_engine_id(const segue_agent *agent);
SEGUE_API const char *segue_agent_address(const segue_agent *agent);

/* What: where peers on other hosts reach it ("tcp:10.0.0.1:9000"); "" without option listen. Borrowed. Any thread. */
SEGUE_API const char *segue_agent_network(const segue_agent *agent);

/* What: a file descriptor that is readable while events wait. Borrowed. Any thread. */
SEGUE_API int segue_agent_fd(const segue_agent *agent);

/* How a claim or a group ended; the names are what users and routers see (docs/wire.md section 3). */
#define SEGUE_VERDICT_MAP(X)                                                             \
    X(NONE, 0, "none")       /* not judged yet */                                        \
    X(VALID, 1, "valid")     /* every byte came from the offer while its lease held */   \
    X(STALE, 2, "stale")     /* the offer expired, was revoked, or is of a past start */ \
    X(LOST, 3, "lost")       /* the peer or the link died, or did not answer */          \
    X(CORRUPT, 4, "corrupt") /* digests differ */                                        \
    X(REFUSED, 5, "refused") /* prompt, model, layout or range do not fit */             \
    X(TIMEOUT, 6, "timeout") /* our deadline passed */                                   \
    X(CANCELLED, 7, "cancelled") /* our side gave up */

enum segue_verdict {
#define SEGUE_VERDICT_ENUM(name, value, text) SEGUE_VERDICT_##name = (value),
    SEGUE_VERDICT_MAP(SEGUE_VERDICT_ENUM)
#undef SEGUE_VERDICT_ENUM
};
SEGUE_API const char *segue_verdict_name(enum segue_verdict verdict);

enum segue_event_type {
    SEGUE_EVENT_OFFER_ENDED =
        1, /* nobody reads the offer's blocks any more: they are the engine's again */
    SEGUE_EVENT_VERDICT, /* how a claim ended */
    SEGUE_EVENT_RELEASED, /* the claim's blocks can be touched by nobody any more; its id is dead */
    SEGUE_EVENT_GROUP, /* all claims of a group have a verdict; `verdict` is the group's */
};

/* What a hand-off did, for reports; filled for VERDICT. */
struct segue_claim_report {
    char path[24];           /* "shm/mapped"; several: comma separated */
    uint64_t bytes_expected; /* tokens x layers x heads x content, producer's dtype */
    uint64_t bytes_moved;    /* that arrived in place of those */
    uint64_t
        bytes_staged; /* of those, how many went through a staging ring in host memory */
    uint64_t bytes_digest;                     /* read to compute digests */
    uint64_t digest_producer, digest_consumer; /* 0: none was asked for */
    uint64_t wait_ns;                          /* from posting to the producer's accept */
    uint64_t copy_ns;                          /* from accept to the last byte */
    uint64_t commit_ns;                        /* from the last byte to the verdict */
};

struct segue_event {
    enum segue_event_type type;
    enum segue_verdict verdict;
    uint64_t id;      /* claim or group; for OFFER_ENDED the offer's sequence */
    void *user;       /* as given when the object was made */
    char detail[256]; /* one sentence why; "" when valid */
    struct segue_claim_report report;
};

/* What: the oldest event, or E_NOT_FOUND when there is none (segue_agent_fd is then not readable). Never blocks. Any thread. */
SEGUE_API enum segue_status segue_event_next(segue_agent *agent,
                                             struct segue_event *event);

#ifdef __cplusplus
}
#endif
#endif
