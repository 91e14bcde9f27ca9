/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream sockets without waiting: unix and TCP, descriptors passed along, and who is at
 * the other end. Every descriptor made here is non-blocking and close-on-exec, and is the
 * caller's to close. Nothing raises SIGPIPE. Any thread.
 *
 * Statuses shared by all: IN_PROGRESS (would have to wait: try again when the fd is
 * ready), E_LOST (the other side closed or died), E_LIMIT (no descriptors left),
 * E_SYSTEM.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The kernel's limit of descriptors in one message. */
#define SEGUE_STREAM_FDS 253

/* What: closes *fd unless it is negative, and sets it to -1. errno stays as it was. */
void segue_fd_close(int *fd);

/* What: listens at a path. A socket file left by a dead process is replaced; the caller
 * unlinks the path when done. Statuses: E_INVALID (the path is too long), E_BUSY
 * (somebody listens there, or it is no socket). */
enum segue_status segue_stream_listen_unix(const char *path, int *fd);

/* What: listens at host (name or numeric address; NULL: every address) and port (0: the
 * kernel picks); `bound` (may be NULL) is the port. Statuses: E_INVALID (no such host),
 * E_BUSY (port taken). */
enum segue_status segue_stream_listen_tcp(const char *host, uint16_t port, int *fd,
                                          uint16_t *bound);

/* What: accepts one connection; IN_PROGRESS when none waits. */
enum segue_status segue_stream_accept(int listener, int *fd);

/* What: begins to connect. Statuses: OK (connected), IN_PROGRESS (fd is valid; when it is
 * writable ask segue_stream_connected), E_LOST (nobody listens), E_BUSY (the listener's
 * queue is full: try later), E_INVALID (the path is too long, no such host). A host that
 * is no numeric address asks the resolver, which may wait: call it from a pool. */
enum segue_status segue_stream_connect_unix(const char *path, int *fd);
enum segue_status segue_stream_connect_tcp(const char *host, uint16_t port, int *fd);

/* What: how a connect ended, once the fd is writable. Statuses: OK, IN_PROGRESS, E_LOST.
 */
enum segue_status segue_stream_connected(int fd);

/* What: for TCP: small messages at once, and a host that falls silent is noticed after
 * about `silent_ms` whether or not there is data under way (E_LOST). Does nothing to a
 * unix socket. silent_ms 0 leaves the kernel's times. */
enum segue_status segue_stream_tune(int fd, uint32_t silent_ms);

/* What: whether the kernel asks a host that has nothing to say for signs of life, at the times segue_stream_tune has set; what
 * is under way is watched in any case. Does nothing to a unix socket. */
void segue_stream_beat(int fd, bool on);

/* What: sends what fits now, and with its first byte up to SEGUE_STREAM_FDS descriptors
 * (unix only; they stay open here). `sent` is at least 1 on OK; the descriptors went
 * with it. `count` <= IOV_MAX, total > 0. */
enum segue_status segue_stream_send(int fd, const struct iovec *iov, int count,
                                    const int *fds, size_t fd_count, size_t *sent);

/* What: receives up to `cap` bytes (cap > 0) and up to `fd_cap` descriptors, owned by the
 * caller. `got` is at least 1 on OK. More descriptors than fd_cap, or control data that
 * was cut, is E_PROTOCOL: then all that came are closed and the bytes are void.
 * The end of the stream is E_LOST. */
enum segue_status segue_stream_recv(int fd, void *data, size_t cap, size_t *got, int *fds,
                                    size_t fd_cap, size_t *fd_count);

/* What: the process at the other end of a unix socket, as it was when it connected or
 * began to listen. */
struct segue_credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
enum segue_status segue_stream_peer(int fd, struct segue_credentials *out);

/* What: a pidfd of that process, readable once it has ended. Where the kernel has
 * SO_PEERPIDFD it cannot be another process with a recycled pid; before that (Linux 6.5)
 * it could. Statuses: E_LOST (it has ended). */
enum segue_status segue_stream_peer_pidfd(int fd, int *pidfd);

#endif
