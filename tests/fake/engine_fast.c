/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake engine that is faster than any router: one thread, fixed answers. It plays both
 * roles (a body with do_remote_decode true is a prefill) and streams when asked to.
 * usage: engine_fast [CHUNKS [GAP_MS]]; prints two ports, as some routers want different ones.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONGEST (4 << 20)

#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "

static const char prefill_body[] =
    "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\","
    "\"choices\":[{"
    "\"index\":0,\"text\":\" "
    "a\",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":5,"
    "\"completion_tokens\":1,\"total_tokens\":6},\"kv_transfer_params\":{\"do_remote_"
    "prefill\":"
    "true,\"do_remote_decode\":false,\"remote_engine_id\":\"e0\",\"remote_block_ids\":[1,"
    "2,3,4,5,6,"
    "7,8],\"remote_host\":\"127.0.0.1\",\"remote_port\":5600,\"tp_size\":1}}";
static const char decode_body[] = "{\"id\":\"cmpl-1\",\"object\":\"text_completion\","
                                  "\"created\":1,\"model\":\"m\",\"choices\":[{"
                                  "\"index\":0,\"text\":\" a small answer of some eight "
                                  "or so tokens\",\"finish_reason\":"
                                  "\"length\"}],\"usage\":{\"prompt_tokens\":5,"
                                  "\"completion_tokens\":8,\"total_tokens\":13}}";
static const char get_body[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\"}]}";
static const char stream_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n";
static const char piece[] =
    "ce\r\ndata: "
    "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":"
    "\"some-model-name\",\"choices\":[{\"index\":0,\"text\":\" token\",\"logprobs\":null,"
    "\"finish_reason\":null,\"stop_reason\":null}],\"usage\":null}\n\n\r\n";
static const char last_piece[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

struct connection {
    int fd;
    bool closed;
    char *in;
    size_t len, cap;
    int left; /* pieces of the stream that runs; 0: none */
    double due;
    struct connection *next;
};

static int poller, chunks = 100;
static double gap;
static struct connection *first,
    **last = &first; /* streams by time: the gap is constant */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Answers are small: a peer whose socket is full is broken. */
static void say(struct connection *c, const char *data, size_t len)
{
    if (!c->closed && write(c->fd, data, len) != (ssize_t)len)
        c->closed = true;
}

static void say_json(struct connection *c, const char *body, size_t len)
{
    char out[2048];
    int n = snprintf(out, sizeof out, JSON_HEAD "%zu\r\n\r\n%s", len, body);
    say(c, out, (size_t)n);
}

static void wait_turn(struct connection *c)
{
    c->due = now_s() + gap;
    c->next = NULL;
    *last = c;
    last = &c->next;
}

static void answer(struct connection *c, bool get, const char *body, size_t len)
{
    if (get)
        say_json(c, get_body, sizeof get_body - 1);
    else if (memmem(body, len, "\"do_remote_decode\":true", 23) ||
             memmem(body, len, "\"do_remote_decode\": true", 24))
        say_json(c, prefill_body, sizeof prefill_body - 1);
    else if (memmem(body, len, "\"stream\":true", 13) ||
             memmem(body, len, "\"stream\": true", 14)) {
        say(c, stream_head, sizeof stream_head - 1);
        c->left = chunks;
        wait_turn(c);
    } else
        say_json(c, decode_body, sizeof decode_body - 1);
}

/* One request from the front of what was read; false when it is not whole yet. */
static bool take_request(struct connection *c)
{
    char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (end == NULL || c->left)
        return false;
    size_t head = (size_t)(end - c->in) + 4, body = 0;
    for (char *line = c->in; line < end;) {
        char *stop = memchr(line, '\r', (size_t)(end - line) + 1);
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
        line = stop + 2;
    }
    if (c->len < head + body)
        return false;
    answer(c, c->in[0] == 'G', c->in + head, body);
    c->len -= head + body;
    memmove(c->in, c->in + head + body, c->len);
    return true;
}

static void on_input(struct connection *c)
{
    if (c->cap - c->len < 65536 && c->cap < LONGEST)
        c->in = realloc(c->in, c->cap = c->cap * 2 + 65536);
    ssize_t n = read(c->fd, c->in + c->len, c->cap - c->len);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        c->closed = true;
    if (n > 0)
        c->len += (size_t)n;
    while (!c->closed && take_request(c))
        ;
    if (c->closed) {
        epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
        if (c->left)
            return; /* its turn comes: freed then */
        close(c->fd);
        free(c->in);
        free(c);
    }
}

/* The stream at the head of the line says its next piece. */
static void on_turn(void)
{
    struct connection *c = first;
    first = c->next;
    if (first == NULL)
        last = &first;
    if (c->closed) {
        close(c->fd);
        free(c->in);
        free(c);
        return;
    }
    say(c, piece, sizeof piece - 1);
    if (--c->left > 0) {
        wait_turn(c);
        return;
    }
    say(c, last_piece, sizeof last_piece - 1);
    while (take_request(c))
        ;
}

static int listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd == -1 || bind(fd, (struct sockaddr *)&address, len) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &len)) {
        perror("engine_fast");
        exit(1);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_all(int fd)
{
    int peer, yes = 1;
    while ((peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) != -1) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->fd = peer;
        epoll_ctl(poller, EPOLL_CTL_ADD, peer, &event);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        chunks = atoi(argv[1]);
    if (argc > 2)
        gap = atof(argv[2]) / 1000;
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    int listeners[2] = {listener(), listener()};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    for (int i = 0; i < 2; i++)
        epoll_ctl(poller, EPOLL_CTL_ADD, listeners[i], &event);
    for (;;) {
        int wait_ms = -1;
        if (first) {
            double left = first->due - now_s();
            wait_ms = left > 0 ? (int)(left * 1000) + 1 : 0;
        }
        int n = epoll_wait(poller, events, 256, wait_ms);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                on_input(events[i].data.ptr);
            for (int k = 0; k < 2 && events[i].data.ptr == NULL; k++)
                accept_all(listeners[k]);
        }
        double now = now_s();
        while (first && first->due <= now)
            on_turn();
    }
}
