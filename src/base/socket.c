/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream in the clear or under TLS. OpenSSL wants a write that did not fit again with
 * the same bytes, while who sends here may have changed its mind by then; so the bytes of
 * one record are copied, and count as sent from that moment.
 */
#include "base/tls_inside.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

#define TURN_BYTES (4 * SEGUE_TLS_RECORD) /* the other direction gets its turn then */

static enum segue_status end_of(struct segue_tls *tls, int result, const char *what)
{
    int err = errno;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return SEGUE_IN_PROGRESS;
    case SSL_ERROR_SSL: {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        segue_fail(SEGUE_E_PROTOCOL, "%s: TLS: %s", what, reason ? reason : "it failed");
        ERR_clear_error();
        return SEGUE_E_PROTOCOL;
    }
    case SSL_ERROR_SYSCALL:
        if (err)
            return segue_fail_errno(SEGUE_E_LOST, err, "%s", what);
        break;
    }
    return segue_fail(SEGUE_E_LOST, "the other side closed the connection");
}

/* ---- send ---- */

/* The next bytes of the list, from `skip` on, as one record. */
static void fill(struct segue_tls *tls, const struct iovec *iov, int count, size_t skip)
{
    for (int i = 0; i < count && tls->pending_len < sizeof tls->pending; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t n = iov[i].iov_len - skip, room = sizeof tls->pending - tls->pending_len;
        n = n < room ? n : room;
        memcpy(tls->pending + tls->pending_len, (const char *)iov[i].iov_base + skip, n);
        tls->pending_len += n;
        skip = 0;
    }
}

/* Called with the lock. */
static enum segue_status write_pending(struct segue_tls *tls)
{
    if (!tls->pending_len)
        return SEGUE_OK;
    ERR_clear_error();
    int n = SSL_write(tls->ssl, tls->pending, (int)tls->pending_len);
    if (n <= 0)
        return end_of(tls, n, "cannot send");
    tls->pending_len = 0;
    return SEGUE_OK;
}

static enum segue_status tls_send(struct segue_tls *tls, const struct iovec *iov,
                                  int count, size_t *sent)
{
    size_t total = 0, done = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    pthread_mutex_lock(&tls->lock);
    enum segue_status status = write_pending(tls);
    while (status == SEGUE_OK && done < total && done < TURN_BYTES) {
        fill(tls, iov, count, done);
        done += tls->pending_len;
        status = write_pending(tls);
    }
    pthread_mutex_unlock(&tls->lock);
    *sent = done;
    return status >= 0 && done ? SEGUE_OK : status;
}

enum segue_status segue_socket_flush(struct segue_socket *socket)
{
    if (!socket->tls)
        return SEGUE_OK;
    pthread_mutex_lock(&socket->tls->lock);
    enum segue_status status = write_pending(socket->tls);
    pthread_mutex_unlock(&socket->tls->lock);
    return status;
}

enum segue_status segue_socket_send(struct segue_socket *socket, const struct iovec *iov,
                                    int count, const int *fds, size_t fd_count,
                                    size_t *sent)
{
    if (!socket->tls)
        return segue_stream_send(socket->fd, iov, count, fds, fd_count, sent);
    if (fd_count)
        return segue_fail(SEGUE_E_UNSUPPORTED, "descriptors do not go to another host");
    return tls_send(socket->tls, iov, count, sent);
}

/* ---- receive ---- */

static enum segue_status tls_recv(struct segue_tls *tls, const struct iovec *iov,
                                  int count, size_t *got)
{
    enum segue_status status = SEGUE_OK;
    size_t done = 0;
    pthread_mutex_lock(&tls->lock);
    for (int i = 0; i < count && status == SEGUE_OK && done < TURN_BYTES; i++) {
        char *at = iov[i].iov_base;
        for (size_t left = iov[i].iov_len; left && done < TURN_BYTES;) {
            int most = left < SEGUE_TLS_RECORD ? (int)left : SEGUE_TLS_RECORD;
            ERR_clear_error();
            int n = SSL_read(tls->ssl, at, most);
            if (n <= 0) {
                status = end_of(tls, n, "cannot receive");
                break;
            }
            at += n;
            left -= (size_t)n;
            done += (size_t)n;
        }
    }
    pthread_mutex_unlock(&tls->lock);
    *got = done;
    return done ? SEGUE_OK : status;
}

enum segue_status segue_socket_recv(struct segue_socket *socket, void *data, size_t cap,
                                    size_t *got, int *fds, size_t fd_cap,
                                    size_t *fd_count)
{
    if (!socket->tls)
        return segue_stream_recv(socket->fd, data, cap, got, fds, fd_cap, fd_count);
    if (fd_count)
        *fd_count = 0;
    return tls_recv(socket->tls, &(struct iovec){data, cap}, 1, got);
}

enum segue_status segue_socket_recv_into(struct segue_socket *socket,
                                         const struct iovec *iov, int count, size_t *got)
{
    if (socket->tls)
        return tls_recv(socket->tls, iov, count, got);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    ssize_t n;
    do
        n = recvmsg(socket->fd, &message, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return SEGUE_IN_PROGRESS;
    if (n < 0)
        return segue_fail_errno(SEGUE_E_LOST, errno, "cannot receive");
    if (n == 0)
        return segue_fail(SEGUE_E_LOST, "the other side closed the connection");
    *got = (size_t)n;
    return SEGUE_OK;
}

void segue_socket_close(struct segue_socket *socket)
{
    segue_tls_close(socket->tls);
    socket->tls = NULL;
    segue_fd_close(&socket->fd);
}
