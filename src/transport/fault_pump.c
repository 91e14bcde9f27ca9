/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump of a faulted stream: a thread that carries the bytes between the connection and the peer's socket, reads the
 * frames as they pass, and so knows the first byte, the middle and the end of every transfer.
 *
 *     connection === loopback === pump === the peer's stream
 *
 * What it does to the stream is what a network can do: late, in crumbs, cut, or silent. The kernel does the rest.
 */
#include "transport/fault.h"

#include "base/stream.h"
#include "transport/tcp_frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK        (64u << 10)
#define CRUMB        4096 /* a millisecond, in a storm: less than any sender has */
#define EXPECTED_MAX 4096 /* transfers under way in one direction */

struct expected {
    uint64_t tag, total, moved;
};

struct way {
    int from, to;
    bool open, raw; /* raw: no frames of ours any more */
    uint8_t head[SEGUE_TCP_HEADER];
    size_t head_at;
    uint64_t left, tag; /* of the body that passes */
    struct expected *expected;
    size_t n_expected;
};

struct segue_pump {
    struct segue_faults *faults;
    atomic_uint owners;
    pthread_mutex_t lock; /* of both `expected` */
    int near, far;
    struct way sends, receives;
    uint64_t short_bytes, eagain;
    bool mute, cut;
    uint8_t buffer[CHUNK];
};

/* ---- what passes ---- */

/* Sleeps, but not longer than the connection lives. */
static void hold(const struct segue_pump *pump, uint64_t ns)
{
    struct pollfd p = {pump->near, POLLRDHUP, 0};
    poll(&p, 1, (int)(ns / 1000000));
}

static void step(struct segue_pump *pump, const char *name)
{
    struct segue_fault fault;
    if (!segue_fault_at(pump->faults, name, &fault))
        return;
    switch (fault.what) {
    case SEGUE_FAULT_DELAY:
        hold(pump, fault.amount);
        break;
    case SEGUE_FAULT_MUTE:
        pump->mute = true;
        break;
    case SEGUE_FAULT_SHORT:
        pump->short_bytes = fault.amount ? fault.amount : 1;
        break;
    case SEGUE_FAULT_EAGAIN:
        pump->eagain = fault.amount;
        break;
    default: /* cut, fail */
        pump->cut = true;
    }
}

static bool send_some(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void forward(struct segue_pump *pump, struct way *way, const uint8_t *data,
                    size_t len)
{
    while (len && !pump->cut && !pump->mute) {
        size_t n = len;
        if (pump->short_bytes && n > pump->short_bytes)
            n = pump->short_bytes;
        if (pump->eagain) {
            pump->eagain--;
            n = n < CRUMB ? n : CRUMB;
            hold(pump, 1000000);
        }
        if (!send_some(way->to, data, n))
            pump->cut = true;
        data += n;
        len -= n;
    }
}

/* Under the lock. */
static struct expected *find(struct way *way, uint64_t tag)
{
    for (size_t i = 0; i < way->n_expected; i++)
        if (way->expected[i].tag == tag)
            return &way->expected[i];
    return NULL;
}

/* A frame's header is whole. Which step it is, or NULL. */
static const char *begin_frame(struct segue_pump *pump, struct way *way)
{
    struct segue_tcp_frame frame;
    const char *name = NULL;
    if (segue_tcp_frame_read(way->head, &frame) < 0) {
        way->raw = true;
        return NULL;
    }
    way->left = frame.length;
    way->tag = frame.tag;
    pthread_mutex_lock(&pump->lock);
    struct expected *e = find(way, frame.tag);
    if (e && frame.length && e->moved == 0)
        name = "first-byte";
    else if (e && frame.flags == SEGUE_TCP_END && e->moved == e->total)
        name = "last-byte";
    if (e && frame.flags)
        *e = way->expected[--way->n_expected];
    pthread_mutex_unlock(&pump->lock);
    return name;
}

/* How many of `n` body bytes may pass before something is to happen; true: it happens then. */
static bool up_to_middle(struct segue_pump *pump, struct way *way, size_t *n)
{
    bool middle = false;
    pthread_mutex_lock(&pump->lock);
    struct expected *e = find(way, way->tag);
    if (e && e->moved < e->total / 2) {
        uint64_t room = e->total / 2 - e->moved;
        middle = *n >= room;
        *n = middle ? (size_t)room : *n;
    }
    if (e)
        e->moved += *n;
    pthread_mutex_unlock(&pump->lock);
    return middle;
}

static void pass(struct segue_pump *pump, struct way *way, const uint8_t *data,
                 size_t len)
{
    while (len && !pump->cut && !pump->mute) {
        size_t n = len;
        if (way->raw) {
            forward(pump, way, data, n);
        } else if (way->left) {
            n = n < way->left ? n : (size_t)way->left;
            bool middle = up_to_middle(pump, way, &n);
            forward(pump, way, data, n);
            way->left -= n;
            if (middle)
                step(pump, "mid-copy");
        } else {
            size_t room = sizeof way->head - way->head_at;
            n = n < room ? n : room;
            memcpy(way->head + way->head_at, data, n);
            way->head_at += n;
            if (way->head_at == sizeof way->head) {
                const char *name = begin_frame(pump, way);
                if (name)
                    step(pump, name);
                forward(pump, way, way->head, sizeof way->head);
                way->head_at = 0;
            }
        }
        data += n;
        len -= n;
    }
}

/* ---- the thread ---- */

static void carry(struct segue_pump *pump, struct way *way)
{
    ssize_t n = recv(way->from, pump->buffer, sizeof pump->buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        way->open = false;
        if (!pump->mute) /* a silent peer does not say that it goes, either */
            shutdown(way->to, SHUT_WR);
        if (way == &pump->sends)
            pump->cut |= pump->mute;
        return;
    }
    pass(pump, way, pump->buffer, (size_t)n);
}

static void let_go(struct segue_pump *pump)
{
    if (atomic_fetch_sub(&pump->owners, 1) != 1)
        return;
    segue_faults_release(pump->faults);
    pthread_mutex_destroy(&pump->lock);
    free(pump->sends.expected);
    free(pump->receives.expected);
    free(pump);
}

static void *run(void *arg)
{
    struct segue_pump *pump = arg;
    while (!pump->cut && (pump->sends.open || pump->receives.open)) {
        struct pollfd p[2] = {{pump->sends.open ? pump->near : -1, POLLIN, 0},
                              {pump->receives.open ? pump->far : -1, POLLIN, 0}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            carry(pump, &pump->sends);
        if (p[1].revents && !pump->cut)
            carry(pump, &pump->receives);
    }
    segue_fd_close(&pump->near);
    segue_fd_close(&pump->far);
    let_go(pump);
    return NULL;
}

/* ---- open ---- */

/* Two connected loopback sockets: whoever gets one may set it up as any data stream. */
static enum segue_status loopback_pair(int fd[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd[1] = -1;
    if (listener < 0 || fd[0] < 0 ||
        bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) < 0 ||
        connect(fd[0], (struct sockaddr *)&address, len) < 0 ||
        (fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        err = errno;
    segue_fd_close(&listener);
    if (!err)
        return SEGUE_OK;
    segue_fd_close(&fd[0]);
    return segue_fail_errno(SEGUE_E_SYSTEM, err, "no sockets for a faulted stream");
}

enum segue_status segue_pump_open(struct segue_faults *faults, int stream,
                                  struct segue_pump **out, int *in_place)
{
    struct segue_pump *pump = calloc(1, sizeof *pump);
    pthread_t thread;
    int fd[2];
    if (!pump)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a faulted stream");
    enum segue_status status = loopback_pair(fd);
    if (status < 0) {
        free(pump);
        return status;
    }
    segue_stream_tune(fd[1], 0);
    fcntl(stream, F_SETFL,
          fcntl(stream, F_GETFL) & ~O_NONBLOCK); /* the pump waits in send */
    pump->faults = segue_faults_retain(faults);
    pump->near = fd[1];
    pump->far = stream;
    pump->sends = (struct way){.from = fd[1], .to = stream, .open = true};
    pump->receives = (struct way){.from = stream, .to = fd[1], .open = true};
    atomic_init(&pump->owners, 2);
    pthread_mutex_init(&pump->lock, NULL);
    int err = pthread_create(&thread, NULL, run, pump);
    if (err) {
        segue_fd_close(&fd[0]);
        segue_fd_close(&fd[1]);
        let_go(pump);
        let_go(pump);
        return segue_fail_errno(SEGUE_E_SYSTEM, err, "no thread for a faulted stream");
    }
    pthread_detach(thread);
    *out = pump;
    *in_place = fd[0];
    return SEGUE_OK;
}

void segue_pump_expect(struct segue_pump *pump, bool sends, uint64_t tag, uint64_t total)
{
    struct way *way = sends ? &pump->sends : &pump->receives;
    pthread_mutex_lock(&pump->lock);
    void *room = way->n_expected < EXPECTED_MAX
                     ? realloc(way->expected,
                               (way->n_expected + 1) * sizeof *way->expected)
                     : NULL;
    if (room) { /* else its steps pass unseen */
        way->expected = room;
        way->expected[way->n_expected++] = (struct expected){tag, total, 0};
    }
    pthread_mutex_unlock(&pump->lock);
}

void segue_pump_release(struct segue_pump *pump)
{
    let_go(pump);
}
