/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of agents share: calls that wait for an answer, an agent in a child process,
 * a service that counts what it hears, and the descriptors that are open.
 */
#ifndef TESTS_CONFORMANCE_AGENTS_H
#define TESTS_CONFORMANCE_AGENTS_H

#include "test.h"
#include "agent/link.h"
#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_SERVICE 7
#define PATIENCE_S    20 /* more than anything takes; ends a test that hangs */

static char test_folder[64];

/* A folder for sockets, for one test program. */
static inline int make_folder(void **state)
{
    snprintf(test_folder, sizeof test_folder, "/tmp/segue-test-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int drop_folder(void **state)
{
    return rmdir(test_folder);
}

static inline struct segue_agent_opts quick_opts(const char *engine_id)
{
    return (struct segue_agent_opts){.size = sizeof(struct segue_agent_opts),
                                     .engine_id = engine_id,
                                     .ipc_dir = test_folder};
}

static inline segue_agent *make_agent(const char *engine_id)
{
    struct segue_agent_opts opts = quick_opts(engine_id);
    segue_agent *agent;
    assert_ok(segue_agent_create(&opts, &agent));
    return agent;
}

static inline int open_fds(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

/* True when the semaphore was posted before patience ended. */
static inline bool wait_for(sem_t *sem)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    int err;
    while ((err = sem_timedwait(sem, &until)) < 0 && errno == EINTR)
        ;
    return err == 0;
}

/* ---- links and connections, waiting ---- */

struct question {
    const char *address;
    const uint8_t *incarnation;
    struct segue_link *link;
    size_t row;
    struct segue_link_wait wait;
    enum segue_status status;
    sem_t done;
};

static inline void question_done(struct segue_link_wait *wait, enum segue_status status)
{
    struct question *q = wait->user;
    q->status = status;
    sem_post(&q->done);
}

static inline enum segue_status question_ask(struct segue_agent *agent, void *arg)
{
    struct question *q = arg;
    if (q->link)
        segue_link_connect(q->link, q->row, &q->wait);
    else
        segue_link_get(agent, q->address, q->incarnation, &q->wait);
    return SEGUE_OK;
}

static inline enum segue_status ask(segue_agent *agent, struct question *q)
{
    q->wait.done = question_done;
    q->wait.user = q;
    sem_init(&q->done, 0, 0);
    segue_agent_call(agent, question_ask, q);
    if (!wait_for(&q->done))
        fail_msg("no answer about %s", q->address ? q->address : "a connection");
    return q->status < 0 ? segue_fail(q->status, "%s", q->wait.why) : q->status;
}

static inline enum segue_status get_link(segue_agent *agent, const char *address,
                                         const uint8_t *incarnation,
                                         struct segue_link **link)
{
    struct question q = {.address = address, .incarnation = incarnation};
    enum segue_status status = ask(agent, &q);
    *link = q.wait.link;
    return status;
}

static inline enum segue_status get_connection(segue_agent *agent,
                                               struct segue_link *link, size_t row,
                                               struct segue_connection **connection)
{
    struct question q = {.link = link, .row = row};
    enum segue_status status = ask(agent, &q);
    *connection = q.wait.connection;
    return status;
}

/* ---- a service that listens ---- */

struct probe {
    struct segue_service service;
    int frames, gone, forgotten;
    struct segue_link *link; /* of the last frame */
    char why[256];
    sem_t heard, lost;
};

static inline enum segue_status probe_frame(struct segue_service *service,
                                            struct segue_link *link,
                                            struct segue_frame *frame)
{
    struct probe *probe = segue_container_of(service, struct probe, service);
    probe->frames++;
    probe->link = link;
    sem_post(&probe->heard);
    return SEGUE_OK;
}

static inline void probe_gone(struct segue_service *service, struct segue_link *link,
                              const char *why)
{
    struct probe *probe = segue_container_of(service, struct probe, service);
    probe->gone++;
    snprintf(probe->why, sizeof probe->why, "%s", why);
}

static inline void probe_forget(struct segue_service *service, struct segue_link *link)
{
    struct probe *probe = segue_container_of(service, struct probe, service);
    probe->forgotten++;
    sem_post(&probe->lost);
}

static inline enum segue_status probe_add(struct segue_agent *agent, void *arg)
{
    segue_agent_service_add(agent, arg);
    return SEGUE_OK;
}

static inline void listen_with(segue_agent *agent, struct probe *probe)
{
    *probe = (struct probe){.service = {.type = PROBE_SERVICE,
                                        .frame = probe_frame,
                                        .gone = probe_gone,
                                        .forget = probe_forget}};
    sem_init(&probe->heard, 0, 0);
    sem_init(&probe->lost, 0, 0);
    segue_agent_call(agent, probe_add, &probe->service);
}

struct message {
    struct segue_link *link;
    const void *body;
    uint32_t len;
    const int *fds;
    uint32_t n_fds;
};

static inline enum segue_status message_send(struct segue_agent *agent, void *arg)
{
    struct message *m = arg;
    return segue_link_send(m->link, PROBE_SERVICE, 1, m->body, m->len, m->fds, m->n_fds);
}

static inline enum segue_status say(segue_agent *agent, struct segue_link *link,
                                    const void *body, uint32_t len)
{
    struct message m = {link, body, len, NULL, 0};
    return segue_agent_call(agent, message_send, &m);
}

/* ---- an agent in another process ---- */

struct child {
    pid_t pid;
    int orders; /* closing it ends the child well */
    char address[128];
    uint8_t incarnation[16];
};

/* What a child does before it tells its address, and after; either may be NULL. */
struct role {
    void (*prepare)(segue_agent *agent);
    void (*serve)(segue_agent *agent, int orders);
    void (*finish)(segue_agent *agent);
};

static inline void live(const char *engine_id, const struct role *role, int orders,
                        int news)
{
    struct segue_agent_opts opts = quick_opts(engine_id);
    segue_agent *agent;
    char end;
    if (segue_agent_create(&opts, &agent) < 0)
        _exit(1);
    if (role && role->prepare)
        role->prepare(agent);
    if (write(news, agent->address, sizeof agent->address) < 0 ||
        write(news, agent->incarnation, sizeof agent->incarnation) < 0)
        _exit(1);
    if (role && role->serve)
        role->serve(agent, orders);
    while (read(orders, &end, 1) < 0 && errno == EINTR)
        ;
    if (role && role->finish)
        role->finish(agent);
    segue_agent_destroy(agent);
    _exit(0);
}

/* Call it while this process has no threads. */
static inline void spawn(struct child *child, const char *engine_id,
                         const struct role *role)
{
    int orders[2], news[2];
    assert_int_equal(pipe(orders) | pipe(news), 0);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0) {
        close(orders[1]);
        close(news[0]);
        live(engine_id, role, orders[0], news[1]);
    }
    close(orders[0]);
    close(news[1]);
    child->orders = orders[1];
    assert_int_equal(read(news[0], child->address, sizeof child->address),
                     sizeof child->address);
    assert_int_equal(read(news[0], child->incarnation, sizeof child->incarnation),
                     sizeof child->incarnation);
    close(news[0]);
}

static inline int end_child(struct child *child)
{
    int status = -1;
    close(child->orders);
    waitpid(child->pid, &status, 0);
    return status;
}

static inline void kill_child(struct child *child)
{
    kill(child->pid, SIGKILL);
    end_child(child);
    unlink(child->address + strlen("unix:"));
}

#endif
