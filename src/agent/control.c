/* SPDX-License-Identifier: Apache-2.0 */
/* The listeners: the unix socket for links, loopback for their data streams, and one port
 * for whatever comes from other hosts. */
#include "agent/control.h"
#include "agent/link.h"
#include "agent/stranger.h"
#include "agent/trust.h"
#include "base/address.h"
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
    struct segue_watch links, data, network; /* listeners; fd -1: none */
    uint16_t port;                           /* of `data` */
    char path[108];
    struct segue_timer rest; /* while no descriptors are left to accept with */
};

static void listen_again(struct segue_timer *timer)
{
    struct segue_control *control = timer->user;
    struct segue_watch *listeners[] = {&control->links, &control->data,
                                       &control->network};
    for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++)
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
        if (watch != &control->links)
            segue_stranger_meet(control->agent, fd, watch == &control->network);
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

/* ---- other hosts ---- */

/* What others are told: the address we listen at, or option advertise. */
static enum segue_status advertise(struct segue_agent *agent, struct segue_address *at)
{
    const char *option = agent->opts.advertise;
    char text[80];
    if (option) {
        SEGUE_TRY(segue_address_read(option, &at->port, at));
        SEGUE_TRY(segue_address_resolve(at));
    }
    if (segue_address_is_any(at))
        return segue_fail(SEGUE_E_INVALID,
                          "option advertise: say which address of this host others "
                          "reach; %s stands for all of them",
                          at->host);
    segue_address_write(at, text, sizeof text);
    if (strlen(SEGUE_TCP_PREFIX) + strlen(text) >= sizeof agent->network)
        return segue_fail(SEGUE_E_INVALID, "option advertise: '%s' is too long", text);
    snprintf(agent->network, sizeof agent->network, "%s%.58s", SEGUE_TCP_PREFIX, text);
    return SEGUE_OK;
}

static enum segue_status listen_network(struct segue_control *control)
{
    struct segue_agent *agent = control->agent;
    struct segue_address at;
    if (!agent->opts.listen)
        return agent->opts.advertise
                   ? segue_fail(SEGUE_E_INVALID, "option advertise goes with listen")
                   : SEGUE_OK;
    enum segue_status status = segue_address_read(agent->opts.listen, NULL, &at);
    if (status < 0)
        return segue_fail(status, "option listen: %s", segue_error_detail());
    SEGUE_TRY(segue_address_resolve(&at));
    if (!segue_address_is_loopback(&at) && !agent->opts.insecure &&
        segue_trust_keys(agent)->n == 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "option listen: other hosts reach %s, and there is no cluster "
                          "key; give one (option key; segue key new makes one), or say "
                          "insecure",
                          at.host);
    SEGUE_TRY(segue_stream_listen_tcp(at.host, at.port, &control->network.fd, &at.port));
    SEGUE_TRY(advertise(agent, &at));
    return segue_loop_watch(agent->loop, &control->network, EPOLLIN);
}

/* ---- life ---- */

enum segue_status segue_control_open(struct segue_agent *agent)
{
    struct segue_control *control = calloc(1, sizeof *control);
    if (!control)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the control socket");
    agent->control = control;
    control->agent = agent;
    control->links = (struct segue_watch){.fd = -1, .fn = on_listener, .user = control};
    control->data = control->network = control->links;
    control->rest = (struct segue_timer){.fn = listen_again, .user = control};
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
    return listen_network(control);
}

void segue_control_stop(struct segue_agent *agent)
{
    struct segue_control *control = agent->control;
    if (!control)
        return;
    segue_loop_timer_cancel(agent->loop, &control->rest);
    segue_loop_unwatch(agent->loop, &control->links);
    segue_loop_unwatch(agent->loop, &control->data);
    segue_loop_unwatch(agent->loop, &control->network);
    if (control->links.fd >= 0)
        unlink(control->path);
    segue_fd_close(&control->links.fd);
    segue_fd_close(&control->data.fd);
    segue_fd_close(&control->network.fd);
    segue_strangers_close(agent);
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
