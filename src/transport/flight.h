/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in flight on a connection: its open operations, their deadlines, and the moment
 * when nothing can move any more. Every transport ends its operations here, so that
 * `done` runs exactly once and a connection is freed only when no thread touches it.
 *
 * Nobody ends an operation but the thread that moves its bytes. Others set `op->stop` (a
 * cancel, a deadline, a broken or closing connection) and wake the transport.
 */
#ifndef TRANSPORT_FLIGHT_H
#define TRANSPORT_FLIGHT_H

#include "base/list.h"
#include "base/loop.h"
#include "base/task.h"
#include "base/timer.h"

#include <pthread.h>

struct segue_connection;
struct segue_op;

struct segue_flight {
    struct segue_loop *loop;
    pthread_mutex_t lock;
    struct segue_list open; /* operations, by their `link` */
    size_t holds; /* operations until `done` has returned, tasks of the transport */
    enum segue_status broken; /* why nothing can be posted any more */
    bool closing;
    uint64_t armed_ns; /* when the timer looks at the deadlines next; never late */
    struct segue_timer timer;
    struct segue_task arm, end, tell;
    void (*lost)(void *user); /* the owner's: it broke by itself; once, on the loop's
                                 thread, unless it is being closed. May be NULL */
    void *lost_user;
    void (*gone)(void *user);
    void *gone_user;
};

/* For connect and disconnect verbs: the agent's thread. */
void segue_flight_init(struct segue_connection *conn, struct segue_loop *loop);
void segue_flight_fini(struct segue_connection *conn);

/* What: takes `op` in; any thread. Fails (E_LOST) on a connection that is broken or
 * closing. Then the operation ends by exactly one of the other two; `abandon` is for a
 * post that fails and calls no `done`. */
enum segue_status segue_flight_begin(struct segue_connection *conn, struct segue_op *op);
void segue_flight_abandon(struct segue_op *op);

/* What: ends `op`: when it did not succeed, with the reason it was stopped for, if it
 * was. Calls `done`. Any thread, without locks. */
void segue_flight_end(struct segue_op *op, enum segue_status status);

/* What: asks that `op` end with `why`, unless it has ended or been asked before. Any
 * thread. */
void segue_flight_stop(struct segue_op *op, enum segue_status why);

/* What: a task that will touch the connection, and its end. False when the connection
 * is about to be freed: then the task must not be started. */
bool segue_flight_hold(struct segue_connection *conn);
void segue_flight_release(struct segue_connection *conn);

/* What: nothing more can be posted, and everything open is asked to end E_LOST. Any
 * thread. */
void segue_flight_break(struct segue_connection *conn);

/* What: everything open is asked to end; when nothing is held any more the connection is
 * disconnected on the loop's thread and `gone` called. Owner of the loop only. */
void segue_flight_close(struct segue_connection *conn, void (*gone)(void *user),
                        void *user);

#endif
