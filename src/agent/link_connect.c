/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of transports on a link. Most need only to know the peer's process; a
 * transport of streams gets one TCP connection (loopback, or where the link goes), dialled
 * by the side that dialled the link, so that both ends know which one they share:
 *
 *     dialler <--STREAM_WANT-- acceptor         (when the acceptor is the one in need)
 *     dialler --STREAM_ASK--> acceptor
 *     dialler <--STREAM_GRANT port, secret--
 *     dialler ==connects, sends the secret==> acceptor's data listener
 */
#include "agent/control.h"
#include "agent/link.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t row_of(const struct segue_lane *lane)
{
    return (size_t)(lane - lane->link->lanes);
}

static struct segue_loop *loop_of(const struct segue_lane *lane)
{
    return lane->link->agent->loop;
}

static void send_stream(struct segue_lane *lane, enum segue_link_type type,
                        struct segue_stream_message *message)
{
    uint8_t body[SEGUE_HELLO_ROOM];
    snprintf(message->transport, sizeof message->transport, "%s",
             segue_transport_name(row_of(lane)));
    segue_link_send(lane->link, SEGUE_SERVICE_LINK, (uint8_t)type, body,
                    segue_stream_message_write(type, message, body), NULL, 0);
}

/* Whatever was under way is over; the next who needs a connection begins again. */
static void reset(struct segue_lane *lane)
{
    segue_loop_timer_cancel(loop_of(lane), &lane->deadline);
    segue_caller_stop(&lane->caller);
    memset(lane->secret, 0, sizeof lane->secret);
    lane->begun = lane->granted = false;
}

static void fail_lane(struct segue_lane *lane, enum segue_status status)
{
    char why[256];
    snprintf(why, sizeof why, "%s", segue_error_detail());
    reset(lane);
    segue_fail(status, "%s", why);
    segue_link_waits_fail(&lane->waits, status);
}

static void on_deadline(struct segue_timer *timer)
{
    struct segue_lane *lane = timer->user;
    segue_fail(SEGUE_E_TIMEOUT, "no %s stream with %s came about in time",
               segue_transport_name(row_of(lane)), lane->link->name);
    fail_lane(lane, SEGUE_E_TIMEOUT);
}

static void begin(struct segue_lane *lane)
{
    lane->begun = true;
    segue_loop_timer_set(loop_of(lane), &lane->deadline,
                         segue_now_ns() + lane->link->agent->opts.connect_ns);
}

/* What a broken connection was for has ended; the next claim dials a link of its own. */
static void on_lost(void *user)
{
    segue_link_wear(((struct segue_lane *)user)->link);
}

/* The stream, if any, belongs to the connection, or is closed here. */
static enum segue_status open_connection(struct segue_lane *lane,
                                         struct segue_socket stream)
{
    struct segue_link *link = lane->link;
    struct segue_connect_args args = {link->pid, link->pidfd, stream};
    enum segue_status status = segue_connection_open(
        link->agent->transports[row_of(lane)], &args, &lane->connection);
    if (status < 0) {
        segue_socket_close(&stream);
        lane->connection = NULL;
        return status;
    }
    lane->connection->flight.lost_user = lane;
    lane->connection->flight.lost = on_lost;
    return status;
}

static void finish_stream(struct segue_lane *lane, struct segue_socket stream)
{
    reset(lane);
    enum segue_status status = open_connection(lane, stream);
    if (status < 0) {
        fail_lane(lane, status);
        return;
    }
    while (!segue_list_empty(&lane->waits)) {
        struct segue_link_wait *wait = segue_container_of(lane->waits.next,
                                                          struct segue_link_wait, list);
        wait->connection = lane->connection;
        segue_link_wait_end(wait, SEGUE_OK);
    }
}

/* Option encrypt; there is nobody between two processes of one host. */
static bool wants_secret(const struct segue_agent *agent)
{
    return agent->opts.encrypt == SEGUE_ENCRYPT_DATA;
}

static void ask(struct segue_lane *lane)
{
    struct segue_link *link = lane->link;
    struct segue_stream_message question = {.secure = link->network &&
                                                      wants_secret(link->agent)};
    begin(lane);
    send_stream(lane, SEGUE_LINK_STREAM_ASK, &question);
}

/* ---- dialling side ---- */

static void on_called(struct segue_caller *caller, enum segue_status status)
{
    struct segue_lane *lane = caller->user;
    if (status < 0)
        fail_lane(lane, status);
    else
        finish_stream(lane, caller->socket);
}

static void dial_stream(struct segue_lane *lane, uint16_t port)
{
    struct segue_link *link = lane->link;
    /* On another host the port that the link came by leads there too. */
    struct segue_address to = {.host = "127.0.0.1", .port = port};
    lane->caller = (struct segue_caller){.agent = link->agent,
                                         .done = on_called,
                                         .user = lane,
                                         .secure = lane->secure,
                                         .opening_len = SEGUE_PREAMBLE_BYTES};
    segue_preamble_write(lane->secret, lane->caller.opening);
    enum segue_status status = segue_caller_start(&lane->caller,
                                                  link->network ? &link->at : &to);
    if (status < 0)
        fail_lane(lane, status);
}

static enum segue_status on_grant(struct segue_lane *lane,
                                  const struct segue_stream_message *message)
{
    if (!lane->begun || lane->granted || lane->caller.state != SEGUE_CALLER_IDLE)
        return segue_fail(SEGUE_E_PROTOCOL, "a data stream was granted that nobody asked "
                                            "for");
    if (message->port == 0) {
        segue_fail(SEGUE_E_REFUSED, "%s refused a data stream: %s", lane->link->name,
                   message->why);
        fail_lane(lane, SEGUE_E_REFUSED);
    } else if (lane->link->dialled) {
        if (lane->link->network && wants_secret(lane->link->agent) && !message->secure) {
            segue_fail(SEGUE_E_REFUSED, "%s grants a data stream in the clear only",
                       lane->link->name);
            fail_lane(lane, SEGUE_E_REFUSED);
            return SEGUE_OK;
        }
        memcpy(lane->secret, message->secret, sizeof lane->secret);
        lane->secure = message->secure;
        dial_stream(lane, message->port);
    } else {
        return segue_fail(SEGUE_E_PROTOCOL,
                          "data streams are granted by who was dialled");
    }
    return SEGUE_OK;
}

/* ---- granting side ---- */

static void refuse(struct segue_lane *lane, const char *why)
{
    struct segue_stream_message message = {0};
    snprintf(message.why, sizeof message.why, "%.127s", why);
    send_stream(lane, SEGUE_LINK_STREAM_GRANT, &message);
}

static void grant(struct segue_lane *lane, bool secure)
{
    struct segue_agent *agent = lane->link->agent;
    struct segue_stream_message message = {.port = segue_control_port(agent)};
    lane->secure = lane->link->network && (secure || wants_secret(agent));
    message.secure = lane->secure;
    segue_random_fill(lane->secret, sizeof lane->secret);
    memcpy(message.secret, lane->secret, sizeof message.secret);
    begin(lane);
    lane->granted = true;
    send_stream(lane, SEGUE_LINK_STREAM_GRANT, &message);
}

static struct segue_lane *granted_lane(struct segue_agent *agent, const uint8_t *secret)
{
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        for (size_t row = 0; !link->closing && row < SEGUE_ROWS_MAX; row++) {
            struct segue_lane *lane = &link->lanes[row];
            if (lane->granted &&
                segue_mac_equal(lane->secret, secret, SEGUE_SECRET_BYTES))
                return lane;
        }
    }
    return NULL;
}

enum segue_status segue_link_stream_arrived(struct segue_agent *agent,
                                            const uint8_t secret[SEGUE_SECRET_BYTES],
                                            struct segue_socket *socket)
{
    struct segue_lane *lane = granted_lane(agent, secret);
    if (!lane)
        return segue_fail(SEGUE_E_AUTH, "a data stream without a valid secret");
    if (lane->secure && !socket->tls)
        return segue_fail(SEGUE_E_REFUSED, "a data stream in the clear, of %s",
                          lane->link->name);
    struct segue_socket stream = *socket;
    *socket = (struct segue_socket){.fd = -1};
    finish_stream(lane, stream);
    return SEGUE_OK;
}

/* ---- both ---- */

static enum segue_status lane_of(struct segue_link *link, const char *transport,
                                 struct segue_lane **out)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++)
        if (strcmp(segue_transport_name(row), transport) == 0) {
            *out = &link->lanes[row];
            return SEGUE_OK;
        }
    return segue_fail(SEGUE_E_PROTOCOL, "a data stream for '%s', which is no transport",
                      transport);
}

enum segue_status segue_link_stream_frame(struct segue_link *link,
                                          const struct segue_frame *frame)
{
    struct segue_stream_message message;
    struct segue_lane *lane = NULL;
    SEGUE_TRY(segue_stream_message_read(frame->type, frame->body, frame->len, &message));
    SEGUE_TRY(lane_of(link, message.transport, &lane));
    if (frame->type == SEGUE_LINK_STREAM_GRANT)
        return on_grant(lane, &message);
    bool asked = frame->type == SEGUE_LINK_STREAM_ASK;
    if (asked == link->dialled)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "data streams are dialled by who dialled the link");
    struct segue_transport *t = link->agent->transports[row_of(lane)];
    if (!t || !(t->caps & SEGUE_TRANSPORT_STREAM)) {
        refuse(lane,
               t ? "it moves no streams" : link->agent->transport_why[row_of(lane)]);
    } else if (lane->connection || lane->granted) {
        if (asked)
            refuse(lane, "this link has one already");
    } else if (asked) {
        grant(lane, message.secure);
    } else if (!lane->begun) {
        ask(lane);
    }
    return SEGUE_OK;
}

bool segue_link_reaches(const struct segue_link *link, size_t row)
{
    const struct segue_transport *t = link->agent->transports[row];
    return !link->network || !t || (t->caps & SEGUE_TRANSPORT_NETWORK);
}

void segue_link_connect(struct segue_link *link, size_t row, struct segue_link_wait *wait)
{
    struct segue_lane *lane = &link->lanes[row];
    struct segue_transport *t = link->agent->transports[row];
    enum segue_status status = SEGUE_OK;
    segue_list_init(&wait->list);
    wait->link = link;
    wait->why[0] = 0;
    if (link->closing)
        status = segue_fail(SEGUE_E_LOST, "the link to %s is going down", link->name);
    else if (!t)
        status = segue_fail(SEGUE_E_UNSUPPORTED, "%s", link->agent->transport_why[row]);
    else if (!segue_link_reaches(link, row))
        status = segue_fail(SEGUE_E_REFUSED, "%s does not reach other hosts",
                            segue_transport_name(row));
    else if (!lane->connection && !(t->caps & SEGUE_TRANSPORT_STREAM))
        status = open_connection(lane, (struct segue_socket){.fd = -1});
    wait->connection = lane->connection;
    if (status < 0 || lane->connection) {
        segue_link_wait_end(wait, status);
        return;
    }
    segue_list_push_back(&lane->waits, &wait->list);
    if (lane->begun)
        return;
    if (link->dialled) {
        ask(lane);
    } else {
        begin(lane);
        send_stream(lane, SEGUE_LINK_STREAM_WANT, &(struct segue_stream_message){0});
    }
}

void segue_lanes_open(struct segue_link *link)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++) {
        struct segue_lane *lane = &link->lanes[row];
        lane->link = link;
        segue_list_init(&lane->waits);
        lane->deadline = (struct segue_timer){.fn = on_deadline, .user = lane};
    }
}

static void on_gone(void *user)
{
    struct segue_link *link = user;
    if (--link->open_lanes == 0)
        link->gone(link);
}

void segue_lanes_close(struct segue_link *link, void (*gone)(struct segue_link *link))
{
    link->gone = gone;
    link->open_lanes = 1; /* until all have been asked to close */
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++) {
        struct segue_lane *lane = &link->lanes[row];
        segue_fail(link->status, "%s", link->why);
        fail_lane(lane, link->status);
        if (lane->connection) {
            link->open_lanes++;
            segue_connection_close(lane->connection, on_gone, link);
        }
    }
    on_gone(link);
}
