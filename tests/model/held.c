/* SPDX-License-Identifier: Apache-2.0 */
#include "model/held.h"

#include "test.h"

#include <stdlib.h>
#include <string.h>

/* ---- messages ---- */

static struct held_wire *wires[8]; /* of this process, so that a service finds its own */

static struct held_wire *wire_of(const struct segue_agent *agent)
{
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++)
        if (wires[i] && wires[i]->engine->agent == agent)
            return wires[i];
    return NULL;
}

static bool is_held(uint8_t type)
{
    return type == SEGUE_FRAME_CLAIM || type == SEGUE_FRAME_ACCEPT ||
           type == SEGUE_FRAME_COMMIT || type == SEGUE_FRAME_VERDICT ||
           type == SEGUE_FRAME_CANCEL || type == SEGUE_FRAME_END;
}

static enum segue_status on_frame(struct segue_service *service, struct segue_link *link,
                                  struct segue_frame *frame)
{
    struct held_wire *wire = wire_of(link->agent);
    pthread_mutex_lock(&wire->lock);
    bool hold = !wire->open && is_held(frame->type);
    if (hold) {
        assert_true(wire->n < HELD_MAX);
        struct held_frame *held = &wire->held[wire->n++];
        *held = (struct held_frame){link, *frame};
        held->frame.body = memcpy(malloc(frame->len + 1), frame->body, frame->len);
    }
    pthread_mutex_unlock(&wire->lock);
    return hold ? SEGUE_OK : wire->frame(service, link, frame);
}

static enum segue_status hook(struct segue_agent *agent, void *arg)
{
    struct held_wire *wire = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    wire->frame = h->service.frame;
    h->service.frame = on_frame;
    return SEGUE_OK;
}

void held_wire_open(struct held_wire *wire, struct engine *engine)
{
    *wire = (struct held_wire){.engine = engine, .lock = PTHREAD_MUTEX_INITIALIZER};
    for (size_t i = 0; i < sizeof wires / sizeof *wires; i++)
        if (!wires[i]) {
            wires[i] = wire;
            break;
        }
    assert_ok(segue_agent_call(engine->agent, hook, wire));
}

static bool is_from(const struct held_frame *held, const struct engine *sender)
{
    return !sender || memcmp(held->link->peer.incarnation, sender->agent->incarnation,
                             sizeof held->link->peer.incarnation) == 0;
}

bool held_wire_has(struct held_wire *wire, const struct engine *sender,
                   enum segue_handoff_frame type)
{
    bool has = false;
    pthread_mutex_lock(&wire->lock);
    for (size_t i = 0; i < wire->n && !has; i++)
        has = is_from(&wire->held[i], sender) && wire->held[i].frame.type == type;
    pthread_mutex_unlock(&wire->lock);
    return has;
}

struct deliver {
    struct held_wire *wire;
    const struct engine *sender; /* NULL: anybody */
    int type;                    /* 0: all there are */
    bool alone;                  /* no others before it */
};

static bool take(struct deliver *d, struct held_frame *out)
{
    struct held_wire *wire = d->wire;
    bool found = false;
    pthread_mutex_lock(&wire->lock);
    for (size_t i = 0; i < wire->n && !found; i++)
        if (is_from(&wire->held[i], d->sender) &&
            (!d->alone || wire->held[i].frame.type == d->type)) {
            *out = wire->held[i];
            memmove(&wire->held[i], &wire->held[i + 1],
                    (wire->n - i - 1) * sizeof *wire->held);
            wire->n--;
            found = true;
        }
    pthread_mutex_unlock(&wire->lock);
    return found;
}

static enum segue_status deliver(struct segue_agent *agent, void *arg)
{
    struct deliver *d = arg;
    struct segue_handoff *h = segue_handoff_of(agent);
    struct held_frame held;
    bool last = false;
    while (!last && take(d, &held)) {
        last = held.frame.type == d->type;
        assert_ok(d->wire->frame(&h->service, held.link, &held.frame));
        free((void *)held.frame.body);
    }
    return SEGUE_OK;
}

void held_wire_deliver(struct held_wire *wire, const struct engine *sender,
                       enum segue_handoff_frame type)
{
    struct deliver d = {wire, sender, type, false};
    assert_ok(segue_agent_call(wire->engine->agent, deliver, &d));
}

void held_wire_pick(struct held_wire *wire, const struct engine *sender,
                    enum segue_handoff_frame type)
{
    struct deliver d = {wire, sender, type, true};
    assert_ok(segue_agent_call(wire->engine->agent, deliver, &d));
}

static enum segue_status let_go(struct segue_agent *agent, void *arg)
{
    struct held_wire *wire = arg;
    deliver(agent, &(struct deliver){.wire = wire});
    pthread_mutex_lock(&wire->lock);
    wire->open = true;
    pthread_mutex_unlock(&wire->lock);
    return SEGUE_OK;
}

void held_wire_let_go(struct held_wire *wire)
{
    assert_ok(segue_agent_call(wire->engine->agent, let_go, wire));
}

/* ---- copies ---- */

static enum segue_status hold_copy(struct segue_device *dev, struct segue_copy_job *job)
{
    struct held_copies *copies = (struct held_copies *)(void *)dev->ops;
    pthread_mutex_lock(&copies->lock);
    bool hold = !copies->open;
    if (hold) {
        assert_null(copies->job);
        copies->job = job;
    }
    pthread_mutex_unlock(&copies->lock);
    return hold ? SEGUE_OK : copies->real->copy(dev, job);
}

void held_copies_open(struct held_copies *copies, struct engine *engine)
{
    *copies = (struct held_copies){.ops = *engine->device->ops,
                                   .real = engine->device->ops,
                                   .device = engine->device,
                                   .lock = PTHREAD_MUTEX_INITIALIZER};
    copies->ops.copy = hold_copy;
    engine->device->ops = &copies->ops;
}

bool held_copies_has(struct held_copies *copies)
{
    pthread_mutex_lock(&copies->lock);
    bool has = copies->job != NULL;
    pthread_mutex_unlock(&copies->lock);
    return has;
}

void held_copies_pass(struct held_copies *copies)
{
    pthread_mutex_lock(&copies->lock);
    struct segue_copy_job *job = copies->job;
    copies->job = NULL;
    pthread_mutex_unlock(&copies->lock);
    if (!job)
        return;
    atomic_store(&job->cancelled, false);
    enum segue_status status = copies->real->copy(copies->device, job);
    if (status < 0)
        job->done(job, status);
}

void held_copies_let_go(struct held_copies *copies)
{
    pthread_mutex_lock(&copies->lock);
    copies->open = true;
    pthread_mutex_unlock(&copies->lock);
    held_copies_pass(copies);
}

/* ---- streams ---- */

static void stand(void *user)
{
    struct held_stream *s = user;
    pthread_mutex_lock(&s->lock);
    while (!s->open)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    if (s->work)
        s->work(s->user);
}

void held_stream_open(struct held_stream *s, struct engine *engine,
                      void (*work)(void *user), void *user)
{
    *s = (struct held_stream){.lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER,
                              .work = work,
                              .user = user};
    assert_ok(segue_sim_stream_create(engine->device, &s->stream));
    assert_ok(segue_sim_launch(s->stream, stand, s, 0));
    s->sync = (struct segue_sync){SEGUE_SYNC_STREAM, engine->device, s->stream};
}

static enum segue_status nothing(struct segue_agent *agent, void *arg)
{
    return SEGUE_OK;
}

void held_stream_pass(struct held_stream *s, struct engine *engine)
{
    pthread_mutex_lock(&s->lock);
    s->open = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    assert_ok(segue_sim_stream_wait(s->stream, 20000000000u));
    assert_ok(segue_agent_call(engine->agent, nothing, NULL));
}

void held_stream_close(struct held_stream *s)
{
    if (s->stream)
        segue_sim_stream_destroy(s->stream);
    s->stream = NULL;
}
