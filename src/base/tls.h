/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams between hosts: TLS 1.3 with a pre-shared key instead of certificates, and a
 * stream that is either that or in the clear, so that who reads and writes need not ask.
 *
 * One suite, TLS_AES_128_GCM_SHA256 with an ephemeral key exchange, so that a key that
 * leaks later opens nothing recorded earlier; no session tickets, no early data. Both ends
 * require after the handshake that the key has been used: OpenSSL falls back to
 * certificates when the peer does not take the key, and a client that did not look would
 * talk to whoever has one.
 *
 * Nothing blocks, nothing raises SIGPIPE.
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include "base/key.h"
#include "base/stream.h"

struct segue_tls_setup; /* what all connections of an agent share */
struct segue_tls;       /* one connection */

enum segue_status segue_tls_setup_create(struct segue_tls_setup **out);
/* NULL is fine; after the last connection. */
void segue_tls_setup_destroy(struct segue_tls_setup *setup);

/* What: TLS over a connected socket, which stays the caller's. A server takes any of the
 * keys, a client uses keys->key[0]; they are copied. */
enum segue_status segue_tls_open(struct segue_tls_setup *setup, int fd, bool server,
                                 const struct segue_keys *keys, struct segue_tls **out);

/* What: goes on with the handshake. Statuses: OK (the peer has the key), IN_PROGRESS (call
 * again when the fd shows `events`), E_AUTH (it does not have it, or shows a certificate),
 * E_PROTOCOL (this is no TLS), E_LOST. The thread that owns the loop. */
enum segue_status segue_tls_shake(struct segue_tls *tls, uint32_t *events);

/* What: frees it, the keys too; NULL is fine. The peer is told that no more comes. */
void segue_tls_close(struct segue_tls *tls);

/* A connected stream. Zeroed with fd -1: none. */
struct segue_socket {
    int fd;
    struct segue_tls *tls; /* NULL: in the clear */
};

/* What: segue_stream_send and _recv over it (stream.h). Descriptors go in the clear only,
 * over unix sockets. One thread may send while another receives. Under TLS up to 256 KiB
 * that count as sent wait here for the fd: who has no more to send flushes; and the fd
 * says nothing of bytes that have been decrypted already: receive until IN_PROGRESS. */
enum segue_status segue_socket_send(struct segue_socket *socket, const struct iovec *iov,
                                    int count, const int *fds, size_t fd_count,
                                    size_t *sent);
enum segue_status segue_socket_recv(struct segue_socket *socket, void *data, size_t cap,
                                    size_t *got, int *fds, size_t fd_cap,
                                    size_t *fd_count);
/* What: the same into several places, without descriptors. */
enum segue_status segue_socket_recv_into(struct segue_socket *socket,
                                         const struct iovec *iov, int count, size_t *got);

/* What: OK when nothing waits any more; IN_PROGRESS: try again when the fd is
 * writable. */
enum segue_status segue_socket_flush(struct segue_socket *socket);

/* What: closes both; fd becomes -1. Harmless when there is none. */
void segue_socket_close(struct segue_socket *socket);

#endif
