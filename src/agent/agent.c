/* SPDX-License-Identifier: Apache-2.0 */
/* An agent's beginning, its thread, and its end. */
#include "agent/agent.h"
#include "agent/control.h"
#include "agent/fault.h"
#include "agent/link.h"
#include "agent/options.h"
#include "agent/trust.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "transport/fault.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Services cancel what they have; what cannot be cancelled (a device copy) ends by
 * itself. */
#define STOP_NS (10 * SEGUE_NS_PER_S)

/* Which agent's thread this is. */
static _Thread_local struct segue_agent *here;

/* ---- calls from other threads ---- */

struct call {
    struct segue_task task;
    struct segue_agent *agent;
    enum segue_status (*fn)(struct segue_agent *agent, void *arg);
    void *arg;
    enum segue_status status;
    char detail[512];
    sem_t done;
};

static void run_call(struct segue_task *task)
{
    struct call *call = task->user;
    call->status = call->fn(call->agent, call->arg);
    if (call->status < 0)
        snprintf(call->detail, sizeof call->detail, "%s", segue_error_detail());
    sem_post(&call->done);
}

enum segue_status
segue_agent_call(struct segue_agent *agent,
                 enum segue_status (*fn)(struct segue_agent *agent, void *arg), void *arg)
{
    if (here == agent)
        return fn(agent, arg);
    struct call call = {.task = {.fn = run_call}, .agent = agent, .fn = fn, .arg = arg};
    call.task.user = &call;
    sem_init(&call.done, 0, 0);
    segue_loop_post(agent->loop, &call.task);
    while (sem_wait(&call.done) < 0)
        assert(errno == EINTR);
    sem_destroy(&call.done);
    if (call.status < 0)
        return segue_fail(call.status, "%s", call.detail);
    return call.status;
}

void segue_agent_service_add(struct segue_agent *agent, struct segue_service *service)
{
    assert(service->type < SEGUE_SERVICES_MAX && !agent->services[service->type]);
    agent->services[service->type] = service;
}

/* ---- the thread ---- */

static bool all_idle(struct segue_agent *agent)
{
    for (size_t i = 0; i < SEGUE_SERVICES_MAX; i++) {
        struct segue_service *service = agent->services[i];
        if (service && service->idle && !service->idle(service))
            return false;
    }
    return true;
}

static void stop_services(struct segue_agent *agent)
{
    for (size_t i = SEGUE_SERVICES_MAX; i-- > 0;)
        if (agent->services[i] && agent->services[i]->stop)
            agent->services[i]->stop(agent->services[i]);
    uint64_t now = segue_now_ns(), deadline = now + STOP_NS;
    for (; !all_idle(agent) && now < deadline; now = segue_now_ns())
        segue_loop_turn(agent->loop, (int64_t)(deadline - now));
    if (!all_idle(agent))
        SEGUE_LOG(ERROR, "agent", "some hand-offs did not end in time; their links do");
}

static void close_links(struct segue_agent *agent)
{
    agent->ending = true;
    segue_control_stop(agent);
    segue_list_each (at, &agent->links)
        segue_link_close(segue_container_of(at, struct segue_link, list),
                         "the agent has ended");
    while (!segue_list_empty(&agent->links))
        segue_loop_turn(agent->loop, -1);
}

static void *thread_main(void *arg)
{
    struct segue_agent *agent = arg;
    here = agent;
    while (!agent->stopping)
        segue_loop_turn(agent->loop, -1);
    stop_services(agent);
    close_links(agent);
    for (size_t i = SEGUE_SERVICES_MAX; i-- > 0;)
        if (agent->services[i] && agent->services[i]->close)
            agent->services[i]->close(agent->services[i]);
    return NULL;
}

static enum segue_status start_thread(struct segue_agent *agent)
{
    /* Signals are the application's. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&agent->thread, NULL, thread_main, agent);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err)
        return segue_fail_errno(SEGUE_E_SYSTEM, err, "cannot start the agent's thread");
    pthread_setname_np(agent->thread, "segue-agent");
    return SEGUE_OK;
}

/* ---- create ---- */

/* Equal on two agents that run on one host since the same boot; zeros where nobody
 * says. */
static void read_boot_id(uint8_t out[16])
{
    char text[64] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file)
        return;
    size_t n = fread(text, 1, sizeof text - 1, file), digits = 0;
    fclose(file);
    for (size_t i = 0; i < n && digits < 32; i++) {
        const char *hex = "0123456789abcdef", *at = strchr(hex, text[i]);
        if (text[i] == '-' || !at)
            continue;
        out[digits / 2] = (uint8_t)(out[digits / 2] << 4 | (at - hex));
        digits++;
    }
}

static void open_transports(struct segue_agent *agent)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++)
        if (segue_transport_open(row, agent->loop, agent->pool, &agent->transports[row]) <
            0) {
            agent->transports[row] = NULL;
            snprintf(agent->transport_why[row], sizeof agent->transport_why[row], "%s",
                     segue_error_detail());
            SEGUE_LOG(INFO, "agent", "no %s: %s", segue_transport_name(row),
                      agent->transport_why[row]);
        }
}

static enum segue_status plan_faults(struct segue_agent *agent)
{
    SEGUE_TRY(segue_agent_faults_open(agent));
    for (size_t row = 0; agent->faults && row < SEGUE_ROWS_MAX; row++)
        if (agent->transports[row])
            SEGUE_TRY(segue_transport_add_faults(agent->transports[row], agent->faults));
    return SEGUE_OK;
}

static void free_agent(struct segue_agent *agent)
{
    if (agent->control)
        segue_control_close(agent);
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        segue_transport_close(agent->transports[row]);
    for (size_t i = 0; i < agent->n_devices; i++)
        segue_device_close(agent->devices[i]);
    segue_pool_destroy(agent->pool);
    segue_loop_destroy(agent->loop);
    segue_events_close(&agent->events);
    segue_trust_close(agent);
    segue_agent_options_free(&agent->opts);
    segue_faults_release(agent->faults);
    free(agent);
}

static enum segue_status open_parts(struct segue_agent *agent)
{
    SEGUE_TRY(segue_trust_open(agent));
    SEGUE_TRY(segue_events_open(&agent->events));
    SEGUE_TRY(segue_loop_create(&agent->loop));
    SEGUE_TRY(segue_pool_create(agent->opts.mover_threads, "segue-mover", &agent->pool));
    struct segue_device_args host = {"host", agent->pool};
    SEGUE_TRY(segue_device_open(&host, &agent->devices[0]));
    agent->n_devices = 1;
    open_transports(agent);
    SEGUE_TRY(plan_faults(agent));
    SEGUE_TRY(segue_control_open(agent));
    return start_thread(agent);
}

enum segue_status segue_agent_create(const struct segue_agent_opts *opts,
                                     segue_agent **out)
{
    struct segue_agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return segue_fail(SEGUE_E_MEMORY, "no memory for an agent");
    agent->events.fd = -1;
    segue_list_init(&agent->links);
    segue_list_init(&agent->strangers);
    enum segue_status status = segue_agent_options_read(opts, &agent->opts);
    if (status >= 0) {
        snprintf(agent->engine_id, sizeof agent->engine_id, "%s", agent->opts.engine_id);
        if (agent->opts.incarnation)
            memcpy(agent->incarnation, agent->opts.incarnation,
                   sizeof agent->incarnation);
        else
            segue_random_fill(agent->incarnation, sizeof agent->incarnation);
        agent->opts.incarnation = NULL; /* the caller's */
        if (agent->opts.endpoint) {
            snprintf(agent->endpoint, sizeof agent->endpoint, "%s", agent->opts.endpoint);
            agent->opts.endpoint = agent->endpoint;
        }
        segue_random_fill(agent->agent_id, sizeof agent->agent_id);
        read_boot_id(agent->boot_id);
        status = open_parts(agent);
    }
    if (status < 0) {
        free_agent(agent);
        return status;
    }
    SEGUE_LOG(INFO, "agent", "engine '%s' at %s", agent->engine_id, agent->address);
    *out = agent;
    return SEGUE_OK;
}

static enum segue_status stop(struct segue_agent *agent, void *arg)
{
    agent->stopping = true;
    return SEGUE_OK;
}

void segue_agent_destroy(segue_agent *agent)
{
    if (!agent)
        return;
    assert(here != agent);
    segue_agent_call(agent, stop, NULL);
    pthread_join(agent->thread, NULL);
    free_agent(agent);
}

/* ---- what anybody may ask ---- */

const char *segue_agent_engine_id(const segue_agent *agent)
{
    return agent->engine_id;
}

const char *segue_agent_address(const segue_agent *agent)
{
    return agent->address;
}

const char *segue_agent_network(const segue_agent *agent)
{
    return agent->network;
}

int segue_agent_fd(const segue_agent *agent)
{
    return agent->events.fd;
}

enum segue_status segue_event_next(segue_agent *agent, struct segue_event *event)
{
    return segue_events_pop(&agent->events, event);
}

const char *segue_verdict_name(enum segue_verdict verdict)
{
    switch (verdict) {
#define CASE(name, value, text)                                                          \
    case SEGUE_VERDICT_##name:                                                           \
        return text;
        SEGUE_VERDICT_MAP(CASE)
#undef CASE
    }
    return "?";
}

/* ---- devices ---- */

struct find {
    const char *name;
    segue_device *device;
};

static struct segue_device *opened(const struct segue_agent *agent, const char *name)
{
    for (size_t i = 0; i < agent->n_devices; i++)
        if (strcmp(agent->devices[i]->name, name) == 0)
            return agent->devices[i];
    return NULL;
}

static enum segue_status find_device(struct segue_agent *agent, void *arg)
{
    struct find *find = arg;
    find->device = opened(agent, find->name);
    if (find->device)
        return SEGUE_OK;
    if (agent->n_devices == SEGUE_DEVICES_MAX)
        return segue_fail(SEGUE_E_LIMIT, "device '%s': %d are open already", find->name,
                          SEGUE_DEVICES_MAX);
    struct segue_device_args args = {find->name, agent->pool};
    struct segue_device *device;
    SEGUE_TRY(segue_device_open(&args, &device));
    /* An alias opens what may be open already under its own name. */
    find->device = opened(agent, device->name);
    if (find->device)
        segue_device_close(device);
    else
        find->device = agent->devices[agent->n_devices++] = device;
    return SEGUE_OK;
}

enum segue_status segue_device_find(segue_agent *agent, const char *name,
                                    segue_device **out)
{
    struct find find = {.name = name};
    SEGUE_TRY(segue_agent_call(agent, find_device, &find));
    *out = find.device;
    return SEGUE_OK;
}
