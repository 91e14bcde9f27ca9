/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of transports on a link. Most need only to know the peer's process; a
 * transport of streams gets one loopback connection, dialled by the side that dialled the
 * link, so that both ends know which one they share:
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
    segue_loop_unwatch(loop_of(lane), &lane->dial);
    segue_fd_close(&lane->dial.fd);
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
static enum segue_status open_connection(struct segue_lane *lane, int stream)
{
    struct segue_link *link = lane->link;
    struct segue_connect_args args = {link->pid, link->pidfd, stream};
    enum segue_status status = segue_connection_open(
        link->agent->transports[row_of(lane)], &args, &lane->connection);
    if (status < 0) {
        segue_fd_close(&stream);
        lane->connection = NULL;
        return status;
    }
    lane->connection->flight.lost_user = lane;
    lane->connection->flight.lost = on_lost;
    return status;
}

static void finish_stream(struct segue_lane *lane, int stream)
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

/* ---- dialling side ---- */

static void send_preamble(struct segue_lane *lane)
{
    uint8_t preamble[SEGUE_PREAMBLE_BYTES];
    struct iovec iov = {preamble, sizeof preamble};
    size_t sent = 0;
    segue_preamble_write(lane->secret, preamble);
    enum segue_status status = segue_stream_send(lane->dial.fd, &iov, 1, NULL, 0, &sent);
    /* A socket that has just been connected takes twenty bytes, or something is wrong
     * with it. */
    if (status != SEGUE_OK || sent != sizeof preamble) {
        if (status >= 0)
            status = segue_fail(SEGUE_E_LOST, "a new data stream takes no bytes");
        fail_lane(lane, status);
        return;
    }
    int stream = lane->dial.fd;
    segue_loop_unwatch(loop_of(lane), &lane->dial);
    lane->dial.fd = -1;
    finish_stream(lane, stream);
}

static void on_dialled(struct segue_watch *watch, uint32_t events)
{
    struct segue_lane *lane = watch->user;
    enum segue_status status = segue_stream_connected(watch->fd);
    if (status == SEGUE_OK)
        send_preamble(lane);
    else if (status < 0)
        fail_lane(lane, status);
}

static void dial_stream(struct segue_lane *lane, uint16_t port)
{
    enum segue_status status = segue_stream_connect_tcp("127.0.0.1", port,
                                                        &lane->dial.fd);
    if (status == SEGUE_OK) {
        send_preamble(lane);
        return;
    }
    if (status == SEGUE_IN_PROGRESS)
        status = segue_loop_watch(loop_of(lane), &lane->dial, EPOLLOUT);
    if (status < 0)
        fail_lane(lane, status);
}

static enum segue_status on_grant(struct segue_lane *lane,
                                  const struct segue_stream_message *message)
{
    if (!lane->begun || lane->granted || lane->dial.fd >= 0)
        return segue_fail(SEGUE_E_PROTOCOL, "a data stream was granted that nobody asked "
                                            "for");
    if (message->port == 0) {
        segue_fail(SEGUE_E_REFUSED, "%s refused a data stream: %s", lane->link->name,
                   message->why);
        fail_lane(lane, SEGUE_E_REFUSED);
    } else if (lane->link->dialled) {
        memcpy(lane->secret, message->secret, sizeof lane->secret);
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

static void grant(struct segue_lane *lane)
{
    struct segue_stream_message message = {.port = segue_control_port(lane->link->agent)};
    segue_random_fill(lane->secret, sizeof lane->secret);
    memcpy(message.secret, lane->secret, sizeof message.secret);
    begin(lane);
    lane->granted = true;
    send_stream(lane, SEGUE_LINK_STREAM_GRANT, &message);
}

static bool same_secret(const uint8_t *a, const uint8_t *b)
{
    unsigned differ = 0;
    for (size_t i = 0; i < SEGUE_SECRET_BYTES; i++)
        differ |= (unsigned)(a[i] ^ b[i]);
    return differ == 0;
}

bool segue_link_stream_arrived(struct segue_agent *agent,
                               const uint8_t secret[SEGUE_SECRET_BYTES], int fd)
{
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        for (size_t row = 0; !link->closing && row < SEGUE_ROWS_MAX; row++) {
            struct segue_lane *lane = &link->lanes[row];
            if (lane->granted && same_secret(lane->secret, secret)) {
                finish_stream(lane, fd);
                return true;
            }
        }
    }
    return false;
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
    bool ask = frame->type == SEGUE_LINK_STREAM_ASK;
    if (ask == link->dialled)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "data streams are dialled by who dialled the link");
    struct segue_transport *t = link->agent->transports[row_of(lane)];
    if (!t || !(t->caps & SEGUE_TRANSPORT_STREAM)) {
        refuse(lane,
               t ? "it moves no streams" : link->agent->transport_why[row_of(lane)]);
    } else if (lane->connection || lane->granted) {
        if (ask)
            refuse(lane, "this link has one already");
    } else if (ask) {
        grant(lane);
    } else if (!lane->begun) {
        struct segue_stream_message question = {0};
        begin(lane);
        send_stream(lane, SEGUE_LINK_STREAM_ASK, &question);
    }
    return SEGUE_OK;
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
    else if (!lane->connection && !(t->caps & SEGUE_TRANSPORT_STREAM))
        status = open_connection(lane, -1);
    wait->connection = lane->connection;
    if (status < 0 || lane->connection) {
        segue_link_wait_end(wait, status);
        return;
    }
    segue_list_push_back(&lane->waits, &wait->list);
    if (!lane->begun) {
        struct segue_stream_message message = {0};
        begin(lane);
        send_stream(lane, link->dialled ? SEGUE_LINK_STREAM_ASK : SEGUE_LINK_STREAM_WANT,
                    &message);
    }
}

void segue_lanes_open(struct segue_link *link)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++) {
        struct segue_lane *lane = &link->lanes[row];
        lane->link = link;
        segue_list_init(&lane->waits);
        lane->deadline = (struct segue_timer){.fn = on_deadline, .user = lane};
        lane->dial = (struct segue_watch){.fd = -1, .fn = on_dialled, .user = lane};
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
