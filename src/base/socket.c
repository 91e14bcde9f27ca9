/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream in the clear or under TLS. Records are made for as many bytes as a turn takes
 * and given to the fd together; they count as sent from that moment, so that nothing has
 * to be encrypted twice when the fd does not take them all.
 */
#include "base/tls_inside.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURN_BYTES   (16 * SEGUE_TLS_RECORD) /* the other direction gets its turn then */
#define RECORD_EXTRA 64 /* more than header, type and tag of a record, RFC 8446 5.2 */

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

/* The next bytes of the list, from `skip` on, as many as fit in a record. */
static size_t fill(struct segue_tls *tls, const struct iovec *iov, int count, size_t skip)
{
    size_t len = 0;
    for (int i = 0; i < count && len < sizeof tls->plain; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t n = iov[i].iov_len - skip, room = sizeof tls->plain - len;
        n = n < room ? n : room;
        memcpy(tls->plain + len, (const char *)iov[i].iov_base + skip, n);
        len += n;
        skip = 0;
    }
    return len;
}

static enum segue_status make_room(struct segue_tls *tls, size_t bytes)
{
    size_t records = (bytes + SEGUE_TLS_RECORD - 1) / SEGUE_TLS_RECORD;
    size_t need = bytes + records * RECORD_EXTRA;
    if (need <= tls->out_cap)
        return SEGUE_OK;
    uint8_t *out = realloc(tls->out, need);
    if (!out)
        return segue_fail(SEGUE_E_MEMORY, "no memory for TLS records");
    tls->out = out;
    tls->out_cap = need;
    return SEGUE_OK;
}

enum segue_status segue_tls_flush(struct segue_tls *tls)
{
    while (tls->out_sent < tls->out_len) {
        ssize_t n = send(tls->fd, tls->out + tls->out_sent, tls->out_len - tls->out_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return SEGUE_IN_PROGRESS;
        if (n < 0)
            return segue_fail_errno(SEGUE_E_LOST, errno, "cannot send");
        tls->out_sent += (size_t)n;
    }
    tls->out_len = tls->out_sent = 0;
    return SEGUE_OK;
}

/* Called with the lock, when nothing waits: so every record finds room. */
static enum segue_status encrypt(struct segue_tls *tls, const struct iovec *iov,
                                 int count, size_t bytes)
{
    SEGUE_TRY(make_room(tls, bytes));
    for (size_t done = 0; done < bytes;) {
        size_t len = fill(tls, iov, count, done);
        len = len < bytes - done ? len : bytes - done;
        ERR_clear_error();
        int n = SSL_write(tls->ssl, tls->plain, (int)len);
        if (n <= 0)
            return end_of(tls, n, "cannot send");
        done += len;
    }
    return SEGUE_OK;
}

static enum segue_status tls_send(struct segue_tls *tls, const struct iovec *iov,
                                  int count, size_t *sent)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    total = total < TURN_BYTES ? total : TURN_BYTES;
    pthread_mutex_lock(&tls->lock);
    enum segue_status status = segue_tls_flush(tls);
    if (status == SEGUE_OK)
        status = encrypt(tls, iov, count, total);
    if (status == SEGUE_OK) {
        *sent = total;
        status = segue_tls_flush(tls);
    } else {
        *sent = 0;
    }
    pthread_mutex_unlock(&tls->lock);
    return *sent && status >= 0 ? SEGUE_OK : status;
}

enum segue_status segue_socket_flush(struct segue_socket *socket)
{
    if (!socket->tls)
        return SEGUE_OK;
    pthread_mutex_lock(&socket->tls->lock);
    enum segue_status status = segue_tls_flush(socket->tls);
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
