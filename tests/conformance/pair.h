/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes with a transport between them, as a conformance test needs them: the
 * child is the producer, the parent the consumer. Both are forked from one program and
 * build the same transfers from the same seed; handles and fds cross on a plain socket
 * pair.
 */
#ifndef TESTS_CONFORMANCE_PAIR_H
#define TESTS_CONFORMANCE_PAIR_H

#include "base/loop.h"
#include "base/pool.h"
#include "device/device.h"
#include "transport/transport.h"

#include <sys/types.h>

#define PAIR_REGIONS 2

/* One side. */
struct end {
    struct segue_loop *loop;
    struct segue_pool *pool;
    struct segue_transport *transport;
    struct segue_device *device;
    struct segue_connection *conn;
    void *memory[PAIR_REGIONS];
    struct segue_registration *reg[PAIR_REGIONS];
    struct segue_remote *remote[PAIR_REGIONS];
    uint64_t len; /* bytes of each region */
};

struct pair {
    size_t row;
    const char *producer, *consumer; /* devices */
    uint64_t len;                    /* bytes of each region */
    unsigned threads;                /* of the consumer's pool; 0: two */
    bool plain;                      /* do not fill them with the pattern */
    struct end here;                 /* the consumer's */
    pid_t child;
    int pidfd, control, stream;
    struct segue_handle handle[PAIR_REGIONS];
    char why[512]; /* why this transport does not connect these devices */
};

/* What: forks the producer, which fills its memory with pattern() and exports
 * it; registers and imports here. False when one side says that it cannot: `why` has
 * its sentence. */
bool pair_open(struct pair *pair);
void pair_close(struct pair *pair); /* also after the child was killed */

/* The producer posts a SEND of transfer_make(seed), or of `bytes` plain bytes when
 * they are not 0. */
void pair_ask_send(struct pair *pair, uint64_t tag, unsigned seed, uint64_t bytes);
void pair_ask_cancel(struct pair *pair); /* its last SEND */
/* Waits until the producer's SENDs have ended; returns the last one's status. */
enum segue_status pair_ask_status(struct pair *pair);
void pair_ask_withdraw(struct pair *pair); /* deregisters its memory */

/* An operation that remembers its end. */
struct probe {
    struct segue_op op;
    struct segue_loop *loop; /* woken at the end */
    struct segue_task task;
    bool ended; /* seen by the loop */
    _Atomic int dones;
    _Atomic int status;
    char detail[256];
};

/* What: an operation of this side's kind over all its regions, not yet posted. */
void probe_init(struct probe *probe, struct end *end, enum segue_op_kind kind,
                const struct segue_transfer *t, uint64_t timeout_ns);
/* What: turns the loop until it is done; its status. */
enum segue_status probe_wait(struct probe *probe, struct end *end);

bool end_open(struct end *end, size_t row, const char *device, uint64_t len,
              unsigned threads, char *why, size_t cap);
void end_close(struct end *end);

/* Device memory through the device's own copy, so that it works without a view. */
void end_write(struct end *end, size_t region, const void *from, uint64_t len);
void end_read(struct end *end, size_t region, void *to, uint64_t len);

/* What the producer's regions hold. `len` is a multiple of 8. */
void pattern(size_t region, void *out, uint64_t len);

/* A transfer that owns its moves and spans. */
struct plan {
    struct segue_transfer t;
    struct segue_move moves[6];
    struct segue_span spans[4096];
};

/* What: a random transfer between two sets of regions of `len` bytes: block tables of
 * different sizes and orders, any alignment, now and then nothing at all. `strided`
 * false: contiguous runs. */
void transfer_make(struct plan *plan, unsigned seed, uint64_t len, bool strided);

/* What: `bytes` from the start of region 0 to the start of region 0, in one piece. */
void transfer_plain(struct plan *plan, uint64_t bytes);

/* What: carries the transfer out by the words of move.h. */
void transfer_reference(const struct segue_transfer *t, char *const *src,
                        char *const *dst);

/* What: both ends of a connected TCP stream on loopback, blocking. */
void tcp_pair(int fds[2]);

#endif
