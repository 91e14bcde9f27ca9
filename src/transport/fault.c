/* SPDX-License-Identifier: Apache-2.0 */
/* See fault.h. Made for tests: a faulted operation has a thread of its own, which may sleep. */
#include "transport/fault.h"

#include "base/clock.h"
#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_NS   1000000 /* how often a held operation looks whether it was cancelled */
#define PUMPS_MAX 4096

static const char *const steps[] = {"first-byte", "mid-copy", "last-byte", NULL};

/* In place of the transport's table; the transport's own verbs stay within reach. */
struct overlay {
    struct segue_transport_ops ops;
    const struct segue_transport_ops *inner;
    struct segue_faults *faults;
    pthread_mutex_t lock;
    struct { /* pumps of stream connections; under the lock */
        struct segue_connection *conn;
        struct segue_pump *pump;
    } * pumped;
    size_t n_pumped;
};

static struct overlay *overlay_of(const struct segue_transport *t)
{
    return (struct overlay *)(uintptr_t)segue_container_of(t->ops, struct overlay, ops);
}

/* ---- one-sided operations ---- */

struct held {
    struct overlay *overlay;
    struct segue_op *op;  /* the caller's */
    struct segue_op half; /* what the transport gets to see */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    enum segue_status status;
    char why[256];
};

static void half_done(struct segue_op *op, enum segue_status status)
{
    struct held *held = op->user;
    pthread_mutex_lock(&held->lock);
    held->over = true;
    held->status = status;
    snprintf(held->why, sizeof held->why, "%s", status < 0 ? segue_error_detail() : "");
    pthread_cond_signal(&held->changed);
    pthread_mutex_unlock(&held->lock);
}

static void wait_for(const struct segue_op *op, uint64_t ns)
{
    struct timespec look = {0, LOOK_NS};
    for (uint64_t end = segue_now_ns() + ns; !op->stop && segue_now_ns() < end;)
        nanosleep(&look, NULL);
}

/* What is planned at `step` is done; how the operation goes on. */
static enum segue_status pass(struct held *held, const char *step)
{
    struct segue_fault fault;
    struct segue_op *op = held->op;
    if (op->stop)
        return (enum segue_status)op->stop;
    if (!segue_fault_at(held->overlay->faults, step, &fault))
        return SEGUE_OK;
    switch (fault.what) {
    case SEGUE_FAULT_DELAY:
        wait_for(op, fault.amount);
        break;
    case SEGUE_FAULT_MUTE: /* until its deadline, or for ever as far as we are concerned */
        wait_for(op, UINT64_MAX / 2 - segue_now_ns());
        break;
    case SEGUE_FAULT_CUT:
        segue_flight_break(op->connection);
        break;
    case SEGUE_FAULT_FAIL:
        return segue_fail(SEGUE_E_LOST, "the fabric failed, as planned at %s", step);
    default: /* short, eagain: there is no stream to do it to */
        break;
    }
    return (enum segue_status)op->stop;
}

/* Moves one part of the operation and waits for it. */
static enum segue_status move_part(struct held *held, struct segue_transfer part)
{
    struct segue_op *half = &held->half;
    if (part.n_moves == 0 || part.n_spans == 0)
        return SEGUE_OK;
    held->over = false;
    half->transfer = part;
    half->total = segue_transfer_bytes(&part);
    half->moved = 0;
    segue_cursor_init(&half->cursor, &half->transfer);
    SEGUE_TRY(segue_flight_begin(held->op->connection, half));
    enum segue_status status = held->overlay->inner->post(held->op->connection, half);
    if (status < 0) {
        segue_flight_abandon(half);
        return status;
    }
    pthread_mutex_lock(&held->lock);
    while (!held->over)
        pthread_cond_wait(&held->changed, &held->lock);
    pthread_mutex_unlock(&held->lock);
    held->op->moved += half->moved;
    return held->status < 0 ? segue_fail(held->status, "%s", held->why) : SEGUE_OK;
}

/* By spans, else by moves; a transfer of one piece is whole in its first half. */
static void halve(const struct segue_transfer *t, struct segue_transfer part[2])
{
    part[0] = part[1] = *t;
    if (t->n_spans > 1) {
        part[0].n_spans = t->n_spans / 2;
        part[1].spans += part[0].n_spans;
        part[1].n_spans -= part[0].n_spans;
    } else {
        part[0].n_moves = t->n_moves > 1 ? t->n_moves / 2 : t->n_moves;
        part[1].moves += part[0].n_moves;
        part[1].n_moves -= part[0].n_moves;
    }
}

static enum segue_status carry_out(struct held *held)
{
    struct segue_transfer part[2];
    halve(&held->op->transfer, part);
    SEGUE_TRY(pass(held, "first-byte"));
    SEGUE_TRY(move_part(held, part[0]));
    SEGUE_TRY(pass(held, "mid-copy"));
    SEGUE_TRY(move_part(held, part[1]));
    return pass(held, "last-byte");
}

static void *run(void *arg)
{
    struct held *held = arg;
    struct segue_op *op = held->op;
    enum segue_status status = carry_out(held);
    pthread_cond_destroy(&held->changed);
    pthread_mutex_destroy(&held->lock);
    free(held);
    segue_flight_end(op, status);
    return NULL;
}

static enum segue_status one_sided(struct overlay *overlay, struct segue_op *op)
{
    struct held *held = calloc(1, sizeof *held);
    pthread_t thread;
    if (!held)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a faulted operation");
    held->overlay = overlay;
    held->op = op;
    memcpy(held->half.src, op->src, sizeof op->src);
    memcpy(held->half.dst, op->dst, sizeof op->dst);
    held->half.kind = op->kind;
    held->half.local = op->local;
    held->half.n_local = op->n_local;
    held->half.remote = op->remote;
    held->half.n_remote = op->n_remote;
    held->half.deadline_ns = op->deadline_ns;
    held->half.done = half_done;
    held->half.user = held;
    pthread_mutex_init(&held->lock, NULL);
    pthread_cond_init(&held->changed, NULL);
    int err = pthread_create(&thread, NULL, run, held);
    if (err) {
        free(held);
        return segue_fail_errno(SEGUE_E_SYSTEM, err, "no thread for a faulted operation");
    }
    pthread_detach(thread);
    return SEGUE_OK;
}

/* ---- streams ---- */

static struct segue_pump *pump_of(struct overlay *overlay, struct segue_connection *conn,
                                  bool forget)
{
    struct segue_pump *pump = NULL;
    pthread_mutex_lock(&overlay->lock);
    for (size_t i = 0; i < overlay->n_pumped && !pump; i++)
        if (overlay->pumped[i].conn == conn) {
            pump = overlay->pumped[i].pump;
            if (forget)
                overlay->pumped[i] = overlay->pumped[--overlay->n_pumped];
        }
    pthread_mutex_unlock(&overlay->lock);
    return pump;
}

static enum segue_status keep_pump(struct overlay *overlay, struct segue_connection *conn,
                                   struct segue_pump *pump)
{
    pthread_mutex_lock(&overlay->lock);
    void *room = overlay->n_pumped < PUMPS_MAX
                     ? realloc(overlay->pumped,
                               (overlay->n_pumped + 1) * sizeof *overlay->pumped)
                     : NULL;
    if (room) {
        overlay->pumped = room;
        overlay->pumped[overlay->n_pumped].conn = conn;
        overlay->pumped[overlay->n_pumped++].pump = pump;
    }
    pthread_mutex_unlock(&overlay->lock);
    return room ? SEGUE_OK : segue_fail(SEGUE_E_MEMORY, "no memory for a faulted stream");
}

static enum segue_status fault_connect(struct segue_transport *t,
                                       const struct segue_connect_args *args,
                                       struct segue_connection **out)
{
    struct overlay *overlay = overlay_of(t);
    struct segue_connect_args pumped = *args;
    struct segue_pump *pump;
    if (args->stream.fd < 0)
        return overlay->inner->connect(t, args, out);
    if (args->stream.tls)
        return segue_fail(SEGUE_E_UNSUPPORTED,
                          "a fault schedule cannot break an encrypted data stream");
    /* The caller keeps its stream on failure: the pump gets a copy. */
    int stream = fcntl(args->stream.fd, F_DUPFD_CLOEXEC, 0);
    if (stream < 0)
        return segue_fail_errno(SEGUE_E_LIMIT, errno, "cannot fault a data stream");
    enum segue_status status = segue_pump_open(overlay->faults, stream, &pump,
                                               &pumped.stream.fd);
    if (status < 0) {
        segue_fd_close(&stream);
        return status;
    }
    status = overlay->inner->connect(t, &pumped, out);
    if (status >= 0 && (status = keep_pump(overlay, *out, pump)) < 0)
        overlay->inner->disconnect(*out);
    else if (status < 0)
        segue_fd_close(&pumped.stream.fd);
    if (status < 0) {
        segue_pump_release(pump);
        return status;
    }
    int given = args->stream.fd; /* the connection's now, as connect promises */
    segue_fd_close(&given);
    return SEGUE_OK;
}

static void fault_disconnect(struct segue_connection *conn)
{
    struct overlay *overlay = overlay_of(conn->transport);
    struct segue_pump *pump = pump_of(overlay, conn, true);
    overlay->inner->disconnect(conn);
    if (pump)
        segue_pump_release(pump);
}

/* ---- the table ---- */

static enum segue_status fault_post(struct segue_connection *conn, struct segue_op *op)
{
    struct overlay *overlay = overlay_of(conn->transport);
    if (op->kind == SEGUE_OP_COPY || op->kind == SEGUE_OP_READ)
        return one_sided(overlay, op);
    struct segue_pump *pump = pump_of(overlay, conn, false);
    if (pump)
        segue_pump_expect(pump, op->kind == SEGUE_OP_SEND, op->tag, op->total);
    return overlay->inner->post(conn, op);
}

static void fault_close(struct segue_transport *t)
{
    struct overlay *overlay = overlay_of(t);
    t->ops = overlay->inner;
    t->ops->close(t);
    segue_faults_release(overlay->faults);
    pthread_mutex_destroy(&overlay->lock);
    free(overlay->pumped);
    free(overlay);
}

enum segue_status segue_transport_add_faults(struct segue_transport *t,
                                             struct segue_faults *faults)
{
    if (!segue_faults_name(faults, steps))
        return SEGUE_OK;
    struct overlay *overlay = calloc(1, sizeof *overlay);
    if (!overlay)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the faults of %s", t->name);
    overlay->ops = *t->ops;
    overlay->inner = t->ops;
    overlay->faults = segue_faults_retain(faults);
    pthread_mutex_init(&overlay->lock, NULL);
    overlay->ops.post = fault_post;
    overlay->ops.connect = fault_connect;
    overlay->ops.disconnect = fault_disconnect;
    overlay->ops.close = fault_close;
    t->ops = &overlay->ops;
    return SEGUE_OK;
}
