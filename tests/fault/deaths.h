/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines in child processes that can be killed or stopped at any moment, and what this process holds of them. Children
 * are forked before this process opens an agent of its own.
 */
#ifndef TESTS_FAULT_DEATHS_H
#define TESTS_FAULT_DEATHS_H

#include "conformance/handoff_pair.h"

#include <signal.h>
#include <sys/types.h>

#define LEASE_NS   8000000000u
#define PATIENCE   10.0 /* seconds; PROTOCOL says 2, a loaded machine is given more */
#define TOKENS_MAX 1024

enum child_order {
    CHILD_OPEN,   /* opens its engine */
    CHILD_MINT,   /* producer: mints an offer and names no blocks yet */
    CHILD_OFFER,  /* producer: fills blocks with the pattern of `salt` and offers them */
    CHILD_ENDED,  /* producer: waits for its offer's end */
    CHILD_HOLD,   /* consumer: opens a group and holds */
    CHILD_CLAIM,  /* consumer: claims; answers at once */
    CHILD_SETTLE, /* consumer: waits for the claim's end */
    CHILD_QUIT,
};

struct order {
    enum child_order what;
    uint32_t tokens, salt;
    struct segue_ticket ticket;
};

struct answer {
    enum segue_verdict verdict;
    uint64_t differs;
    struct segue_ticket ticket;
};

struct child {
    pid_t pid;
    int fd;
};

/* A geometry and a path to try it over. */
struct way {
    const char *path;
    struct geometry producer, consumer;
};
extern const struct way ways[];
extern const size_t n_ways;

void way_open(struct engine *e, const struct way *way, bool producer);

struct child child_fork(const struct way *way, bool producer);
void child_order(struct child *c, const struct order *order); /* does not wait */
struct answer child_answer(struct child *c);
struct answer child_do(struct child *c, enum child_order what, uint32_t tokens,
                       uint32_t salt, const struct segue_ticket *ticket);
void child_end(struct child *c, int sig); /* kills it with `sig`, or lets it quit (0) */

double seconds_now(void);
void sleep_for(double seconds);

/* Descriptors, and mappings of shared memory, of this process. */
struct held {
    int fds, mappings;
};
struct held held_now(void);
void held_again(struct held want); /* fails the test when it does not come to that */

#endif
