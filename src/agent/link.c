/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a link: dialled or accepted, hello both ways, up, ended.
 *
 *     dialling --connected--> greeting --hello--> up --close--> closing --> freed
 *        \___________________________\____________________________/
 *
 * Nothing is freed inside a call: close marks, and a task of the loop ends the link.
 * Services hear `gone` first (they cancel), then the connections end with every operation
 * on them, then services `forget`.
 */
#include "agent/link.h"
#include "agent/control.h"
#include "agent/fault.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void free_link(struct segue_link *link)
{
    segue_link_io_close(&link->io);
    segue_link_fault_free(link);
    segue_fd_close(&link->pidfd);
    segue_list_remove(&link->list);
    link->agent->n_links--;
    free(link);
}

/* ---- hello ---- */

static void send_hello(struct segue_link *link)
{
    struct segue_agent *agent = link->agent;
    struct segue_hello hello = {.version = SEGUE_WIRE_VERSION,
                                .version_min = SEGUE_WIRE_VERSION_MIN,
                                .data_port = segue_control_port(agent)};
    memcpy(hello.incarnation, agent->incarnation, sizeof hello.incarnation);
    memcpy(hello.agent_id, agent->agent_id, sizeof hello.agent_id);
    memcpy(hello.boot_id, agent->boot_id, sizeof hello.boot_id);
    snprintf(hello.engine_id, sizeof hello.engine_id, "%s", agent->engine_id);
    uint8_t body[SEGUE_HELLO_ROOM];
    segue_link_send(link, SEGUE_SERVICE_LINK, SEGUE_LINK_HELLO, body,
                    segue_hello_write(&hello, body), NULL, 0);
}

/* R18: signs of life are asked for while there is something to lose, so that an idle pair sends nothing. The kernel asks: it
 * answers for a process that is busy or stopped too (R21b). */
static void beat(struct segue_link *link)
{
    if (link->network && link->connected && !link->closing)
        segue_stream_beat(link->io.socket.fd, link->business > 0);
}

/* A new start at a known address: what is left of the old one is stale (rule R1). */
static void close_past_starts(struct segue_link *link)
{
    segue_list_each (at, &link->agent->links) {
        struct segue_link *old = segue_container_of(at, struct segue_link, list);
        if (old != link && old->dialled && old->up && !old->closing &&
            strcmp(old->path, link->path) == 0 &&
            memcmp(old->peer.incarnation, link->peer.incarnation, 16) != 0) {
            char why[200];
            snprintf(why, sizeof why, "%s has restarted", old->name);
            segue_link_fail(old, SEGUE_E_STALE, why);
        }
    }
}

static enum segue_status on_hello(struct segue_link *link,
                                  const struct segue_frame *frame)
{
    struct segue_hello hello;
    SEGUE_TRY(segue_hello_read(frame->body, frame->len, &hello));
    link->peer = hello;
    if (link->network)
        snprintf(link->name, sizeof link->name, "engine '%.40s' (%.70s)", hello.engine_id,
                 link->where);
    else
        snprintf(link->name, sizeof link->name, "engine '%s' (pid %d)", hello.engine_id,
                 link->pid);
    link->up = true;
    beat(link); /* until now the deadline of a first contact held */
    link->used_ns = segue_now_ns();
    segue_loop_timer_cancel(link->agent->loop, &link->timer);
    /* Only who dialled knows that it will not need the link again. */
    if (link->dialled) {
        segue_loop_timer_set(link->agent->loop, &link->timer,
                             link->used_ns + link->agent->opts.idle_ns);
        close_past_starts(link);
    }
    SEGUE_LOG(INFO, "agent", "%s %s", link->dialled ? "linked to" : "linked from",
              link->name);
    bool wanted = segue_list_empty(&link->waits);
    while (!segue_list_empty(&link->waits) && !link->closing) {
        struct segue_link_wait *wait = segue_container_of(link->waits.next,
                                                          struct segue_link_wait, list);
        wanted |= segue_link_is_awaited(wait, link);
        segue_link_answer(wait, link);
    }
    if (!wanted)
        segue_link_fail(link, SEGUE_E_LOST, "another start of the engine was asked for");
    return SEGUE_OK;
}

/* ---- frames ---- */

static enum segue_status on_peer_error(struct segue_link *link,
                                       const struct segue_frame *frame)
{
    struct segue_link_error error;
    SEGUE_TRY(segue_link_error_read(frame->body, frame->len, &error));
    link->told = true;
    /* A refusal keeps its meaning; anything else is a peer that is not there any more. */
    enum segue_status status = error.status == SEGUE_E_MISMATCH ? SEGUE_E_MISMATCH
                                                                : SEGUE_E_LOST;
    return segue_fail(status, "it closed the link: %s", error.why);
}

static enum segue_status on_link_frame(struct segue_link *link,
                                       const struct segue_frame *frame)
{
    switch (frame->type) {
    case SEGUE_LINK_HELLO:
        return segue_fail(SEGUE_E_PROTOCOL, "a second hello");
    case SEGUE_LINK_ERROR:
        return on_peer_error(link, frame);
    case SEGUE_LINK_STREAM_ASK:
    case SEGUE_LINK_STREAM_GRANT:
    case SEGUE_LINK_STREAM_WANT:
        return segue_link_stream_frame(link, frame);
    case SEGUE_LINK_PING:
        segue_link_send(link, SEGUE_SERVICE_LINK, SEGUE_LINK_PONG, NULL, 0, NULL, 0);
        return SEGUE_OK;
    default:
        return SEGUE_OK; /* of a later version (rule R21) */
    }
}

enum segue_status segue_link_dispatch(struct segue_link *link, struct segue_frame *frame)
{
    bool greeting = frame->service == SEGUE_SERVICE_LINK &&
                    frame->type == SEGUE_LINK_HELLO;
    bool refusal = frame->service == SEGUE_SERVICE_LINK &&
                   frame->type == SEGUE_LINK_ERROR;
    if (!link->up && refusal)
        return on_peer_error(link, frame);
    if (!link->up)
        return greeting ? on_hello(link, frame)
                        : segue_fail(SEGUE_E_PROTOCOL, "its first frame is no hello");
    if (frame->service == SEGUE_SERVICE_LINK)
        return on_link_frame(link, frame);
    struct segue_service *service = frame->service < SEGUE_SERVICES_MAX
                                        ? link->agent->services[frame->service]
                                        : NULL;
    return service ? service->frame(service, link, frame) : SEGUE_OK;
}

static enum segue_status on_frame(struct segue_link_io *io, struct segue_frame *frame)
{
    struct segue_link *link = io->user;
    link->used_ns = segue_now_ns();
    if (link->agent->faults && segue_link_fault_receive(link, frame))
        return SEGUE_OK;
    return segue_link_dispatch(link, frame);
}

enum segue_status segue_link_send(struct segue_link *link, uint8_t service, uint8_t type,
                                  const void *body, uint32_t len, const int *fds,
                                  uint32_t n_fds)
{
    struct segue_frame_head head = {len, service, type, (uint16_t)n_fds};
    if (link->closing || !link->connected)
        return segue_fail(SEGUE_E_LOST, "the link to %s is going down", link->name);
    if (n_fds && link->network)
        return segue_fail(SEGUE_E_UNSUPPORTED, "descriptors do not go to another host");
    link->used_ns = segue_now_ns();
    if (link->agent->faults) {
        const struct segue_frame frame = {service, type, body, len, (int *)(uintptr_t)fds,
                                          n_fds};
        if (segue_link_fault_send(link, &frame))
            return SEGUE_OK;
    }
    return segue_link_io_send(&link->io, &head, body, fds);
}

void segue_link_business(struct segue_link *link, int change)
{
    assert(change >= 0 || link->business >= (uint32_t)-change);
    bool had = link->business > 0;
    link->business += (uint32_t)change;
    if (had != (link->business > 0))
        beat(link);
    link->used_ns = segue_now_ns();
    if (link->worn && link->business == 0) {
        char why[200];
        snprintf(why, sizeof why, "a data connection with %s broke", link->name);
        segue_link_close(link, why);
    }
}

void segue_link_wear(struct segue_link *link)
{
    link->worn = true;
    segue_link_business(link, 0);
}

/* ---- the end ---- */

static void on_connections_gone(struct segue_link *link)
{
    for (size_t i = 0; link->up && i < SEGUE_SERVICES_MAX; i++) {
        struct segue_service *service = link->agent->services[i];
        if (service && service->forget)
            service->forget(service, link);
    }
    free_link(link);
}

static void on_end(struct segue_task *task)
{
    struct segue_link *link = task->user;
    segue_fail(link->status, "%s", link->why);
    segue_link_waits_fail(&link->waits, link->status);
    for (size_t i = 0; link->up && i < SEGUE_SERVICES_MAX; i++) {
        struct segue_service *service = link->agent->services[i];
        if (service)
            service->gone(service, link, link->why);
    }
    segue_lanes_close(link, on_connections_gone);
}

static void tell_peer(struct segue_link *link, enum segue_status status, const char *why)
{
    struct segue_link_error error = {.status = status};
    uint8_t body[SEGUE_HELLO_ROOM];
    snprintf(error.why, sizeof error.why, "%.199s", why);
    segue_link_send(link, SEGUE_SERVICE_LINK, SEGUE_LINK_ERROR, body,
                    segue_link_error_write(&error, body), NULL, 0);
}

void segue_link_fail(struct segue_link *link, enum segue_status status, const char *why)
{
    if (link->closing)
        return;
    link->status = status;
    snprintf(link->why, sizeof link->why, "%s", why);
    SEGUE_LOG(INFO, "agent", "link to %s ends: %s", link->name, link->why);
    if (link->connected && !link->told)
        tell_peer(link, status, link->why);
    link->closing = true;
    struct segue_loop *loop = link->agent->loop;
    if (link->connected)
        segue_link_io_end(&link->io);
    segue_loop_unwatch(loop, &link->death);
    segue_loop_timer_cancel(loop, &link->timer);
    segue_loop_timer_cancel(loop, &link->retry);
    segue_caller_stop(&link->caller);
    segue_loop_post(loop, &link->end);
}

void segue_link_close(struct segue_link *link, const char *why)
{
    segue_link_fail(link, SEGUE_E_LOST, why);
}

static void on_broken(struct segue_link_io *io, enum segue_status status)
{
    struct segue_link *link = io->user;
    char why[256];
    snprintf(why, sizeof why, "%s: %s", link->name, segue_error_detail());
    link->told |= status == SEGUE_E_LOST || status == SEGUE_E_SYSTEM;
    segue_link_fail(link, status, why);
}

static void on_death(struct segue_watch *watch, uint32_t events)
{
    struct segue_link *link = watch->user;
    segue_link_io_drain(&link->io);
    char why[200];
    snprintf(why, sizeof why, "%s has died", link->name);
    link->told = true;
    segue_link_fail(link, SEGUE_E_LOST, why);
}

static void on_timer(struct segue_timer *timer)
{
    struct segue_link *link = timer->user;
    uint64_t now = segue_now_ns(), idle_ns = link->agent->opts.idle_ns;
    if (!link->up) {
        char why[200];
        snprintf(why, sizeof why, "%s did not say hello within %llu ms", link->name,
                 (unsigned long long)(link->agent->opts.connect_ns / SEGUE_NS_PER_MS));
        segue_link_fail(link, SEGUE_E_TIMEOUT, why);
    } else if (link->business == 0 && now - link->used_ns >= idle_ns) {
        segue_link_fail(link, SEGUE_E_LOST, "it had no business any more");
    } else {
        uint64_t since = link->business ? now : link->used_ns;
        segue_loop_timer_set(link->agent->loop, timer, since + idle_ns);
    }
}

/* ---- the beginning ---- */

struct segue_link *segue_link_new(struct segue_agent *agent)
{
    struct segue_link *link = calloc(1, sizeof *link);
    if (!link) {
        segue_fail(SEGUE_E_MEMORY, "no memory for a link");
        return NULL;
    }
    link->agent = agent;
    link->pidfd = -1;
    link->io = (struct segue_link_io){
        .loop = agent->loop, .frame = on_frame, .broken = on_broken, .user = link};
    link->death = (struct segue_watch){.fn = on_death, .user = link};
    link->timer = (struct segue_timer){.fn = on_timer, .user = link};
    link->end = (struct segue_task){.fn = on_end, .user = link};
    segue_list_init(&link->waits);
    segue_lanes_open(link);
    segue_list_push_back(&agent->links, &link->list);
    agent->n_links++;
    segue_loop_timer_set(agent->loop, &link->timer,
                         segue_now_ns() + agent->opts.connect_ns);
    return link;
}

static enum segue_status begin(struct segue_link *link, struct segue_socket *socket)
{
    SEGUE_TRY(segue_link_io_open(&link->io, socket));
    link->connected = true;
    send_hello(link);
    return SEGUE_OK;
}

enum segue_status segue_link_greet_network(struct segue_link *link,
                                           struct segue_socket socket)
{
    link->network = true;
    enum segue_status status = begin(link, &socket);
    if (status < 0)
        segue_socket_close(&socket);
    return status;
}

enum segue_status segue_link_greet(struct segue_link *link, int fd)
{
    struct segue_credentials peer;
    enum segue_status status;
    SEGUE_TRY_OR(status, fail, segue_stream_peer(fd, &peer));
    if (peer.uid != geteuid()) {
        status = segue_fail(SEGUE_E_REFUSED, "process %d belongs to user %u, not to %u",
                            (int)peer.pid, (unsigned)peer.uid, (unsigned)geteuid());
        goto fail;
    }
    link->pid = peer.pid;
    if (!link->dialled)
        snprintf(link->name, sizeof link->name, "process %d", link->pid);
    SEGUE_TRY_OR(status, fail, segue_stream_peer_pidfd(fd, &link->pidfd));
    link->death.fd = link->pidfd;
    SEGUE_TRY_OR(status, fail,
                 segue_loop_watch(link->agent->loop, &link->death, EPOLLIN));
    SEGUE_TRY_OR(status, fail, begin(link, &(struct segue_socket){.fd = fd}));
    return SEGUE_OK;
fail:
    segue_fd_close(&fd);
    return status;
}

void segue_link_discard(struct segue_link *link)
{
    struct segue_loop *loop = link->agent->loop;
    segue_loop_unwatch(loop, &link->death);
    segue_loop_timer_cancel(loop, &link->timer);
    segue_caller_stop(&link->caller);
    free_link(link);
}
