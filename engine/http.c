/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd underneath, with its own epoll thread. A connection whose answer is not
 * there yet is suspended; whoever brings the next piece resumes it.
 */
#include "http.h"
#include "fail.h"
#include "watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_ROOM = 16 * 1024, ID_MOST = 128, SECONDS_IDLE = 75, CONNECTIONS = 4096 };

struct http {
    struct http_opts opts;
    struct MHD_Daemon *daemon;
    struct watch *watch;
    uint16_t port;
    int listener; /* -1: none, or the daemon's */
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    unsigned live; /* exchanges that are not completed */
};

/* A connection, from its first byte to its last. */
struct client {
    struct http *http;
    struct watched watched;
    pthread_mutex_t lock;
    struct exchange *exchange; /* whose answer is awaited or under way */
    bool left;                 /* it sends nothing more */
};

struct exchange {
    struct http *http;
    struct client *client; /* NULL: not known */
    atomic_int holders;
    char *method, *path, *body;
    char id[ID_MOST + 1];
    size_t length, room;
    bool too_large, handled;

    pthread_mutex_t lock; /* for all that follows */
    struct MHD_Connection *connection;
    bool suspended, queued, streaming, ended, broken;
    int status; /* 0: no answer yet */
    const char *content_type;
    char *out; /* the whole answer, or what of the stream is not sent yet */
    size_t out_length, out_room;
    void (*gone)(void *user);
    void *gone_user;
};

const char *exchange_method(const struct exchange *x)
{
    return x->method;
}

const char *exchange_path(const struct exchange *x)
{
    return x->path;
}

const char *exchange_id(const struct exchange *x)
{
    return x->id;
}

const char *exchange_body(const struct exchange *x, size_t *length)
{
    *length = x->length;
    return x->body != NULL ? x->body : "";
}

void exchange_hold(struct exchange *x)
{
    atomic_fetch_add(&x->holders, 1);
}

void exchange_release(struct exchange *x)
{
    if (atomic_fetch_sub(&x->holders, 1) != 1)
        return;
    pthread_mutex_destroy(&x->lock);
    free(x->method);
    free(x->path);
    free(x->body);
    free(x->out);
    free(x);
}

/* With the lock held, so that nobody who has answered meanwhile is called any more. */
static void tell_gone(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    void (*gone)(void *) = x->gone;
    x->gone = NULL;
    if (gone != NULL)
        gone(x->gone_user);
    pthread_mutex_unlock(&x->lock);
}

/* Who has left has no use for an answer. Without a whole request there never will be one:
 * libmicrohttpd misses an end that comes together with the last bytes, and would keep the
 * connection until it is idle for too long. */
static bool client_gone(struct watched *watched)
{
    struct client *client = (struct client *)((char *)watched -
                                              offsetof(struct client, watched));
    int unread = 0;
    pthread_mutex_lock(&client->lock);
    bool first = !client->left, answered = client->exchange != NULL;
    client->left = true;
    if (answered)
        tell_gone(client->exchange);
    pthread_mutex_unlock(&client->lock);
    if (answered)
        return false;
    /* What it sent before may still be on its way through libmicrohttpd. */
    if (first || (ioctl(watched->fd, FIONREAD, &unread) == 0 && unread > 0))
        return true;
    shutdown(watched->fd, SHUT_RDWR);
    return false;
}

/* From here to its completion the exchange is told when its client leaves. */
static void client_awaits(struct exchange *x)
{
    struct client *client = x->client;
    if (client == NULL)
        return;
    pthread_mutex_lock(&client->lock);
    client->exchange = x;
    if (client->left)
        tell_gone(x);
    pthread_mutex_unlock(&client->lock);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct client *client = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        client = calloc(1, sizeof *client);
        if (client == NULL || info == NULL) {
            free(client); /* it is served all the same, and ends when it is idle */
            return;
        }
        client->http = user;
        client->watched.gone = client_gone;
        pthread_mutex_init(&client->lock, NULL);
        (void)watch_add(client->http->watch, &client->watched, info->connect_fd);
        *context = client;
    } else if (client != NULL) {
        watch_remove(client->http->watch, &client->watched);
        pthread_mutex_destroy(&client->lock);
        free(client);
        *context = NULL;
    }
}

void exchange_on_gone(struct exchange *x, void (*gone)(void *user), void *user)
{
    pthread_mutex_lock(&x->lock);
    x->gone_user = user;
    x->gone = gone;
    pthread_mutex_unlock(&x->lock);
}

/* The lock is held. */
static void resume(struct exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

static void suspend(struct exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

void exchange_answer(struct exchange *x, int status, const char *content_type, char *body,
                     size_t length)
{
    pthread_mutex_lock(&x->lock);
    x->status = status;
    x->content_type = content_type;
    x->out = body;
    x->out_length = length;
    x->ended = true;
    x->gone = NULL;
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_begin(struct exchange *x, const char *content_type)
{
    pthread_mutex_lock(&x->lock);
    x->status = MHD_HTTP_OK;
    x->content_type = content_type;
    x->streaming = true;
    pthread_mutex_unlock(&x->lock);
}

void exchange_write(struct exchange *x, const char *bytes, size_t length)
{
    pthread_mutex_lock(&x->lock);
    if (x->out_room - x->out_length < length) {
        size_t room = (x->out_length + length) * 2;
        char *out = realloc(x->out, room);
        if (out == NULL) {
            x->broken = true; /* better no answer than one with a hole */
            length = 0;
        } else {
            x->out = out;
            x->out_room = room;
        }
    }
    if (x->connection != NULL && length > 0) {
        memcpy(x->out + x->out_length, bytes, length);
        x->out_length += length;
    }
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_end(struct exchange *x, bool broken)
{
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    x->gone = NULL;
    x->broken |= broken;
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

/* libmicrohttpd asks for the next bytes of a stream. */
static ssize_t read_stream(void *user, uint64_t position, char *to, size_t most)
{
    struct exchange *x = user;
    pthread_mutex_lock(&x->lock);
    ssize_t n = (ssize_t)(x->out_length < most ? x->out_length : most);
    if (n > 0) {
        memcpy(to, x->out, (size_t)n);
        x->out_length -= (size_t)n;
        memmove(x->out, x->out + n, x->out_length);
    } else if (x->ended || x->broken) {
        n = x->broken ? MHD_CONTENT_READER_END_WITH_ERROR
                      : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(x);
    }
    pthread_mutex_unlock(&x->lock);
    return n;
}

/* There is an answer: what it is made of does not change any more. Without the lock, as
 * libmicrohttpd calls read_stream with a lock of its own held. */
static enum MHD_Result queue_answer(struct exchange *x)
{
    struct MHD_Response *response;
    if (x->streaming)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream,
                                                     x, NULL);
    else
        response = MHD_create_response_from_buffer(x->out_length, x->out,
                                                   MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, x->content_type);
    MHD_add_response_header(response, "X-Request-Id", x->id);
    if (x->streaming)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    if (x->too_large) /* the rest of the body is not read */
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status,
                                                response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_or_suspend(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool answered = x->status != 0, queue = answered && !x->queued;
    x->queued = answered;
    if (!answered)
        suspend(x);
    pthread_mutex_unlock(&x->lock);
    return queue ? queue_answer(x) : MHD_YES;
}

static void refuse_large(struct exchange *x)
{
    char message[96];
    snprintf(message, sizeof message, "the body is larger than %zu bytes",
             x->http->opts.body_most);
    char *body = x->http->opts.error_body(MHD_HTTP_CONTENT_TOO_LARGE, message);
    exchange_answer(x, MHD_HTTP_CONTENT_TOO_LARGE, "application/json", body,
                    body == NULL ? 0 : strlen(body));
}

/* An id that may stand in a header and a log; a client's own where it is one. */
static void choose_id(struct exchange *x, const char *given)
{
    size_t length = given == NULL ? 0 : strlen(given);
    bool good = length > 0 && length <= ID_MOST;
    for (size_t i = 0; good && i < length; i++)
        good = given[i] > ' ' && given[i] < 0x7f;
    uint64_t random[2] = {0};
    if (good)
        memcpy(x->id, given, length + 1);
    else if (getrandom(random, sizeof random, 0) == (ssize_t)sizeof random)
        snprintf(x->id, sizeof x->id, "%016llx%016llx", (unsigned long long)random[0],
                 (unsigned long long)random[1]);
}

static struct exchange *create(struct http *http, struct MHD_Connection *connection,
                               const char *url, const char *method)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->http = http;
    x->connection = connection;
    x->method = strdup(method);
    x->path = strdup(url);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->client = info != NULL ? info->socket_context : NULL;
    atomic_init(&x->holders, 1);
    pthread_mutex_init(&x->lock, NULL);
    choose_id(x,
              MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Request-Id"));
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                     "Content-Length");
    x->too_large = length != NULL && strtoull(length, NULL, 10) > http->opts.body_most;
    if (x->method == NULL || x->path == NULL) {
        exchange_release(x);
        return NULL;
    }
    pthread_mutex_lock(&http->lock);
    http->live++;
    pthread_mutex_unlock(&http->lock);
    return x;
}

static void collect(struct exchange *x, const char *bytes, size_t length)
{
    if (x->too_large || x->http->opts.body_most - x->length < length) {
        x->too_large = true;
        return;
    }
    if (x->room - x->length < length) {
        size_t room = (x->length + length) * 2;
        char *body = realloc(x->body, room < BODY_ROOM ? BODY_ROOM : room);
        if (body == NULL) {
            x->too_large = true;
            return;
        }
        x->body = body;
        x->room = room < BODY_ROOM ? BODY_ROOM : room;
    }
    memcpy(x->body + x->length, bytes, length);
    x->length += length;
}

static void handle(struct exchange *x)
{
    x->handled = true;
    if (x->too_large)
        refuse_large(x);
    else
        x->http->opts.handle(x->http->opts.user, x);
    client_awaits(x);
}

/* Called when the headers are there, for each piece of the body, at its end, and after
 * every resume until an answer is queued. */
static enum MHD_Result access_handler(void *user, struct MHD_Connection *connection,
                                      const char *url, const char *method,
                                      const char *version, const char *upload,
                                      size_t *upload_size, void **context)
{
    struct exchange *x = *context;
    if (x == NULL) {
        x = *context = create(user, connection, url, method);
        if (x == NULL)
            return MHD_NO;
        if (!x->too_large)
            return MHD_YES;
        handle(x); /* nobody needs the body */
        return answer_or_suspend(x);
    }
    if (*upload_size > 0) {
        collect(x, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (!x->handled)
        handle(x);
    return answer_or_suspend(x);
}

static void completed(void *user, struct MHD_Connection *connection, void **context,
                      enum MHD_RequestTerminationCode code)
{
    struct http *http = user;
    struct exchange *x = *context;
    *context = NULL;
    if (x == NULL)
        return;
    struct client *client = x->client;
    if (client != NULL) {
        pthread_mutex_lock(&client->lock);
        client->exchange = NULL;
        if (client->left) /* it has its answer, and asks for nothing more */
            shutdown(client->watched.fd, SHUT_RDWR);
        pthread_mutex_unlock(&client->lock);
    }
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        tell_gone(x);
    pthread_mutex_lock(&x->lock);
    x->connection = NULL;
    x->gone = NULL;
    pthread_mutex_unlock(&x->lock);
    exchange_release(x);
    pthread_mutex_lock(&http->lock);
    if (--http->live == 0)
        pthread_cond_signal(&http->quiet);
    pthread_mutex_unlock(&http->lock);
}

static void silent(void *user, const char *format, va_list args)
{
}

/* A listening socket on opts->host, or -1. */
static int listen_on(const struct http_opts *opts, uint16_t *port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(opts->port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(opts->port)};
    bool is_v4 = inet_pton(AF_INET, opts->host, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, opts->host, &v6.sin6_addr) != 1)
        return engine_fail("--host %s is no IPv4 or IPv6 address", opts->host);
    const struct sockaddr *address = is_v4 ? (void *)&v4 : (void *)&v6;
    socklen_t length = is_v4 ? sizeof v4 : sizeof v6;
    int on = 1, fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, address, length) != 0 || listen(fd, 511) != 0 ||
        getsockname(fd, is_v4 ? (void *)&v4 : (void *)&v6, &length) != 0) {
        engine_fail("cannot listen on %s port %u: %s", opts->host, opts->port,
                    strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port = ntohs(is_v4 ? v4.sin_port : v6.sin6_port);
    return fd;
}

int http_start(struct http *http)
{
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        access_handler, http, MHD_OPTION_LISTEN_SOCKET, http->listener,
        MHD_OPTION_NOTIFY_COMPLETED, completed, http, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, http, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SECONDS_IDLE, MHD_OPTION_EXTERNAL_LOGGER,
        silent, NULL, MHD_OPTION_END);
    if (http->daemon == NULL)
        return engine_fail("the HTTP server cannot be started: %s", strerror(errno));
    http->listener = -1; /* the daemon's */
    return 0;
}

int http_open(struct http **out, const struct http_opts *opts)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return engine_fail("no memory for the HTTP server");
    http->opts = *opts;
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->quiet, NULL);
    http->listener = listen_on(opts, &http->port);
    if (http->listener < 0 || watch_open(&http->watch) != 0) {
        http_close(http);
        return -1;
    }
    *out = http;
    return 0;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

/* Gives answers that are ready two seconds to reach their clients. */
static void wait_quiet(struct http *http)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 2;
    int status = 0;
    pthread_mutex_lock(&http->lock);
    while (http->live > 0 && status == 0)
        status = pthread_cond_timedwait(&http->quiet, &http->lock, &deadline);
    pthread_mutex_unlock(&http->lock);
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    if (http->daemon != NULL) {
        MHD_socket fd = MHD_quiesce_daemon(http->daemon);
        if (fd != MHD_INVALID_SOCKET)
            close(fd);
        wait_quiet(http);
        MHD_stop_daemon(http->daemon);
    }
    if (http->listener >= 0)
        close(http->listener);
    watch_close(http->watch);
    pthread_cond_destroy(&http->quiet);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
