/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to other hosts, step by step. */
#include "agent/caller.h"
#include "agent/trust.h"
#include "base/log.h"

#include <string.h>

void segue_caller_stop(struct segue_caller *c)
{
    if (c->state == SEGUE_CALLER_IDLE)
        return;
    c->state = SEGUE_CALLER_IDLE;
    segue_loop_unwatch(c->agent->loop, &c->watch);
    segue_socket_close(&c->socket);
}

static void finish(struct segue_caller *c, enum segue_status status)
{
    segue_loop_unwatch(c->agent->loop, &c->watch);
    c->state = SEGUE_CALLER_IDLE;
    if (status < 0)
        segue_socket_close(&c->socket);
    c->done(c, status);
}

/* A socket that has just been connected takes these few bytes, or something is wrong. */
static enum segue_status say(struct segue_caller *c, const void *data, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    size_t sent = 0;
    enum segue_status status = segue_socket_send(&c->socket, &iov, 1, NULL, 0, &sent);
    if (status == SEGUE_OK && sent == len)
        status = segue_socket_flush(&c->socket);
    if (status == SEGUE_OK && sent == len)
        return SEGUE_OK;
    return status < 0 ? status
                      : segue_fail(SEGUE_E_LOST, "a new connection takes no bytes");
}

/* Reads until `want` bytes are there: OK, IN_PROGRESS or a failure. In the clear only, so
 * that nothing of what follows is taken. */
static enum segue_status hear(struct segue_caller *c, size_t want)
{
    while (c->got < want) {
        size_t got = 0;
        enum segue_status status = segue_socket_recv(&c->socket, c->in + c->got,
                                                     want - c->got, &got, NULL, 0, NULL);
        if (status != SEGUE_OK)
            return status;
        c->got += got;
    }
    return SEGUE_OK;
}

static enum segue_status wait_for(struct segue_caller *c, uint32_t events)
{
    SEGUE_TRY(segue_loop_modify(c->agent->loop, &c->watch, events));
    return SEGUE_IN_PROGRESS;
}

/* Each step returns OK when the call is over, IN_PROGRESS while it goes on. */

static enum segue_status shake(struct segue_caller *c)
{
    uint32_t events = 0;
    enum segue_status status = segue_tls_shake(c->socket.tls, &events);
    if (status == SEGUE_IN_PROGRESS)
        return wait_for(c, events);
    return status < 0 ? status : say(c, c->opening, c->opening_len);
}

static enum segue_status greeted(struct segue_caller *c)
{
    struct segue_keys common = {0};
    enum segue_status status = hear(c, SEGUE_GREETING_BYTES);
    if (status != SEGUE_OK)
        return status;
    status = segue_greeting_read(c->in, segue_trust_keys(c->agent), &common);
    if (status >= 0)
        status = segue_trust_tls(c->agent, c->socket.fd, false, &common, &c->socket.tls);
    segue_keys_wipe(&common);
    SEGUE_TRY(status);
    c->state = SEGUE_CALLER_SHAKING;
    return shake(c);
}

static enum segue_status answered(struct segue_caller *c)
{
    enum segue_status status = hear(c, 1);
    if (status == SEGUE_OK && c->in[0] > SEGUE_ANSWER_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "its answer is too long");
    if (status == SEGUE_OK)
        status = hear(c, 1 + (size_t)c->in[0]);
    if (status != SEGUE_OK)
        return status;
    memcpy(c->answer, c->in + 1, c->in[0]);
    c->answer[c->in[0]] = 0;
    if (strlen(c->answer) != c->in[0])
        return segue_fail(SEGUE_E_PROTOCOL, "its answer is no path");
    segue_socket_close(&c->socket);
    return SEGUE_OK;
}

static enum segue_status connected(struct segue_caller *c)
{
    uint8_t greeting[SEGUE_GREETING_BYTES];
    uint32_t silent_ms = (uint32_t)(c->agent->opts.silent_ns / 1000000);
    SEGUE_TRY(segue_stream_tune(c->socket.fd, silent_ms));
    c->got = 0;
    if (c->secure) {
        segue_greeting_write(segue_trust_keys(c->agent), greeting);
        SEGUE_TRY(say(c, greeting, sizeof greeting));
        c->state = SEGUE_CALLER_GREETING;
        return wait_for(c, EPOLLIN);
    }
    SEGUE_TRY(say(c, c->opening, c->opening_len));
    if (segue_opening_read(c->opening) != SEGUE_OPENING_WHERE)
        return SEGUE_OK;
    c->state = SEGUE_CALLER_ASKING;
    return wait_for(c, EPOLLIN);
}

static enum segue_status step(struct segue_caller *c)
{
    enum segue_status status;
    switch (c->state) {
    case SEGUE_CALLER_CONNECTING:
        status = segue_stream_connected(c->socket.fd);
        return status == SEGUE_OK ? connected(c) : status;
    case SEGUE_CALLER_GREETING:
        return greeted(c);
    case SEGUE_CALLER_SHAKING:
        return shake(c);
    case SEGUE_CALLER_ASKING:
        return answered(c);
    case SEGUE_CALLER_IDLE:
        break;
    }
    return SEGUE_IN_PROGRESS;
}

static void on_event(struct segue_watch *watch, uint32_t events)
{
    struct segue_caller *c = watch->user;
    enum segue_status status = step(c);
    if (status != SEGUE_IN_PROGRESS)
        finish(c, status);
}

enum segue_status segue_caller_start(struct segue_caller *c,
                                     const struct segue_address *to)
{
    c->socket = (struct segue_socket){.fd = -1};
    if (c->secure && segue_trust_keys(c->agent)->n == 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "without a cluster key nobody on another host is talked to "
                          "(option key; segue key new makes one)");
    if (!segue_address_is_numeric(to))
        return segue_fail(SEGUE_E_REFUSED, "address '%.60s' is not numeric", to->host);
    enum segue_status status = segue_stream_connect_tcp(to->host, to->port,
                                                        &c->socket.fd);
    if (status < 0)
        return status;
    /* Connected at once or not: the watch says so in the loop's next turn. */
    c->watch = (struct segue_watch){.fd = c->socket.fd, .fn = on_event, .user = c};
    status = segue_loop_watch(c->agent->loop, &c->watch, EPOLLOUT);
    if (status < 0) {
        segue_socket_close(&c->socket);
        return status;
    }
    c->state = SEGUE_CALLER_CONNECTING;
    return SEGUE_OK;
}
