/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strangers, until they have shown what they are.
 *
 *     in the clear:  DATA + secret --> a stream that a link has granted
 *                    TLS greeting  --> ours, handshake, then inside:  LINK --> a link
 *                                                                     DATA + secret
 *                    LINK          --> a link, where insecure has been said
 *                    WHERE         --> the path of our unix socket, to this host only
 */
#include "agent/stranger.h"
#include "agent/control.h"
#include "agent/frame.h"
#include "agent/link.h"
#include "agent/trust.h"
#include "base/address.h"
#include "base/clock.h"
#include "base/log.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum state { CLEAR, SHAKING, INSIDE };

struct stranger {
    struct segue_list list;
    struct segue_agent *agent;
    struct segue_watch watch;
    struct segue_timer deadline;
    struct segue_socket socket;
    enum state state;
    bool network;
    uint8_t in[SEGUE_PREAMBLE_BYTES];
    size_t got;
    char name[80]; /* "10.0.0.1:34567" */
};

_Static_assert(SEGUE_GREETING_BYTES <= SEGUE_PREAMBLE_BYTES, "both fit in `in`");

static void stranger_free(struct stranger *s)
{
    segue_loop_unwatch(s->agent->loop, &s->watch);
    segue_loop_timer_cancel(s->agent->loop, &s->deadline);
    segue_list_remove(&s->list);
    s->agent->n_strangers--;
    segue_socket_close(&s->socket);
    free(s);
}

/* The socket is somebody else's now. */
static struct segue_socket take_socket(struct stranger *s)
{
    struct segue_socket socket = s->socket;
    segue_loop_unwatch(s->agent->loop, &s->watch);
    s->socket = (struct segue_socket){.fd = -1};
    return socket;
}

/* Reads until `want` bytes are there and not one more. */
static enum segue_status hear(struct stranger *s, size_t want)
{
    while (s->got < want) {
        size_t got = 0;
        enum segue_status status = segue_socket_recv(&s->socket, s->in + s->got,
                                                     want - s->got, &got, NULL, 0, NULL);
        if (status != SEGUE_OK)
            return status;
        s->got += got;
    }
    return SEGUE_OK;
}

/* ---- each returns OK when the stranger is one no more, or IN_PROGRESS ---- */

static enum segue_status become_stream(struct stranger *s)
{
    uint8_t secret[SEGUE_SECRET_BYTES];
    enum segue_status status = hear(s, SEGUE_PREAMBLE_BYTES);
    if (status != SEGUE_OK)
        return status;
    segue_preamble_read(s->in, secret);
    struct segue_socket socket = take_socket(s);
    status = segue_link_stream_arrived(s->agent, secret, &socket);
    s->socket = socket; /* closed with the stranger, unless it was taken over */
    return status;
}

static enum segue_status become_link(struct stranger *s)
{
    return segue_link_accept_network(s->agent, take_socket(s), s->name);
}

static enum segue_status tell_where(struct stranger *s)
{
    struct segue_address from;
    const char *path = s->agent->address + strlen(SEGUE_UNIX_PREFIX);
    uint8_t answer[1 + sizeof s->agent->address];
    size_t sent, len = strlen(path);
    SEGUE_TRY(segue_address_read(s->name, NULL, &from));
    if (!segue_address_is_loopback(&from))
        return segue_fail(SEGUE_E_REFUSED, "it asks for our unix socket from another "
                                           "host");
    answer[0] = (uint8_t)len;
    memcpy(answer + 1, path, len);
    return segue_socket_send(&s->socket, &(struct iovec){answer, 1 + len}, 1, NULL, 0,
                             &sent);
}

static enum segue_status shake(struct stranger *s);

static enum segue_status greet(struct stranger *s)
{
    const struct segue_keys *ours = segue_trust_keys(s->agent);
    struct segue_keys common = {0};
    uint8_t greeting[SEGUE_GREETING_BYTES];
    size_t sent;
    if (ours->n == 0)
        return segue_fail(SEGUE_E_REFUSED, "it greets with a cluster key, and we have "
                                           "none");
    enum segue_status status = hear(s, SEGUE_GREETING_BYTES);
    if (status != SEGUE_OK)
        return status;
    /* Also to who has another key: it learns that it has. */
    segue_greeting_write(ours, greeting);
    SEGUE_TRY(segue_socket_send(&s->socket, &(struct iovec){greeting, sizeof greeting}, 1,
                                NULL, 0, &sent));
    SEGUE_TRY(segue_greeting_read(s->in, ours, &common));
    status = segue_trust_tls(s->agent, s->socket.fd, true, ours, &s->socket.tls);
    segue_keys_wipe(&common);
    SEGUE_TRY(status);
    s->state = SHAKING;
    return shake(s);
}

static enum segue_status open_with(struct stranger *s)
{
    enum segue_status status = hear(s, SEGUE_OPENING_BYTES);
    if (status != SEGUE_OK)
        return status;
    bool inside = s->state == INSIDE, insecure = s->agent->opts.insecure;
    switch (segue_opening_read(s->in)) {
    case SEGUE_OPENING_DATA:
        return become_stream(s);
    case SEGUE_OPENING_LINK:
        if (inside || (s->network && insecure && segue_trust_keys(s->agent)->n == 0))
            return become_link(s);
        return segue_fail(SEGUE_E_REFUSED, "a link in the clear");
    case SEGUE_OPENING_TLS:
        if (s->network && !inside)
            return greet(s);
        break;
    case SEGUE_OPENING_WHERE:
        if (s->network && !inside)
            return tell_where(s);
        break;
    case SEGUE_OPENING_NONE:
        break;
    }
    return segue_fail(SEGUE_E_PROTOCOL, "its first bytes are nothing of ours");
}

static enum segue_status shake(struct stranger *s)
{
    uint32_t events = 0;
    enum segue_status status = segue_tls_shake(s->socket.tls, &events);
    if (status == SEGUE_IN_PROGRESS)
        SEGUE_TRY(segue_loop_modify(s->agent->loop, &s->watch, events));
    if (status != SEGUE_OK)
        return status;
    SEGUE_TRY(segue_loop_modify(s->agent->loop, &s->watch, EPOLLIN));
    s->state = INSIDE;
    s->got = 0;
    return open_with(s); /* what has been decrypted already shows on no fd */
}

static void on_event(struct segue_watch *watch, uint32_t events)
{
    struct stranger *s = watch->user;
    enum segue_status status = s->state == SHAKING ? shake(s) : open_with(s);
    if (status == SEGUE_IN_PROGRESS)
        return;
    if (status < 0)
        SEGUE_LOG(WARN, "agent", "a connection from %s was refused: %s", s->name,
                  segue_error_detail());
    stranger_free(s);
}

static void on_deadline(struct segue_timer *timer)
{
    struct stranger *s = timer->user;
    SEGUE_LOG(WARN, "agent", "a connection from %s did not prove in time what it is",
              s->name);
    stranger_free(s);
}

static void name_of(int fd, char *out, size_t cap)
{
    struct sockaddr_storage peer;
    struct segue_address address = {.host = "?"};
    socklen_t len = sizeof peer;
    char port[8] = "0";
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        getnameinfo((struct sockaddr *)&peer, len, address.host, sizeof address.host,
                    port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    address.port = (uint16_t)atoi(port);
    segue_address_write(&address, out, cap);
}

void segue_stranger_meet(struct segue_agent *agent, int fd, bool network)
{
    if (agent->n_strangers == SEGUE_STRANGERS_MAX) {
        struct stranger *oldest = segue_container_of(agent->strangers.next,
                                                     struct stranger, list);
        SEGUE_LOG(WARN, "agent", "too many strangers: %s is sent away", oldest->name);
        stranger_free(oldest);
    }
    struct stranger *s = calloc(1, sizeof *s);
    if (!s) {
        segue_fd_close(&fd);
        return;
    }
    s->agent = agent;
    s->network = network;
    s->socket.fd = fd;
    s->watch = (struct segue_watch){.fd = fd, .fn = on_event, .user = s};
    s->deadline = (struct segue_timer){.fn = on_deadline, .user = s};
    name_of(fd, s->name, sizeof s->name);
    segue_list_push_back(&agent->strangers, &s->list);
    agent->n_strangers++;
    segue_loop_timer_set(agent->loop, &s->deadline,
                         segue_now_ns() + agent->opts.connect_ns);
    if (segue_loop_watch(agent->loop, &s->watch, EPOLLIN) < 0)
        stranger_free(s);
}

void segue_strangers_close(struct segue_agent *agent)
{
    while (!segue_list_empty(&agent->strangers))
        stranger_free(segue_container_of(agent->strangers.next, struct stranger, list));
}
