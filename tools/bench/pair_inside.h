/* SPDX-License-Identifier: Apache-2.0 */
/* What the two processes of a pair say to each other: one packet each way. */
#ifndef TOOLS_BENCH_PAIR_INSIDE_H
#define TOOLS_BENCH_PAIR_INSIDE_H

#include "bench/pair.h"

enum bench_ask {
    BENCH_ASK_READY, /* opened? answer: where its cache lies */
    BENCH_ASK_OFFER, /* offer the blocks of turn `value`; answer: the ticket */
    BENCH_ASK_SEND,  /* `value` bytes of its cache over the bare connection; no answer */
    BENCH_ASK_CPU,   /* answer: CPU time used so far */
};

struct bench_request {
    enum bench_ask what;
    uint64_t value;
};

struct bench_answer {
    bool ok;
    char why[256];
    struct segue_ticket ticket;
    void *memory;
    uint64_t cpu_ns;
};

bool bench_pair_fail(struct bench_pair *pair, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What: the ticket of the producer's next hand-off. */
bool bench_pair_ask_offer(struct bench_pair *pair, struct segue_ticket *ticket);

/* What: agent and cache of one side. On failure too, bench_side_close. */
bool bench_side_open(struct bench_pair *pair, struct bench_side *side,
                     const char *require);
void bench_side_close(struct bench_side *side);

/* What: the blocks of hand-off number `turn`, in token order. Valid until the next call. */
const uint32_t *bench_side_blocks(struct bench_side *side, uint32_t turn);

uint64_t bench_cpu_ns(void); /* of this process */

/* What: the child: does what it is asked until the other end closes. */
_Noreturn void bench_producer(struct bench_pair *pair);

#endif
