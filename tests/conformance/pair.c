/* SPDX-License-Identifier: Apache-2.0 */
/* The two processes of a conformance test: set-up, the producer's side, and questions
 * to it. */
#include "conformance/pair.h"

#include "base/clock.h"
#include "base/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define MINUTE (60 * SEGUE_NS_PER_S)

enum question { READY, SEND, CANCEL, STATUS, WITHDRAW };

struct message {
    enum question what;
    int status;
    uint64_t tag, bytes;
    unsigned seed;
    struct segue_handle handle[PAIR_REGIONS];
    char why[512];
};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        abort();
    }
}

void pattern(size_t region, void *out, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += 8) {
        uint64_t x = (at / 8 + 1) * 0x9e3779b97f4a7c15u + region * 77;
        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
        memcpy((char *)out + at, &x, 8);
    }
}

void tcp_pair(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(listener >= 0 && !bind(listener, (void *)&at, len) && !listen(listener, 1) &&
             !getsockname(listener, (void *)&at, &len),
         "listen");
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(!connect(fds[0], (void *)&at, len), "connect");
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    must(fds[1] >= 0, "accept");
    close(listener);
}

static void say(int fd, const struct message *m)
{
    int fds[PAIR_REGIONS * SEGUE_BLOB_FDS] = {0};
    size_t n = 0;
    for (size_t i = 0; i < PAIR_REGIONS; i++)
        for (size_t k = 0; k < m->handle[i].n_fds; k++)
            fds[n++] = m->handle[i].fds[k];
    struct iovec iov = {(void *)(uintptr_t)m, sizeof *m};
    size_t sent = 0;
    must(segue_stream_send(fd, &iov, 1, fds, n, &sent) == SEGUE_OK && sent == sizeof *m,
         "say");
}

/* False when the other side is gone. The loop, if there is one yet, is turned
 * meanwhile: bytes on their way need it. */
static bool hear(int fd, struct message *m, struct segue_loop *loop)
{
    int fds[PAIR_REGIONS * SEGUE_BLOB_FDS] = {0};
    size_t n = 0, got = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, loop ? 0 : -1) != 1)
        if (loop)
            segue_loop_turn(loop, SEGUE_NS_PER_MS);
    if (segue_stream_recv(fd, m, sizeof *m, &got, fds, PAIR_REGIONS * SEGUE_BLOB_FDS,
                          &n) != SEGUE_OK)
        return false;
    must(got == sizeof *m, "hear");
    size_t at = 0;
    for (size_t i = 0; i < PAIR_REGIONS; i++)
        for (size_t k = 0; k < m->handle[i].n_fds && at < n; k++)
            m->handle[i].fds[k] = fds[at++];
    return true;
}

/* ---- one side ---- */

static void copy_done(struct segue_copy_job *job, enum segue_status status)
{
    *(_Atomic int *)job->user = status < 0 ? status : 1;
}

static void device_copy(struct end *end, char *dst, const char *src, uint64_t len)
{
    struct segue_move move = {.src_token = len, .dst_token = len, .run = (uint32_t)len};
    struct segue_span span = {.tokens = 1};
    struct segue_extent from = {(char *)(uintptr_t)src, len}, to = {dst, len};
    _Atomic int status = 0;
    struct segue_copy_job job = {.transfer = {&move, 1, &span, 1},
                                 .src = &from,
                                 .dst = &to,
                                 .n_src = 1,
                                 .n_dst = 1,
                                 .done = copy_done,
                                 .user = &status};
    must(segue_device_copy(end->device, &job) == SEGUE_OK, segue_error_detail());
    while (status == 0)
        usleep(100);
    must(status == 1, "device copy");
}

void end_write(struct end *end, size_t region, const void *from, uint64_t len)
{
    device_copy(end, end->memory[region], from, len);
}

void end_read(struct end *end, size_t region, void *to, uint64_t len)
{
    device_copy(end, to, end->memory[region], len);
}

bool end_open(struct end *end, size_t row, const char *device, uint64_t len,
              unsigned threads, char *why, size_t cap)
{
    struct segue_device_args args = {.name = device};
    end->len = len;
    must(segue_loop_create(&end->loop) == SEGUE_OK, "loop");
    must(segue_pool_create(threads, "mover", &end->pool) == SEGUE_OK, "pool");
    args.pool = end->pool;
    must(segue_device_open(&args, &end->device) == SEGUE_OK, segue_error_detail());
    must(segue_transport_open(row, end->loop, end->pool, &end->transport) == SEGUE_OK,
         segue_error_detail());
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        must(end->device->ops->alloc(end->device, len, &end->memory[i]) == SEGUE_OK,
             segue_error_detail());
        struct segue_memory memory = {end->device, end->memory[i], len};
        enum segue_status status = segue_memory_register(end->transport, &memory,
                                                         &end->reg[i]);
        if (status < 0) {
            must(status == SEGUE_E_UNSUPPORTED, segue_error_detail());
            snprintf(why, cap, "%s", segue_error_detail());
            return false;
        }
    }
    return true;
}

static void note_gone(void *user)
{
    *(bool *)user = true;
}

void end_close(struct end *end)
{
    bool gone = end->conn == NULL;
    if (end->conn)
        segue_connection_close(end->conn, note_gone, &gone);
    while (!gone)
        segue_loop_turn(end->loop, -1);
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        segue_remote_drop(end->remote[i]);
        segue_memory_deregister(end->reg[i]);
        if (end->memory[i])
            end->device->ops->free(end->device, end->memory[i]);
    }
    segue_transport_close(end->transport);
    segue_device_close(end->device);
    segue_pool_destroy(end->pool);
    segue_loop_destroy(end->loop);
    memset(end, 0, sizeof *end);
}

static void probe_done(struct segue_op *op, enum segue_status status)
{
    struct probe *probe = op->user;
    if (status < 0)
        snprintf(probe->detail, sizeof probe->detail, "%s", segue_error_detail());
    probe->status = status;
    probe->dones++;
    segue_loop_post(probe->loop, &probe->task);
}

static void probe_note(struct segue_task *task)
{
    struct probe *probe = task->user;
    probe->ended = true;
}

void probe_init(struct probe *probe, struct end *end, enum segue_op_kind kind,
                const struct segue_transfer *t, uint64_t timeout_ns)
{
    memset(probe, 0, sizeof *probe);
    probe->loop = end->loop;
    probe->task = (struct segue_task){.fn = probe_note, .user = probe};
    probe->op.kind = kind;
    probe->op.transfer = *t;
    probe->op.local = end->reg;
    probe->op.n_local = PAIR_REGIONS;
    probe->op.remote = end->remote;
    bool one_sided = kind == SEGUE_OP_COPY || kind == SEGUE_OP_READ;
    probe->op.n_remote = one_sided ? PAIR_REGIONS : 0;
    probe->op.deadline_ns = segue_now_ns() + timeout_ns;
    probe->op.done = probe_done;
    probe->op.user = probe;
}

enum segue_status probe_wait(struct probe *probe, struct end *end)
{
    while (!probe->ended)
        segue_loop_turn(end->loop, -1);
    return probe->status;
}

/* ---- the producer ---- */

struct producer {
    struct end end;
    struct pair *pair;
    struct segue_watch watch;
    struct probe probe[64];
    struct plan *plan[64];
    unsigned sends;
};

static void producer_send(struct producer *p, const struct message *m)
{
    unsigned at = p->sends++ % 64;
    struct probe *probe = &p->probe[at];
    if (!p->plan[at])
        p->plan[at] = malloc(sizeof *p->plan[at]);
    if (m->bytes)
        transfer_plain(p->plan[at], m->bytes);
    else
        transfer_make(p->plan[at], m->seed, p->pair->len, true);
    probe_init(probe, &p->end, SEGUE_OP_SEND, &p->plan[at]->t, MINUTE);
    probe->op.tag = m->tag;
    if (segue_op_post(p->end.conn, &probe->op) < 0) {
        probe->status = SEGUE_E_LOST;
        probe->ended = true;
    }
}

static void producer_hear(struct segue_watch *watch, uint32_t events)
{
    struct producer *p = watch->user;
    struct message m;
    if (!hear(watch->fd, &m, NULL)) {
        segue_loop_unwatch(p->end.loop, watch);
        segue_loop_stop(p->end.loop);
        return;
    }
    struct probe *last = &p->probe[(p->sends + 63) % 64];
    switch (m.what) {
    case SEND:
        producer_send(p, &m);
        break;
    case CANCEL:
        segue_op_cancel(&last->op);
        break;
    case WITHDRAW:
        for (size_t i = 0; i < PAIR_REGIONS; i++) {
            segue_memory_deregister(p->end.reg[i]);
            p->end.reg[i] = NULL;
        }
        say(watch->fd, &m);
        break;
    default:
        for (unsigned i = 0; i < 64 && i < p->sends; i++)
            probe_wait(&p->probe[i], &p->end);
        m.status = last->status;
        memcpy(m.why, last->detail, sizeof last->detail);
        say(watch->fd, &m);
    }
}

static void producer_prepare(struct producer *p, struct message *ready)
{
    struct pair *pair = p->pair;
    struct end *end = &p->end;
    ready->status = SEGUE_E_UNSUPPORTED;
    if (!end_open(end, pair->row, pair->producer, pair->len, 2, ready->why,
                  sizeof ready->why))
        return;
    char *bytes = malloc(pair->len);
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        if (!pair->plain) {
            pattern(i, bytes, pair->len);
            end_write(end, i, bytes, pair->len);
        }
        if (!(end->transport->caps & SEGUE_TRANSPORT_STREAM) &&
            segue_registration_export(end->reg[i], &ready->handle[i]) < 0) {
            snprintf(ready->why, sizeof ready->why, "%s", segue_error_detail());
            free(bytes);
            return;
        }
    }
    free(bytes);
    ready->status = SEGUE_OK;
}

static void producer_main(struct pair *pair)
{
    struct producer *p = calloc(1, sizeof *p);
    struct message *ready = calloc(1, sizeof *ready);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    p->pair = pair;
    ready->what = READY;
    producer_prepare(p, ready);
    if (ready->status == SEGUE_OK) {
        struct segue_connect_args args = {getppid(), -1, {.fd = pair->stream}};
        if (p->end.transport->caps & SEGUE_TRANSPORT_STREAM)
            must(segue_connection_open(p->end.transport, &args, &p->end.conn) == SEGUE_OK,
                 segue_error_detail());
    }
    say(pair->control, ready);
    for (size_t i = 0; i < PAIR_REGIONS; i++)
        segue_handle_close(&ready->handle[i]);
    p->watch = (struct segue_watch){.fd = pair->control, .fn = producer_hear, .user = p};
    must(segue_loop_watch(p->end.loop, &p->watch, EPOLLIN) == SEGUE_OK, "watch");
    segue_loop_run(p->end.loop);
    end_close(&p->end);
    for (size_t i = 0; i < 64; i++)
        free(p->plan[i]);
    free(ready);
    free(p);
}

/* ---- the consumer ---- */

static bool import_all(struct pair *pair)
{
    struct end *end = &pair->here;
    struct segue_connect_args args = {pair->child, pair->pidfd, {.fd = pair->stream}};
    must(segue_connection_open(end->transport, &args, &end->conn) == SEGUE_OK,
         segue_error_detail());
    if (end->transport->caps & SEGUE_TRANSPORT_STREAM)
        return true;
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        enum segue_status status = segue_remote_import(
            end->conn, end->device, &pair->handle[i], pair->len, &end->remote[i]);
        if (status < 0) {
            snprintf(pair->why, sizeof pair->why, "%s", segue_error_detail());
            return false;
        }
    }
    return true;
}

bool pair_open(struct pair *pair)
{
    int control[2], stream[2];
    must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), "socketpair");
    int size = 1 << 20;
    setsockopt(control[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    tcp_pair(stream);
    fflush(NULL);
    pair->child = fork();
    must(pair->child >= 0, "fork");
    pair->control = control[pair->child == 0];
    pair->stream = stream[pair->child == 0];
    close(control[pair->child != 0]);
    close(stream[pair->child != 0]);
    if (pair->child == 0) {
        producer_main(pair);
        fflush(NULL);
        _exit(0);
    }
    pair->pidfd = (int)syscall(SYS_pidfd_open, pair->child, 0);
    must(pair->pidfd >= 0, "pidfd");
    struct message m;
    must(hear(pair->control, &m, NULL), "producer");
    memcpy(pair->handle, m.handle, sizeof pair->handle);
    memcpy(pair->why, m.why, sizeof pair->why);
    return end_open(&pair->here, pair->row, pair->consumer, pair->len,
                    pair->threads ? pair->threads : 2, pair->why, sizeof pair->why) &&
           m.status == SEGUE_OK && import_all(pair);
}

void pair_close(struct pair *pair)
{
    bool owned = pair->here.conn && pair->here.transport->caps & SEGUE_TRANSPORT_STREAM;
    end_close(&pair->here);
    for (size_t i = 0; i < PAIR_REGIONS; i++)
        segue_handle_close(&pair->handle[i]);
    if (!owned)
        close(pair->stream);
    close(pair->control);
    close(pair->pidfd);
    int status;
    must(waitpid(pair->child, &status, 0) == pair->child, "waitpid");
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    must(status == 0 || killed, "the producer failed");
}

void pair_ask_send(struct pair *pair, uint64_t tag, unsigned seed, uint64_t bytes)
{
    struct message m = {.what = SEND, .tag = tag, .seed = seed, .bytes = bytes};
    say(pair->control, &m);
}

void pair_ask_cancel(struct pair *pair)
{
    struct message m = {.what = CANCEL};
    say(pair->control, &m);
}

enum segue_status pair_ask_status(struct pair *pair)
{
    struct message m = {.what = STATUS};
    say(pair->control, &m);
    must(hear(pair->control, &m, pair->here.loop), "status");
    return m.status;
}

void pair_ask_withdraw(struct pair *pair)
{
    struct message m = {.what = WITHDRAW};
    say(pair->control, &m);
    must(hear(pair->control, &m, pair->here.loop), "withdraw");
}
