/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes that hand KV over: the producer, a child that does what it is told over a
 * socket, and the consumer, which is the caller. Each has an agent and a cache of random
 * block order that is larger than the last-level cache, so that no hand-off finds its bytes
 * in one.
 */
#ifndef TOOLS_BENCH_PAIR_H
#define TOOLS_BENCH_PAIR_H

#include "folder.h"

#include <segue/claim.h>
#include "bench/reference.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The part of a model's KV cache that one hand-off carries. */
struct bench_shape {
    const char *size;
    uint32_t layers, heads, head_size, tokens;
    enum segue_dtype dtype;
    bool latent; /* MLA: K alone */
};

struct bench_paging { /* how a side keeps it */
    const char *order;
    uint32_t block_tokens;
};

struct bench_setup {
    struct bench_shape shape;
    struct bench_paging from, to;
    const char *path;                  /* nothing else may be used: "shm/mapped" */
    uint32_t threads;                  /* movers a side */
    uint32_t blocks;                   /* of each cache; 0: as many as fill it */
    const char *fault_from, *fault_to; /* fault schedules of the two agents; NULL: none */
};

struct bench_side {
    struct segue_layout layout;
    uint32_t needed;  /* blocks of one hand-off */
    uint32_t *order;  /* the cache's blocks, shuffled */
    uint32_t *blocks; /* room for one hand-off's */
    uint64_t room;    /* bytes of the cache */
    segue_agent *agent;
    segue_device *device;
    segue_region *region;
    segue_cache *cache;
    char *memory;
};

struct bench_pair {
    struct bench_setup setup;
    struct bench_side from, to;
    uint64_t bytes;    /* of one hand-off */
    uint32_t turn;     /* which blocks are next */
    struct folder dir; /* of sockets */
    pid_t child;
    int control, stream; /* to the child; `stream`: a bare TCP connection */
    char *far;           /* the child's cache, as the child addresses it */
    char *source;        /* memory like the cache's, for plain copies */
    bench_copy *copy;    /* the faster one; found at the first plain copy */
    uint64_t copied;     /* where the next begins */
    struct iovec *pieces_to, *pieces_from; /* room for a hand-off's */
    char why[320];                         /* of what returned false */
};

struct bench_times {
    double total; /* seconds from posting the claim to its verdict */
    double data;  /* of those, the data phase */
};

/* What: starts the child, which must be forked before this process has threads, and both
 * agents; hands over twice, the first time with digests over every byte. On failure too,
 * bench_pair_close. */
bool bench_pair_open(struct bench_pair *pair, const struct bench_setup *setup);
void bench_pair_close(struct bench_pair *pair);

/* What: the same without a consumer, for bench_pair_contact. */
bool bench_pair_open_producer(struct bench_pair *pair, const struct bench_setup *setup);

/* What: a consumer that has never met the producer claims twice, and is closed again. */
struct bench_contact {    /* seconds */
    double first, second; /* from posting the claim to its verdict */
    double map_in; /* from the first until the producer's cache is in the page tables */
};
bool bench_pair_contact(struct bench_pair *pair, struct bench_contact *contact);

/* What: one hand-off of the next blocks, to its end. */
bool bench_pair_hand_over(struct bench_pair *pair, enum segue_digest digest,
                          struct bench_times *times);

/* What: as many bytes by a plain copy from memory like the cache's, in seconds, by one
 * thread or two. It walks through the memory, as the hand-offs do. */
double bench_pair_copy(struct bench_pair *pair, unsigned threads);

/* What: as many bytes between the same memory without Segue, in seconds: the producer's
 * blocks by process_vm_readv (its tokens lie side by side: nhd), or a stretch of its cache
 * over the bare TCP connection. 0: see `why`. */
double bench_pair_read(struct bench_pair *pair);
double bench_pair_receive(struct bench_pair *pair);

/* What: CPU time of the child and of this process together, ns. 0: the child is gone. */
uint64_t bench_pair_cpu_ns(struct bench_pair *pair);

#endif
