/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real agents on a leash: the messages of a hand-off, the copies of a device and the work of its streams happen when the
 * test says so, one at a time.
 */
#ifndef TESTS_MODEL_HELD_H
#define TESTS_MODEL_HELD_H

#include "conformance/handoff_pair.h"
#include "handoff/handoff.h"

#include <pthread.h>
#include <segue/sim.h>

/* ---- messages: what has come to an agent and was not acted on ---- */

struct held_frame {
    struct segue_link *link;
    struct segue_frame frame; /* owns frame.body */
};

#define HELD_MAX 64

struct held_wire {
    struct engine *engine; /* the receiver */
    enum segue_status (*frame)(struct segue_service *service, struct segue_link *link,
                               struct segue_frame *frame);
    pthread_mutex_t lock;
    struct held_frame held[HELD_MAX];
    size_t n;
    bool open; /* nothing is held any more */
};

void held_wire_open(struct held_wire *wire, struct engine *engine);
/* What: whether a message of this type from `sender` waits. */
bool held_wire_has(struct held_wire *wire, const struct engine *sender,
                   enum segue_handoff_frame type);
/* What: lets the sender's messages through, in order, up to the first of this type. */
void held_wire_deliver(struct held_wire *wire, const struct engine *sender,
                       enum segue_handoff_frame type);
/* What: lets only that one through. */
void held_wire_pick(struct held_wire *wire, const struct engine *sender,
                    enum segue_handoff_frame type);
void held_wire_let_go(struct held_wire *wire);

/* ---- copies: what a device was asked for and has not done ---- */

struct held_copies {
    struct segue_device_ops ops; /* laid over the device's */
    const struct segue_device_ops *real;
    struct segue_device *device;
    pthread_mutex_t lock;
    struct segue_copy_job *job;
    bool open;
};

void held_copies_open(struct held_copies *copies, struct engine *engine);
bool held_copies_has(struct held_copies *copies);
/* What: lets the copy be done; a device's copy cannot be cancelled once it was asked for (R7b). */
void held_copies_pass(struct held_copies *copies);
void held_copies_let_go(struct held_copies *copies);

/* ---- a stream that stands before a gate ---- */

struct held_stream {
    segue_sim_stream *stream;
    struct segue_sync sync;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    void (*work)(void *user); /* done when it opens; may be NULL */
    void *user;
};

void held_stream_open(struct held_stream *stream, struct engine *engine,
                      void (*work)(void *user), void *user);
/* What: opens the gate; the work is done and the agent has heard of it when this returns. */
void held_stream_pass(struct held_stream *stream, struct engine *engine);
void held_stream_close(struct held_stream *stream);

#endif
