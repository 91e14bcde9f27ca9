/* SPDX-License-Identifier: Apache-2.0 */
/* See fault.h. Messages that wait are kept as they came, descriptors included; those behind them wait too, as a stream
 * does not overtake itself. */
#include "agent/fault.h"

#include "base/clock.h"
#include "base/stream.h"
#include "transport/fault.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- steps ---- */

/* The messages of docs/wire.md. Each is two steps: send:NAME before it is queued, recv:NAME before it is acted on. */
#define MESSAGES(X)                                                                      \
    X(0, 1, "hello")                                                                     \
    X(0, 3, "stream-ask")                                                                \
    X(0, 4, "stream-grant")                                                              \
    X(1, 1, "ask")                                                                       \
    X(1, 2, "tell")                                                                      \
    X(1, 3, "handles")                                                                   \
    X(1, 4, "told")                                                                      \
    X(1, 5, "gone")                                                                      \
    X(2, 1, "claim")                                                                     \
    X(2, 2, "accept")                                                                    \
    X(2, 3, "commit")                                                                    \
    X(2, 4, "verdict")                                                                   \
    X(2, 5, "cancel")                                                                    \
    X(2, 6, "renew")                                                                     \
    X(2, 7, "hold")                                                                      \
    X(2, 8, "end")                                                                       \
    X(3, 1, "ring")                                                                      \
    X(3, 2, "full")                                                                      \
    X(3, 3, "free")

#define OF_FRAMES (SEGUE_FAULT_STEP | SEGUE_FAULT_FRAME | SEGUE_FAULT_STREAM)

static const struct segue_fault_step steps[] = {
#define BOTH(service, type, name) {"send:" name, OF_FRAMES}, {"recv:" name, OF_FRAMES},
    MESSAGES(BOTH)
#undef BOTH
        SEGUE_FAULT_BYTES_STEPS,
    {"offer", 0},
    {"named", SEGUE_FAULT_NAMED},
    {"arrived", SEGUE_FAULT_ARRIVED},
    {"released", 0},
    {"ended", 0},
    {0},
};

static const char *step_of(const struct segue_frame *frame, bool sent)
{
    static const struct {
        uint8_t service, type;
        const char *send, *recv;
    } rows[] = {
#define ROW(service, type, name) {service, type, "send:" name, "recv:" name},
        MESSAGES(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].service == frame->service && rows[i].type == frame->type)
            return sent ? rows[i].send : rows[i].recv;
    return NULL;
}

enum segue_status segue_agent_faults_open(struct segue_agent *agent)
{
    const char *text = agent->opts.fault;
    if (!text || !*text)
        return SEGUE_OK;
    return segue_faults_parse(text, strlen(text), agent->engine_id, steps,
                              &agent->faults);
}

bool segue_agent_fault(struct segue_agent *agent, const char *step,
                       enum segue_fault_what what)
{
    struct segue_fault fault;
    return segue_fault_at(agent->faults, step, &fault) && fault.what == what;
}

/* ---- what a link holds back ---- */

struct held_frame {
    struct segue_list list;
    struct segue_frame frame;
    int fds[SEGUE_FRAME_FDS];
    uint8_t body[];
};

struct direction {
    struct segue_link *link;
    struct segue_list frames;
    struct segue_timer timer;
    bool waits;
};

struct segue_link_faults {
    struct direction out, in;
    bool mute;
};

static void discard(struct held_frame *held)
{
    segue_list_remove(&held->list);
    for (uint32_t i = 0; i < held->frame.n_fds; i++)
        segue_fd_close(&held->fds[i]);
    free(held);
}

static void open_direction(struct direction *d, struct segue_link *link,
                           void (*fn)(struct segue_timer *timer))
{
    d->link = link;
    d->timer = (struct segue_timer){.fn = fn, .user = d};
    segue_list_init(&d->frames);
}

/* The wait of what goes out is over. */
static void send_held(struct segue_timer *timer)
{
    struct direction *d = timer->user;
    struct segue_link *link = d->link;
    d->waits = false;
    while (!segue_list_empty(&d->frames)) {
        struct held_frame *held = segue_container_of(d->frames.next, struct held_frame,
                                                     list);
        const struct segue_frame *f = &held->frame;
        struct segue_frame_head head = {f->len, f->service, f->type, (uint16_t)f->n_fds};
        if (!link->closing)
            segue_link_io_send(&link->io, &head, f->body, f->fds);
        discard(held);
    }
}

static void receive_held(struct segue_timer *timer)
{
    struct direction *d = timer->user;
    struct segue_link *link = d->link;
    d->waits = false;
    while (!segue_list_empty(&d->frames)) {
        struct held_frame *held = segue_container_of(d->frames.next, struct held_frame,
                                                     list);
        enum segue_status status = link->closing
                                       ? SEGUE_OK
                                       : segue_link_dispatch(link, &held->frame);
        discard(held);
        if (status < 0)
            link->io.broken(&link->io, status);
    }
}

static struct segue_link_faults *faults_of(struct segue_link *link)
{
    if (!link->faults && (link->faults = calloc(1, sizeof *link->faults))) {
        open_direction(&link->faults->out, link, send_held);
        open_direction(&link->faults->in, link, receive_held);
    }
    return link->faults;
}

/* Keeps a copy until the direction goes on. */
static void hold_frame(struct direction *d, const struct segue_frame *frame)
{
    struct held_frame *held = malloc(sizeof *held + frame->len);
    if (!held)
        return;
    held->frame = *frame;
    held->frame.body = held->body;
    held->frame.fds = held->fds;
    if (frame->len)
        memcpy(held->body, frame->body, frame->len);
    for (uint32_t i = 0; i < frame->n_fds; i++)
        held->fds[i] = fcntl(frame->fds[i], F_DUPFD_CLOEXEC, 3);
    segue_list_init(&held->list);
    segue_list_push_back(&d->frames, &held->list);
}

static void wait_until_over(struct direction *d, uint64_t ns)
{
    if (d->waits)
        return;
    d->waits = true;
    segue_loop_timer_set(d->link->agent->loop, &d->timer, segue_now_ns() + ns);
}

/* What is done to a link wherever a fault of a step hits it. */
static void hit(struct segue_link *link, struct direction *d,
                const struct segue_fault *fault)
{
    switch (fault->what) {
    case SEGUE_FAULT_DELAY:
        wait_until_over(d, fault->amount);
        break;
    case SEGUE_FAULT_CUT:
    case SEGUE_FAULT_FAIL:
        shutdown(link->io.watch.fd, SHUT_RDWR); /* both ends see the socket's end */
        link->told = true;
        break;
    case SEGUE_FAULT_MUTE:
        link->faults->mute = true;
        break;
    case SEGUE_FAULT_SHORT:
        link->io.read_most = fault->amount ? (size_t)fault->amount : 1;
        break;
    case SEGUE_FAULT_EAGAIN:
        link->io.not_ready = fault->amount;
        break;
    default:
        break;
    }
}

bool segue_link_fault_send(struct segue_link *link, const struct segue_frame *frame)
{
    const char *step = step_of(frame, true);
    struct segue_link_faults *faults = faults_of(link);
    struct segue_frame_head head = {frame->len, frame->service, frame->type,
                                    (uint16_t)frame->n_fds};
    struct segue_fault fault;
    if (!faults)
        return false;
    if (!faults->mute && step && segue_fault_at(link->agent->faults, step, &fault)) {
        if (fault.what == SEGUE_FAULT_DROP)
            return true;
        if (fault.what == SEGUE_FAULT_TWICE && !faults->out.waits)
            segue_link_io_send(&link->io, &head, frame->body, frame->fds);
        hit(link, &faults->out, &fault);
    }
    if (faults->out.waits && !faults->mute)
        hold_frame(&faults->out, frame);
    return faults->mute || faults->out.waits;
}

bool segue_link_fault_receive(struct segue_link *link, const struct segue_frame *frame)
{
    const char *step = step_of(frame, false);
    struct segue_link_faults *faults = faults_of(link);
    struct segue_fault fault;
    if (!faults)
        return false;
    if (!faults->mute && step && segue_fault_at(link->agent->faults, step, &fault)) {
        if (fault.what == SEGUE_FAULT_DROP)
            return true;
        if (fault.what == SEGUE_FAULT_TWICE) { /* both at the end of this turn */
            hold_frame(&faults->in, frame);
            wait_until_over(&faults->in, 0);
        }
        faults->mute |= fault.what == SEGUE_FAULT_CUT; /* it came too late */
        hit(link, &faults->in, &fault);
    }
    if (faults->in.waits && !faults->mute)
        hold_frame(&faults->in, frame);
    return faults->mute || faults->in.waits;
}

void segue_link_fault_piece(struct segue_link *link, uint32_t done, uint32_t count)
{
    static const char *const names[] = {"first-byte", "mid-copy", "last-byte"};
    const uint32_t at[] = {1, (count + 1) / 2, count};
    struct segue_fault fault;
    if (!link || !link->agent->faults || !faults_of(link))
        return;
    for (int i = 0; i < 3; i++)
        if (done == at[i] && segue_fault_at(link->agent->faults, names[i], &fault))
            hit(link, &link->faults->out, &fault);
}

void segue_link_fault_free(struct segue_link *link)
{
    if (!link->faults)
        return;
    struct direction *both[] = {&link->faults->out, &link->faults->in};
    for (int i = 0; i < 2; i++) {
        segue_loop_timer_cancel(link->agent->loop, &both[i]->timer);
        while (!segue_list_empty(&both[i]->frames))
            discard(segue_container_of(both[i]->frames.next, struct held_frame, list));
    }
    free(link->faults);
    link->faults = NULL;
}
