/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes and descriptors over a stream. Room for the most descriptors the kernel passes at
 * once is always offered, so that every one that arrives is seen: what is not wanted is
 * closed here, and never leaks.
 */
#include "base/stream.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * SEGUE_STREAM_FDS)];
};

static enum segue_status failure(int err, const char *what)
{
    if (err == EAGAIN || err == EWOULDBLOCK)
        return SEGUE_IN_PROGRESS;
    bool lost = err == EPIPE || err == ECONNRESET || err == ETIMEDOUT ||
                err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH ||
                err == ENOTCONN;
    bool full = err == ETOOMANYREFS || err == EMFILE || err == ENOBUFS;
    return segue_fail_errno(lost   ? SEGUE_E_LOST
                            : full ? SEGUE_E_LIMIT
                                   : SEGUE_E_SYSTEM,
                            err, "%s", what);
}

enum segue_status segue_stream_send(int fd, const struct iovec *iov, int count,
                                    const int *fds, size_t fd_count, size_t *sent)
{
    union control control;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    if (fd_count > SEGUE_STREAM_FDS)
        return segue_fail(SEGUE_E_LIMIT, "%zu descriptors in one message, %d can go",
                          fd_count, SEGUE_STREAM_FDS);
    if (fd_count) {
        memset(&control, 0, CMSG_SPACE(sizeof(int) * fd_count));
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failure(errno, "cannot send");
    *sent = (size_t)n;
    return SEGUE_OK;
}

/* Takes every descriptor of a message, at most cap into fds; returns how many came. The
 * others are closed. */
static size_t take_fds(struct msghdr *message, int *fds, size_t cap)
{
    size_t came = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++, came++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
            if (came < cap)
                fds[came] = one;
            else
                close(one);
        }
    }
    return came;
}

enum segue_status segue_stream_recv(int fd, void *data, size_t cap, size_t *got, int *fds,
                                    size_t fd_cap, size_t *fd_count)
{
    union control control;
    struct iovec iov = {data, cap};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    ssize_t n;
    do
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failure(errno, "cannot receive");
    size_t came = take_fds(&message, fds, fd_cap);
    bool cut = message.msg_flags & MSG_CTRUNC;
    if (cut || came > fd_cap) {
        for (size_t i = 0; i < came && i < fd_cap; i++)
            close(fds[i]);
        return cut ? segue_fail(SEGUE_E_PROTOCOL,
                                "a message's descriptors were cut: too "
                                "many, or this process may open no more")
                   : segue_fail(SEGUE_E_PROTOCOL,
                                "%zu descriptors came with a message, at most %zu may",
                                came, fd_cap);
    }
    if (fd_count)
        *fd_count = came;
    if (n == 0)
        return segue_fail(SEGUE_E_LOST, "the other side closed the connection");
    *got = (size_t)n;
    return SEGUE_OK;
}
