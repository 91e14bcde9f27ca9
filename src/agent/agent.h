/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent from inside. All of its state, and that of everything built on it (links,
 * caches, offers, claims), belongs to its one thread: a public call is a task that runs
 * there (segue_agent_call), so no object here has a lock. Copies run on the pool and
 * report back as tasks of the loop.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <pthread.h>
#include <segue/agent.h>
#include <segue/cache.h>
#include "agent/event.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/pool.h"
#include "base/status.h"
#include "device/device.h"
#include "transport/transport.h"

#define SEGUE_ROWS_MAX     8 /* transports */
#define SEGUE_DEVICES_MAX  16
#define SEGUE_SERVICES_MAX 8

struct segue_link;
struct segue_frame;
struct segue_faults;

/* A user of the control links: cache descriptions, hand-offs, staging. `type` is the
 * frame header's service. */
struct segue_service {
    uint8_t type;
    /* One frame has come; body and fds are borrowed for the call (set an fd to -1 to keep
     * it). A failure is the peer's fault: the link is closed with the sentence. */
    enum segue_status (*frame)(struct segue_service *service, struct segue_link *link,
                               struct segue_frame *frame);
    /* The link is gone: nothing can be sent any more; `why` is a sentence. Its
     * connections still are there, and so may operations be; they end next. */
    void (*gone)(struct segue_service *service, struct segue_link *link, const char *why);
    /* The link's connections are gone too, no operation is left: free what was kept for
     * it. May be NULL. */
    void (*forget)(struct segue_service *service, struct segue_link *link);
    /* The agent ends: first `stop` for all services (cancel, revoke; the loop still runs
     * until `idle` says yes for all), then `close` frees. */
    void (*stop)(struct segue_service *service);
    bool (*idle)(struct segue_service *service);
    void (*close)(struct segue_service *service);
};

struct segue_agent {
    struct segue_agent_opts opts; /* defaults filled in; strings are copies */
    char engine_id[64];
    char address[128];  /* "unix:/path" of the control socket */
    char network[64];   /* "tcp:10.0.0.1:9000" for other hosts; "": nowhere */
    char endpoint[128]; /* of the engine, where this is not it; opts.endpoint */
    uint8_t incarnation[16], agent_id[16], boot_id[16];
    struct segue_loop *loop;
    struct segue_pool *pool;
    pthread_t thread;
    struct segue_device
        *devices[SEGUE_DEVICES_MAX]; /* opened on first use; host is [0] */
    size_t n_devices;
    struct segue_transport *transports[SEGUE_ROWS_MAX]; /* by row; NULL: see why */
    char transport_why[SEGUE_ROWS_MAX][160];
    struct segue_service *services[SEGUE_SERVICES_MAX]; /* by type; NULL: none */
    struct segue_list links;
    uint32_t n_links;
    struct segue_faults *faults; /* NULL: none are planned */
    struct segue_list strangers; /* stranger.c */
    uint32_t n_strangers;
    struct segue_events events;
    struct segue_trust *trust;     /* keys (trust.c) */
    struct segue_control *control; /* listeners and dialling (control.c) */
    uint64_t next_id;              /* claims, groups, tags: never re-used */
    bool stopping;                 /* segue_agent_destroy has begun: services cancel */
    bool ending;                   /* they have; no new links */
};

/* What: runs fn(agent, arg) on the agent's thread and returns what it returns, the
 * error's sentence included; directly when called there. Any thread. */
enum segue_status segue_agent_call(struct segue_agent *agent,
                                   enum segue_status (*fn)(struct segue_agent *agent,
                                                           void *arg),
                                   void *arg);

/* What: attaches a service. Agent's thread. */
void segue_agent_service_add(struct segue_agent *agent, struct segue_service *service);

/* A region: memory registered with every transport that can use it, or with none of them
 * and staged. */
struct segue_region {
    struct segue_agent *agent;
    struct segue_device *device;
    char *address;
    uint64_t len;
    uint64_t generation;                                      /* unique in the agent */
    struct segue_registration *registrations[SEGUE_ROWS_MAX]; /* by row; NULL: see why */
    char why[SEGUE_ROWS_MAX][160];
    uint32_t users; /* caches over it */
};

#endif
