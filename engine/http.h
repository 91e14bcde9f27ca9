/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: collects a request with its body, hands it over as an exchange, and
 * sends what is answered, at once or later, whole or as a stream. One thread of its own,
 * asleep while nothing happens.
 */
#ifndef ENGINE_HTTP_H
#define ENGINE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;
struct exchange; /* one request and its answer */

struct http_opts {
    const char *host; /* an IPv4 or IPv6 address */
    uint16_t port;    /* 0: one that is free */
    size_t body_most; /* bytes; more is answered with 413 */
    /* A whole request, on the server's thread. Answers now, or holds the exchange and
     * answers later. */
    void (*handle)(void *user, struct exchange *exchange);
    /* The envelope of the server's own errors: JSON text for it to free. */
    char *(*error_body)(int status, const char *message);
    void *user;
};

/* Takes the address; nobody is answered before http_start. The caller owns *out
 * (http_close). -1: cannot listen there; the sentence says why. */
int http_open(struct http **out, const struct http_opts *opts);
int http_start(struct http *http);
uint16_t http_port(const struct http *http);

/* Every exchange must have been answered, and none is held: waits for what is being sent,
 * then closes all connections. */
void http_close(struct http *http); /* NULL is allowed */

/* What was asked; borrowed from the exchange. The path is without its query. */
const char *exchange_method(const struct exchange *exchange);
const char *exchange_path(const struct exchange *exchange);
const char *
exchange_id(const struct exchange *exchange); /* X-Request-Id, or a fresh one */
const char *exchange_body(const struct exchange *exchange, size_t *length);

/* Who answers after `handle` has returned holds the exchange until it is done with it. */
void exchange_hold(struct exchange *exchange);
void exchange_release(struct exchange *exchange);

/* `gone` is called when the client leaves before it was answered in full: once at most, on
 * another thread, not while or after the answer is completed. It must not touch the
 * exchange. Set it inside `handle`. */
void exchange_on_gone(struct exchange *exchange, void (*gone)(void *user), void *user);

/* The answer, once: whole, or begin, any number of writes, end. `body` was malloc'ed and
 * is taken over. Any thread, also after the client has left. */
void exchange_answer(struct exchange *exchange, int status, const char *content_type,
                     char *body, size_t length);
void exchange_begin(struct exchange *exchange, const char *content_type);
void exchange_write(struct exchange *exchange, const char *bytes, size_t length);
/* `broken`: the connection is cut so that nobody takes this for the whole answer. */
void exchange_end(struct exchange *exchange, bool broken);

#endif
