/* SPDX-License-Identifier: Apache-2.0 */
/* The two listeners, and data streams that have come but not yet shown their secret. */
#include "agent/control.h"
#include "agent/link.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_ACCEPTS 16 /* in one turn of the loop */
#define REST_NS      (100 * SEGUE_NS_PER_MS)

struct segue_control {
    struct segue_agent *agent;
    struct segue_watch links, data; /* listeners; fd -1: none */
    uint16_t port;
    char path[108];
    struct segue_timer rest; /* while no descriptors are left to accept with */
    struct segue_list strangers;
    unsigned n_strangers;
};

/* A data stream until its preamble is complete. */
struct stranger {
    struct segue_list list;
    struct segue_control *control;
    struct segue_watch watch;
    struct segue_timer deadline;
    uint8_t preamble[SEGUE_PREAMBLE_BYTES];
    size_t got;
};

static void stranger_free(struct stranger *s)
{
    struct segue_loop *loop = s->control->agent->loop;
    segue_loop_unwatch(loop, &s->watch);
    segue_loop_timer_cancel(loop, &s->deadline);
    segue_list_remove(&s->list);
    s->control->n_strangers--;
    segue_fd_close(&s->watch.fd);
    free(s);
}

static void on_stranger(struct segue_watch *watch, uint32_t events)
{
    struct stranger *s = watch->user;
    size_t got;
    enum segue_status status = segue_stream_recv(watch->fd, s->preamble + s->got,
                                                 sizeof s->preamble - s->got, &got, NULL,
                                                 0, NULL);
    if (status == SEGUE_IN_PROGRESS)
        return;
    s->got += status == SEGUE_OK ? got : 0;
    if (status == SEGUE_OK && s->got < sizeof s->preamble)
        return;
    uint8_t secret[SEGUE_SECRET_BYTES];
    if (status == SEGUE_OK && segue_preamble_read(s->preamble, secret)) {
        segue_loop_unwatch(s->control->agent->loop, watch);
        if (segue_link_stream_arrived(s->control->agent, secret, watch->fd))
            watch->fd = -1;
    }
    if (watch->fd >= 0)
        SEGUE_LOG(WARN, "agent", "a data stream without a valid secret was closed");
    stranger_free(s);
}

static void on_stranger_late(struct segue_timer *timer)
{
    SEGUE_LOG(WARN, "agent", "a data stream that sent no secret was closed");
    stranger_free(timer->user);
}

static void meet_stranger(struct segue_control *control, int fd)
{
    struct stranger *s = control->n_strangers < SEGUE_STRANGERS_MAX ? calloc(1, sizeof *s)
                                                                    : NULL;
    if (!s) {
        segue_fd_close(&fd);
        return;
    }
    struct segue_loop *loop = control->agent->loop;
    s->control = control;
    s->watch = (struct segue_watch){.fd = fd, .fn = on_stranger, .user = s};
    s->deadline = (struct segue_timer){.fn = on_stranger_late, .user = s};
    segue_list_push_back(&control->strangers, &s->list);
    control->n_strangers++;
    segue_loop_timer_set(loop, &s->deadline,
                         segue_now_ns() + control->agent->opts.connect_ns);
    if (segue_loop_watch(loop, &s->watch, EPOLLIN) < 0)
        stranger_free(s);
}

static void listen_again(struct segue_timer *timer)
{
    struct segue_control *control = timer->user;
    struct segue_watch *listeners[] = {&control->links, &control->data};
    for (size_t i = 0; i < 2; i++)
        if (listeners[i]->fd >= 0 && !listeners[i]->watched)
            segue_loop_watch(control->agent->loop, listeners[i], EPOLLIN);
}

static void on_listener(struct segue_watch *watch, uint32_t events)
{
    struct segue_control *control = watch->user;
    for (int i = 0; i < TURN_ACCEPTS; i++) {
        int fd;
        enum segue_status status = segue_stream_accept(watch->fd, &fd);
        if (status == SEGUE_IN_PROGRESS)
            return;
        if (status < 0) {
            /* The connection stays in the queue: without a rest the loop would spin on
             * it. */
            SEGUE_LOG(ERROR, "agent", "%s", segue_error_detail());
            segue_loop_unwatch(control->agent->loop, watch);
            segue_loop_timer_set(control->agent->loop, &control->rest,
                                 segue_now_ns() + REST_NS);
            return;
        }
        if (watch == &control->data)
            meet_stranger(control, fd);
        else if (segue_link_accept(control->agent, fd) < 0)
            SEGUE_LOG(WARN, "agent", "a connection was refused: %s",
                      segue_error_detail());
    }
}

/* The folder must be ours alone: whoever can write to it can pretend to be an engine. */
static enum segue_status check_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot make the folder %s", path);
    if (lstat(path, &st) < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return segue_fail(SEGUE_E_REFUSED, "%s is no folder", path);
    if (st.st_uid != geteuid())
        return segue_fail(SEGUE_E_REFUSED, "%s belongs to user %u, not to %u", path,
                          (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        return segue_fail(SEGUE_E_REFUSED,
                          "%s has mode %04o and is open to others; chmod 700 it", path,
                          (unsigned)st.st_mode & 07777);
    return SEGUE_OK;
}

/* An engine id may hold anything; a file name may not. */
static void file_name(const char *engine_id, char *out, size_t cap)
{
    size_t n = 0;
    for (; engine_id[n] && n + 1 < cap; n++) {
        char c = engine_id[n];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || c == '-' || c == '_' || (c == '.' && n);
        out[n] = plain ? c : '_';
    }
    out[n] = 0;
}

/* Between finding a dead socket and replacing it no other agent may do the same. An agent
 * stopped just then must not stop all others, so the wait has an end. */
static int lock_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < 200 && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
        usleep(10000);
    return fd;
}

static enum segue_status listen_links(struct segue_control *control)
{
    const char *folder = control->agent->opts.ipc_dir;
    char name[64];
    file_name(control->agent->engine_id, name, sizeof name);
    enum segue_status status = SEGUE_E_BUSY;
    /* Ranks and restarts may share an engine id: whoever comes second gets a suffix. */
    for (int i = 0; i < 8 && status == SEGUE_E_BUSY; i++) {
        char suffix[16] = "";
        if (i)
            snprintf(suffix, sizeof suffix, "-%08x", (uint32_t)segue_random_u64());
        int n = snprintf(control->path, sizeof control->path, "%s/%s%s.sock", folder,
                         name, suffix);
        /* Tickets carry the address with its prefix in 108 bytes. */
        if (n + (int)strlen(SEGUE_UNIX_PREFIX) >= (int)sizeof control->path) {
            control->path[0] = 0;
            return segue_fail(SEGUE_E_INVALID,
                              "option ipc-dir: the socket %s/%s.sock has a longer path "
                              "than %zu bytes; use a shorter folder",
                              folder, name,
                              sizeof control->path - 1 - strlen(SEGUE_UNIX_PREFIX));
        }
        status = segue_stream_listen_unix(control->path, &control->links.fd);
    }
    if (status < 0)
        control->path[0] = 0;
    return status;
}

enum segue_status segue_control_open(struct segue_agent *agent)
{
    struct segue_control *control = calloc(1, sizeof *control);
    if (!control)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the control socket");
    agent->control = control;
    control->agent = agent;
    control->links = (struct segue_watch){.fd = -1, .fn = on_listener, .user = control};
    control->data = control->links;
    control->rest = (struct segue_timer){.fn = listen_again, .user = control};
    segue_list_init(&control->strangers);
    SEGUE_TRY(check_folder(agent->opts.ipc_dir));
    int lock = lock_folder(agent->opts.ipc_dir);
    enum segue_status status = listen_links(control);
    segue_fd_close(&lock);
    SEGUE_TRY(status);
    SEGUE_TRY(segue_stream_listen_tcp("127.0.0.1", 0, &control->data.fd, &control->port));
    SEGUE_TRY(segue_loop_watch(agent->loop, &control->links, EPOLLIN));
    SEGUE_TRY(segue_loop_watch(agent->loop, &control->data, EPOLLIN));
    snprintf(agent->address, sizeof agent->address, "%s%s", SEGUE_UNIX_PREFIX,
             control->path);
    return SEGUE_OK;
}

void segue_control_stop(struct segue_agent *agent)
{
    struct segue_control *control = agent->control;
    if (!control)
        return;
    segue_loop_timer_cancel(agent->loop, &control->rest);
    segue_loop_unwatch(agent->loop, &control->links);
    segue_loop_unwatch(agent->loop, &control->data);
    if (control->links.fd >= 0)
        unlink(control->path);
    segue_fd_close(&control->links.fd);
    segue_fd_close(&control->data.fd);
    while (!segue_list_empty(&control->strangers))
        stranger_free(segue_container_of(control->strangers.next, struct stranger, list));
}

void segue_control_close(struct segue_agent *agent)
{
    segue_control_stop(agent);
    free(agent->control);
    agent->control = NULL;
}

uint16_t segue_control_port(const struct segue_agent *agent)
{
    return agent->control->port;
}
