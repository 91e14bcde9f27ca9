/* SPDX-License-Identifier: Apache-2.0 */
/* Making and tuning stream sockets, and who is at the other end. What goes over them is
 * in stream_io.c. */
#include "base/stream.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

/* Newer than Debian 12's headers (Linux 6.5, asm-generic/socket.h). */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

void segue_fd_close(int *fd)
{
    int kept = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = kept;
}

static enum segue_status status_of(int err)
{
    switch (err) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return SEGUE_E_LIMIT;
    case ENOMEM:
        return SEGUE_E_MEMORY;
    case EADDRINUSE:
        return SEGUE_E_BUSY;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOENT:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ESRCH:
        return SEGUE_E_LOST;
    default:
        return SEGUE_E_SYSTEM;
    }
}

static enum segue_status unix_address(const char *path, struct sockaddr_un *out)
{
    size_t len = strlen(path);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len == 0)
        return segue_fail(SEGUE_E_INVALID, "the path of a unix socket is empty");
    if (len >= sizeof out->sun_path)
        return segue_fail(SEGUE_E_INVALID,
                          "the path of a unix socket has %zu bytes, the system allows "
                          "%zu: use a shorter directory than %.200s",
                          len, sizeof out->sun_path - 1, path);
    memcpy(out->sun_path, path, len);
    return SEGUE_OK;
}

static int open_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* True when the path was a socket nobody listens at, and is gone now. */
static bool remove_stale(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT;
    int fd = S_ISSOCK(st.st_mode) ? open_socket(AF_UNIX) : -1;
    if (fd < 0)
        return false;
    bool dead = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 &&
                errno == ECONNREFUSED;
    close(fd);
    return dead && unlink(address->sun_path) == 0;
}

enum segue_status segue_stream_listen_unix(const char *path, int *fd)
{
    struct sockaddr_un address;
    SEGUE_TRY(unix_address(path, &address));
    int s = open_socket(AF_UNIX);
    if (s < 0)
        return segue_fail_errno(status_of(errno), errno, "cannot make a unix socket");
    int failed = bind(s, (struct sockaddr *)&address, sizeof address);
    if (failed && errno == EADDRINUSE) {
        if (!remove_stale(&address)) {
            close(s);
            return segue_fail(SEGUE_E_BUSY,
                              "%s is taken: somebody listens there, or it is no socket",
                              path);
        }
        failed = bind(s, (struct sockaddr *)&address, sizeof address);
    }
    if (failed || listen(s, BACKLOG) < 0) {
        int err = errno;
        close(s);
        return segue_fail_errno(err == EADDRINUSE ? SEGUE_E_BUSY : SEGUE_E_SYSTEM, err,
                                "cannot listen at %s", path);
    }
    *fd = s;
    return SEGUE_OK;
}

static enum segue_status resolve(const char *host, uint16_t port, int flags,
                                 struct addrinfo **out)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = flags | AI_NUMERICSERV};
    int err = getaddrinfo(host, service, &hints, out);
    if (err == 0)
        return SEGUE_OK;
    if (err == EAI_SYSTEM)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot look up host %s", host);
    return segue_fail(err == EAI_MEMORY ? SEGUE_E_MEMORY : SEGUE_E_INVALID,
                      "cannot look up host %s: %s", host ? host : "(any)",
                      gai_strerror(err));
}

static int listen_at(const struct addrinfo *address)
{
    int one = 1, s = open_socket(address->ai_family);
    if (s < 0)
        return -1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, address->ai_addr, address->ai_addrlen) < 0 || listen(s, BACKLOG) < 0)
        segue_fd_close(&s);
    return s;
}

static uint16_t bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t len = sizeof address;
    getsockname(fd, &address.any, &len);
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
                                                   : address.v4.sin_port);
}

enum segue_status segue_stream_listen_tcp(const char *host, uint16_t port, int *fd,
                                          uint16_t *bound)
{
    struct addrinfo *list;
    SEGUE_TRY(resolve(host, port, AI_PASSIVE, &list));
    int s = -1;
    for (struct addrinfo *a = list; a && s < 0; a = a->ai_next)
        s = listen_at(a);
    int err = errno;
    freeaddrinfo(list);
    if (s < 0)
        return segue_fail_errno(status_of(err), err, "cannot listen at %s port %u",
                                host ? host : "(any)", port);
    if (bound)
        *bound = bound_port(s);
    *fd = s;
    return SEGUE_OK;
}

enum segue_status segue_stream_accept(int listener, int *fd)
{
    int s;
    /* What ended before it was accepted is not the listener's trouble: take the next. */
    do
        s = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (s < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (s < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return SEGUE_IN_PROGRESS;
    if (s < 0)
        return segue_fail_errno(status_of(errno), errno, "cannot accept a connection");
    *fd = s;
    return SEGUE_OK;
}

enum segue_status segue_stream_connect_unix(const char *path, int *fd)
{
    struct sockaddr_un address;
    SEGUE_TRY(unix_address(path, &address));
    int s = open_socket(AF_UNIX);
    if (s < 0)
        return segue_fail_errno(status_of(errno), errno, "cannot make a unix socket");
    if (connect(s, (struct sockaddr *)&address, sizeof address) < 0) {
        int err = errno;
        close(s);
        if (err == EAGAIN)
            return segue_fail(SEGUE_E_BUSY, "the queue of the listener at %s is full",
                              path);
        return segue_fail_errno(status_of(err), err, "cannot connect to %s", path);
    }
    *fd = s;
    return SEGUE_OK;
}

/* Non-blocking: 0, or -1 with errno, EINPROGRESS among them (then *fd is valid). */
static int connect_to(const struct addrinfo *address, int *fd)
{
    int s = open_socket(address->ai_family);
    if (s < 0)
        return -1;
    int failed = connect(s, address->ai_addr, address->ai_addrlen);
    if (failed && errno != EINPROGRESS)
        segue_fd_close(&s);
    *fd = s;
    return failed;
}

enum segue_status segue_stream_connect_tcp(const char *host, uint16_t port, int *fd)
{
    struct addrinfo *list;
    SEGUE_TRY(resolve(host, port, 0, &list));
    int s = -1, failed = -1;
    /* A local host refuses at once, so the next address (::1, 127.0.0.1) gets its turn. */
    for (struct addrinfo *a = list; a && s < 0; a = a->ai_next)
        failed = connect_to(a, &s);
    int err = errno;
    freeaddrinfo(list);
    if (s < 0)
        return segue_fail_errno(status_of(err), err, "cannot connect to %s port %u", host,
                                port);
    *fd = s;
    return failed ? SEGUE_IN_PROGRESS : SEGUE_OK;
}

enum segue_status segue_stream_connected(int fd)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    if (err)
        return segue_fail_errno(status_of(err), err, "cannot connect");
    struct sockaddr_storage peer;
    len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return errno == ENOTCONN
                   ? SEGUE_IN_PROGRESS
                   : segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot connect");
    return SEGUE_OK;
}

static bool is_unix(int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

enum segue_status segue_stream_tune(int fd, uint32_t silent_ms)
{
    if (is_unix(fd))
        return SEGUE_OK;
    /* Keepalive counts whole seconds: after a third of the time, then two probes. */
    int one = 1, probes = 2, third = (int)(silent_ms / 3000);
    third = third ? third : 1;
    uint32_t most = silent_ms - silent_ms / 10; /* the kernel looks at it a little late */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot set TCP_NODELAY");
    if (!silent_ms)
        return SEGUE_OK;
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &third, sizeof third) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &third, sizeof third) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof most) < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot set TCP keepalive");
    return SEGUE_OK;
}

void segue_stream_beat(int fd, bool on)
{
    int value = on;
    if (!is_unix(
            fd)) /* it cannot fail on a socket of ours; were it to, the times of data still hold */
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value);
}

enum segue_status segue_stream_peer(int fd, struct segue_credentials *out)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot ask who the peer is");
    *out = (struct segue_credentials){peer.pid, peer.uid, peer.gid};
    return SEGUE_OK;
}

enum segue_status segue_stream_peer_pidfd(int fd, int *pidfd)
{
    int found;
    socklen_t len = sizeof found;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &found, &len) < 0) {
        if (errno != ENOPROTOOPT)
            return segue_fail_errno(status_of(errno), errno,
                                    "cannot watch the peer's process");
        struct segue_credentials peer = {0};
        SEGUE_TRY(segue_stream_peer(fd, &peer));
        found = pidfd_open(peer.pid, 0);
        if (found < 0)
            return segue_fail_errno(status_of(errno), errno, "cannot watch process %d",
                                    (int)peer.pid);
    }
    *pidfd = found;
    return SEGUE_OK;
}
