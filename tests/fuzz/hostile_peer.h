/* SPDX-License-Identifier: Apache-2.0 */
/* The two sides of hostile_peer.c: a live agent that must stay whole, and sockets to lie to it. */
#ifndef TESTS_FUZZ_HOSTILE_PEER_H
#define TESTS_FUZZ_HOSTILE_PEER_H

#include <segue/claim.h>
#include "kv/cache.h"
#include "kv/cache_wire.h"

#include <stdbool.h>

#define PREY_BYTES                                                                       \
    8192 /* 4 blocks of 16 tokens, one layer, one head, K and V of 64 bytes */
#define PREY_TOKENS 32

struct peer {
    int fd[2];        /* as consumer, as producer; -1: none */
    int carried[4];   /* memfds: right, unsealed, too short; no memfd */
    uint64_t claimed; /* the pair of the agent's last claim on us */
    uint64_t digest;
};

struct prey {
    segue_agent *agent;
    segue_cache *cache;
    char *memory;
    struct segue_ticket ticket, bait; /* its offer; what it believes of the peer */
    int listener;                     /* where the bait leads */
    uint64_t claim;
    unsigned groups, claims; /* made, in this run */
    int fds;                 /* descriptors of the process while nobody is linked */
};

void prey_open(struct prey *prey);
void prey_offer(struct prey *prey);
void prey_revoke(struct prey *prey);
void prey_load(struct prey *prey, struct peer *peer,
               uint8_t how); /* claims by the bait */
void prey_cancel(struct prey *prey);
void prey_settled(
    struct prey *prey); /* aborts when anything is left, or was told twice */

void peer_open(struct peer *peer, struct prey *prey);
void peer_send(struct peer *peer, int fd, const void *data, size_t len, int carried);
void peer_sync(struct peer *peer,
               bool producer); /* until the agent has read everything */
void peer_await_commit(struct peer *peer, bool producer); /* a moment; it may not come */
void peer_leave(struct peer *peer, bool producer);

#endif
