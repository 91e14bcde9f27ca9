/* SPDX-License-Identifier: Apache-2.0 */
/* Streams under TLS: whole and in order through sockets that take little at a time, both
 * ways at once; what was handed over and not yet taken; ends and damage. */
#include "test.h"
#include "base/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct segue_tls_setup *setup_;
static struct segue_keys keys;

struct ends {
    struct segue_socket client, server;
};

static void shake(struct ends *e)
{
    enum segue_status a = SEGUE_IN_PROGRESS, b = SEGUE_IN_PROGRESS;
    uint32_t events;
    for (int i = 0; i < 1000 && (a != SEGUE_OK || b != SEGUE_OK); i++) {
        if (a == SEGUE_IN_PROGRESS)
            assert_ok(a = segue_tls_shake(e->client.tls, &events));
        if (b == SEGUE_IN_PROGRESS)
            assert_ok(b = segue_tls_shake(e->server.tls, &events));
    }
    assert_int_equal(a, SEGUE_OK);
    assert_int_equal(b, SEGUE_OK);
}

static void ends_open(struct ends *e)
{
    int fd[2], small = 8192;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    for (int i = 0; i < 2; i++)
        setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    e->client = (struct segue_socket){.fd = fd[0]};
    e->server = (struct segue_socket){.fd = fd[1]};
    assert_ok(segue_tls_open(setup_, fd[0], false, &keys, &e->client.tls));
    assert_ok(segue_tls_open(setup_, fd[1], true, &keys, &e->server.tls));
    shake(e);
}

static void ends_close(struct ends *e)
{
    segue_socket_close(&e->client);
    segue_socket_close(&e->server);
    assert_int_equal(e->client.fd, -1);
}

static uint8_t pattern(size_t i, int seed)
{
    return (uint8_t)((i * 2654435761u >> 13) + (unsigned)seed);
}

struct half {
    struct segue_socket *socket;
    size_t total;
    int seed;
    const char *wrong;
};

static void wait_for(struct half *h, short events)
{
    struct pollfd p = {h->socket->fd, events, 0};
    if (poll(&p, 1, 20000) != 1)
        h->wrong = "nothing happens";
}

static void *send_all(void *arg)
{
    struct half *h = arg;
    static const size_t sizes[] = {1, 7, 16384, 16385, 40000, 300};
    uint8_t *bytes = malloc(80000);
    for (size_t done = 0, k = 0; done < h->total && !h->wrong; k++) {
        size_t n = sizes[k % 6] + sizes[(k + 1) % 6], sent = 0;
        n = n < h->total - done ? n : h->total - done;
        for (size_t i = 0; i < n; i++)
            bytes[i] = pattern(done + i, h->seed);
        struct iovec iov[2] = {{bytes, n / 3}, {bytes + n / 3, n - n / 3}};
        enum segue_status status = segue_socket_send(h->socket, iov, 2, NULL, 0, &sent);
        done += status == SEGUE_OK ? sent : 0;
        if (status == SEGUE_IN_PROGRESS)
            wait_for(h, POLLOUT);
        else if (status < 0)
            h->wrong = "the send failed";
    }
    while (!h->wrong && segue_socket_flush(h->socket) == SEGUE_IN_PROGRESS)
        wait_for(h, POLLOUT);
    free(bytes);
    return NULL;
}

static void *recv_all(void *arg)
{
    struct half *h = arg;
    uint8_t *bytes = malloc(70000);
    for (size_t done = 0; done < h->total && !h->wrong;) {
        struct iovec iov[3] = {{bytes, 5}, {bytes + 5, 100}, {bytes + 105, 60000}};
        size_t got = 0;
        enum segue_status status = segue_socket_recv_into(h->socket, iov, 3, &got);
        if (status == SEGUE_IN_PROGRESS)
            wait_for(h, POLLIN);
        else if (status < 0)
            h->wrong = "the receive failed";
        for (size_t i = 0; status == SEGUE_OK && i < got; i++)
            if (bytes[i] != pattern(done + i, h->seed))
                h->wrong = "other bytes came";
        done += status == SEGUE_OK ? got : 0;
    }
    free(bytes);
    return NULL;
}

static void both_ways_at_once(void **state)
{
    struct ends e;
    ends_open(&e);
    struct half halves[] = {{&e.client, 6u << 20, 1, NULL},
                            {&e.server, 6u << 20, 1, NULL},
                            {&e.server, 5u << 20, 2, NULL},
                            {&e.client, 5u << 20, 2, NULL}};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, i % 2 ? recv_all : send_all, &halves[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        if (halves[i].wrong)
            fail_msg("half %d: %s", i, halves[i].wrong);
    ends_close(&e);
}

/* A sender may change its mind after IN_PROGRESS: what counted as sent goes out as it was. */
static void what_counts_as_sent_goes_out(void **state)
{
    struct ends e;
    ends_open(&e);
    uint8_t out[30000], in[30000];
    size_t sent, total = 0, got, seen = 0;
    for (uint8_t round = 1;; round++) {
        memset(out, round, sizeof out);
        struct iovec iov = {out, sizeof out};
        if (segue_socket_send(&e.client, &iov, 1, NULL, 0, &sent) != SEGUE_OK)
            break;
        total += sent;
        memset(out, 0xee, sizeof out); /* not its memory any more */
    }
    assert_int_equal(segue_socket_flush(&e.client), SEGUE_IN_PROGRESS);
    while (seen < total) {
        enum segue_status status = segue_socket_recv(&e.server, in, sizeof in, &got, NULL,
                                                     0, NULL);
        assert_ok(status);
        for (size_t i = 0; status == SEGUE_OK && i < got; i++)
            assert_true(in[i] != 0xee);
        seen += status == SEGUE_OK ? got : 0;
        assert_ok(segue_socket_flush(&e.client));
    }
    assert_int_equal(seen, total);
    assert_int_equal(segue_socket_flush(&e.client), SEGUE_OK);
    assert_int_equal(segue_socket_recv(&e.server, in, sizeof in, &got, NULL, 0, NULL),
                     SEGUE_IN_PROGRESS);
    ends_close(&e);
}

static void ends_and_damage(void **state)
{
    struct ends e;
    uint8_t in[100];
    size_t got, sent;
    int fd = open("/dev/null", O_RDONLY);
    ends_open(&e);
    /* Descriptors do not go to another host. */
    assert_status(segue_socket_send(&e.client, &(struct iovec){in, 1}, 1, &fd, 1, &sent),
                  SEGUE_E_UNSUPPORTED);
    close(fd);
    segue_socket_close(&e.client);
    assert_status(segue_socket_recv(&e.server, in, sizeof in, &got, NULL, 0, NULL),
                  SEGUE_E_LOST);
    ends_close(&e);
    /* A bit on the way. */
    ends_open(&e);
    assert_ok(
        segue_socket_send(&e.client, &(struct iovec){"hello", 5}, 1, NULL, 0, &sent));
    uint8_t record[64];
    ssize_t n = recv(e.server.fd, record, sizeof record, 0);
    assert_true(n > 5 + 5);
    record[n - 1] ^= 1;
    assert_int_equal(send(e.client.fd, record, (size_t)n, 0), n);
    assert_status(segue_socket_recv(&e.server, in, sizeof in, &got, NULL, 0, NULL),
                  SEGUE_E_PROTOCOL);
    ends_close(&e);
    /* Bytes in the clear, in the middle. */
    ends_open(&e);
    assert_int_equal(send(e.client.fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    assert_status(segue_socket_recv(&e.server, in, sizeof in, &got, NULL, 0, NULL),
                  SEGUE_E_PROTOCOL);
    ends_close(&e);
}

static int open_setup(void **state)
{
    keys.n = 1;
    segue_key_random(&keys.key[0]);
    return segue_tls_setup_create(&setup_) < 0;
}

static int close_setup(void **state)
{
    segue_tls_setup_destroy(setup_);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(both_ways_at_once),
    cmocka_unit_test(what_counts_as_sent_goes_out),
    cmocka_unit_test(ends_and_damage),
};
TEST_MAIN_AROUND(tests, open_setup, close_setup)
