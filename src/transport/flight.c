/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lock a connection. Deadlines are looked at by one timer that is armed for the
 * earliest and never taken back: operations end without touching it, and it fires once
 * too often instead of costing every operation a visit to the loop.
 */
#include "transport/transport.h"

#include "base/clock.h"

static void arm_timer(struct segue_task *task);
static void check_deadlines(struct segue_timer *timer);
static void end_connection(struct segue_task *task);
static void tell_owner(struct segue_task *task);

void segue_flight_init(struct segue_connection *conn, struct segue_loop *loop)
{
    struct segue_flight *f = &conn->flight;
    f->loop = loop;
    pthread_mutex_init(&f->lock, NULL);
    segue_list_init(&f->open);
    f->armed_ns = SEGUE_NEVER;
    f->timer.fn = check_deadlines;
    f->timer.user = conn;
    f->arm.fn = arm_timer;
    f->arm.user = conn;
    f->end.fn = end_connection;
    f->end.user = conn;
    f->tell.fn = tell_owner;
    f->tell.user = conn;
}

void segue_flight_fini(struct segue_connection *conn)
{
    segue_loop_timer_cancel(conn->flight.loop, &conn->flight.timer);
    pthread_mutex_destroy(&conn->flight.lock);
}

static void arm_timer(struct segue_task *task)
{
    struct segue_connection *conn = task->user;
    struct segue_flight *f = &conn->flight;
    pthread_mutex_lock(&f->lock);
    uint64_t at = f->armed_ns;
    pthread_mutex_unlock(&f->lock);
    if (at != SEGUE_NEVER)
        segue_loop_timer_set(f->loop, &f->timer, at);
}

/* Called with the lock. */
static void set_stop(struct segue_op *op, enum segue_status why)
{
    if (op->stop)
        return;
    op->stop = why;
    op->job.cancelled = true;
}

static void wake(struct segue_connection *conn)
{
    if (conn->transport->ops->wake)
        conn->transport->ops->wake(conn);
}

static void check_deadlines(struct segue_timer *timer)
{
    struct segue_connection *conn = timer->user;
    struct segue_flight *f = &conn->flight;
    uint64_t now = segue_now_ns(), next = SEGUE_NEVER;
    bool stopped = false;
    pthread_mutex_lock(&f->lock);
    segue_list_each (link, &f->open) {
        struct segue_op *op = segue_container_of(link, struct segue_op, link);
        if (op->deadline_ns > now) {
            next = op->deadline_ns < next ? op->deadline_ns : next;
        } else if (!op->stop) {
            set_stop(op, SEGUE_E_TIMEOUT);
            stopped = true;
        }
    }
    f->armed_ns = next;
    pthread_mutex_unlock(&f->lock);
    if (next != SEGUE_NEVER)
        segue_loop_timer_set(f->loop, &f->timer, next);
    if (stopped)
        wake(conn);
}

enum segue_status segue_flight_begin(struct segue_connection *conn, struct segue_op *op)
{
    struct segue_flight *f = &conn->flight;
    bool earlier = false;
    op->connection = conn;
    op->stop = 0;
    op->job.cancelled = false;
    pthread_mutex_lock(&f->lock);
    enum segue_status broken = f->broken;
    if (!broken) {
        segue_list_push_back(&f->open, &op->link);
        f->holds++;
        earlier = op->deadline_ns < f->armed_ns;
        if (earlier)
            f->armed_ns = op->deadline_ns;
    }
    pthread_mutex_unlock(&f->lock);
    if (broken)
        return segue_fail(broken, "the %s connection is closed", conn->transport->name);
    if (earlier && segue_loop_is_owner(f->loop))
        segue_loop_timer_set(f->loop, &f->timer, op->deadline_ns);
    else if (earlier)
        segue_loop_post(f->loop, &f->arm);
    return SEGUE_OK;
}

static void leave(struct segue_op *op)
{
    struct segue_flight *f = &op->connection->flight;
    pthread_mutex_lock(&f->lock);
    segue_list_remove(&op->link);
    pthread_mutex_unlock(&f->lock);
}

void segue_flight_abandon(struct segue_op *op)
{
    leave(op);
    segue_flight_release(op->connection);
}

static void explain_stop(const struct segue_op *op, enum segue_status why)
{
    const char *name = op->connection->transport->name;
    switch (why) {
    case SEGUE_E_TIMEOUT:
        segue_fail(why, "the deadline passed after %lu of %lu bytes over %s",
                   (unsigned long)op->moved, (unsigned long)op->total, name);
        break;
    case SEGUE_E_CANCELLED:
        segue_fail(why, "cancelled after %lu of %lu bytes over %s",
                   (unsigned long)op->moved, (unsigned long)op->total, name);
        break;
    default:
        segue_fail(why, "the %s connection is closed", name);
    }
}

void segue_flight_end(struct segue_op *op, enum segue_status status)
{
    struct segue_connection *conn = op->connection;
    leave(op);
    enum segue_status stop = op->stop;
    if (status < 0 && stop) {
        status = stop;
        explain_stop(op, stop);
    }
    op->done(op, status);
    segue_flight_release(conn);
}

void segue_flight_stop(struct segue_op *op, enum segue_status why)
{
    struct segue_connection *conn = op->connection;
    if (!conn)
        return;
    pthread_mutex_lock(&conn->flight.lock);
    bool open = !segue_list_empty(&op->link);
    if (open)
        set_stop(op, why);
    pthread_mutex_unlock(&conn->flight.lock);
    if (open)
        wake(conn);
}

bool segue_flight_hold(struct segue_connection *conn)
{
    struct segue_flight *f = &conn->flight;
    pthread_mutex_lock(&f->lock);
    bool ending = f->closing && f->holds == 0;
    if (!ending)
        f->holds++;
    pthread_mutex_unlock(&f->lock);
    return !ending;
}

void segue_flight_release(struct segue_connection *conn)
{
    struct segue_flight *f = &conn->flight;
    pthread_mutex_lock(&f->lock);
    f->holds--;
    /* Under the lock, so that the loop cannot free the connection before it is let go. */
    if (f->closing && f->holds == 0)
        segue_loop_post(f->loop, &f->end);
    pthread_mutex_unlock(&f->lock);
}

static void stop_all(struct segue_connection *conn, enum segue_status why)
{
    struct segue_flight *f = &conn->flight;
    pthread_mutex_lock(&f->lock);
    if (!f->broken && why == SEGUE_E_LOST) {
        f->holds++;
        segue_loop_post(f->loop, &f->tell);
    }
    if (!f->broken)
        f->broken = SEGUE_E_LOST;
    segue_list_each (link, &f->open)
        set_stop(segue_container_of(link, struct segue_op, link), why);
    pthread_mutex_unlock(&f->lock);
    wake(conn);
}

static void tell_owner(struct segue_task *task)
{
    struct segue_connection *conn = task->user;
    struct segue_flight *f = &conn->flight;
    if (f->lost && !f->closing)
        f->lost(f->lost_user);
    segue_flight_release(conn);
}

void segue_flight_break(struct segue_connection *conn)
{
    stop_all(conn, SEGUE_E_LOST);
}

void segue_flight_close(struct segue_connection *conn, void (*gone)(void *user),
                        void *user)
{
    struct segue_flight *f = &conn->flight;
    f->gone = gone;
    f->gone_user = user;
    pthread_mutex_lock(&f->lock);
    f->holds++;
    f->closing = true;
    pthread_mutex_unlock(&f->lock);
    stop_all(conn, SEGUE_E_CANCELLED);
    segue_flight_release(conn);
}

static void end_connection(struct segue_task *task)
{
    struct segue_connection *conn = task->user;
    struct segue_flight *f = &conn->flight;
    /* Whoever posted this task may still be inside the lock. */
    pthread_mutex_lock(&f->lock);
    void (*gone)(void *user) = f->gone;
    void *user = f->gone_user;
    pthread_mutex_unlock(&f->lock);
    conn->transport->ops->disconnect(conn);
    if (gone)
        gone(user);
}
