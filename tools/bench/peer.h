/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that does the same work with somebody else's library, one turn at a time, so
 * that its turns can stand between ours: bench/peers/NAME.py, run by the Python that
 * SEGUE_BENCH_PYTHON names (`make bench-deps` makes one).
 */
#ifndef TOOLS_BENCH_PEER_H
#define TOOLS_BENCH_PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct bench_peer {
    pid_t pid;
    FILE *in, *out;
    char libraries[64]; /* that it has, as it says */
    char why[200];      /* of what failed */
};

/* What: starts bench/peers/`script` with these arguments (NULL ends them), which must be
 * before this process has threads, and waits until it is ready. false: see `why`; nothing
 * is to be closed then. */
bool bench_peer_open(struct bench_peer *peer, const char *script,
                     const char *const *arguments);
void bench_peer_close(struct bench_peer *peer);

bool bench_peer_has(const struct bench_peer *peer, const char *library);

/* What: seconds of one turn; 0: see `why`. */
double bench_peer_run(struct bench_peer *peer, const char *library, unsigned threads);

#endif
