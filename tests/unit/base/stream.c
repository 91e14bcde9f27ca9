/* SPDX-License-Identifier: Apache-2.0 */
/* Stream sockets: listening, connecting, descriptors, and who is at the other end. */
#include "test.h"
#include "base/stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[80];

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/segue-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/s", folder);
    return 0;
}

static int remove_folder(void **state)
{
    unlink(path);
    rmdir(folder);
    return 0;
}

static int fds_open(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static bool ready(int fd, short events)
{
    struct pollfd p = {fd, events, 0};
    return poll(&p, 1, 5000) == 1;
}

static void assert_flags(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void assert_talks(int a, int b)
{
    char got[8];
    size_t n;
    struct iovec iov[2] = {{"he", 2}, {"llo", 3}};
    assert_status(segue_stream_recv(b, got, sizeof got, &n, NULL, 0, NULL),
                  SEGUE_IN_PROGRESS);
    assert_ok(segue_stream_send(a, iov, 2, NULL, 0, &n));
    assert_int_equal(n, 5);
    assert_true(ready(b, POLLIN));
    assert_int_equal(segue_stream_recv(b, got, sizeof got, &n, NULL, 0, NULL), SEGUE_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(got, "hello", 5);
}

static void unix_sockets_connect(void **state)
{
    int listener = -1, a = -1, b = -1, pidfd = -1, before = fds_open();
    struct segue_credentials who;
    assert_ok(segue_stream_listen_unix(path, &listener));
    assert_status(segue_stream_accept(listener, &b), SEGUE_IN_PROGRESS);
    assert_int_equal(segue_stream_connect_unix(path, &a), SEGUE_OK);
    assert_int_equal(segue_stream_connected(a), SEGUE_OK);
    assert_int_equal(segue_stream_accept(listener, &b), SEGUE_OK);
    assert_flags(listener);
    assert_flags(a);
    assert_flags(b);
    assert_talks(a, b);
    assert_ok(segue_stream_tune(a, 2000));
    assert_ok(segue_stream_peer(b, &who));
    assert_int_equal(who.pid, getpid());
    assert_int_equal(who.uid, getuid());
    assert_ok(segue_stream_peer_pidfd(b, &pidfd));
    assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
    segue_fd_close(&a);
    assert_int_equal(a, -1);
    char byte;
    size_t n;
    assert_status(segue_stream_recv(b, &byte, 1, &n, NULL, 0, NULL), SEGUE_E_LOST);
    struct iovec iov = {&byte, 1};
    assert_status(segue_stream_send(b, &iov, 1, NULL, 0, &n), SEGUE_E_LOST);
    segue_fd_close(&b);
    segue_fd_close(&pidfd);
    segue_fd_close(&listener);
    segue_fd_close(&listener);
    assert_int_equal(fds_open(), before);
}

static void a_dead_listener_is_replaced_a_live_one_is_not(void **state)
{
    int first = -1, second = -1, a = -1;
    assert_status(segue_stream_connect_unix(path, &a), SEGUE_E_LOST);
    assert_ok(segue_stream_listen_unix(path, &first));
    assert_status(segue_stream_listen_unix(path, &second), SEGUE_E_BUSY);
    segue_fd_close(&first);
    assert_status(segue_stream_connect_unix(path, &a), SEGUE_E_LOST);
    assert_ok(segue_stream_listen_unix(path, &second));
    segue_fd_close(&second);
    unlink(path);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_status(segue_stream_listen_unix(path, &second), SEGUE_E_BUSY);
    assert_int_equal(access(path, F_OK), 0); /* somebody's file is not ours to remove */
}

static void long_paths_get_a_sentence(void **state)
{
    char much[300];
    int fd = 7;
    memset(much, 'x', sizeof much - 1);
    much[sizeof much - 1] = 0;
    assert_status(segue_stream_listen_unix(much, &fd), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "has 299 bytes, the system allows 107"));
    assert_status(segue_stream_connect_unix(much, &fd), SEGUE_E_INVALID);
    assert_status(segue_stream_connect_unix("", &fd), SEGUE_E_INVALID);
    assert_int_equal(fd, 7);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    getsockopt(fd, level, name, &value, &len);
    return value;
}

static void tcp_connects_and_is_tuned(void **state)
{
    int listener = -1, a = -1, b = -1;
    uint16_t port = 0;
    assert_ok(segue_stream_listen_tcp("127.0.0.1", 0, &listener, &port));
    assert_true(port != 0);
    assert_ok(segue_stream_connect_tcp("127.0.0.1", port, &a));
    assert_true(ready(a, POLLOUT));
    assert_int_equal(segue_stream_connected(a), SEGUE_OK);
    assert_true(ready(listener, POLLIN));
    assert_int_equal(segue_stream_accept(listener, &b), SEGUE_OK);
    assert_flags(a);
    assert_flags(b);
    assert_ok(segue_stream_tune(b, 5000));
    assert_int_not_equal(option(b, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(option(b, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(b, IPPROTO_TCP, TCP_USER_TIMEOUT), 4500);
    assert_int_equal(option(b, IPPROTO_TCP, TCP_KEEPIDLE), 1);
    assert_talks(a, b);
    assert_talks(b, a);
    int taken = -1;
    assert_status(segue_stream_listen_tcp("127.0.0.1", port, &taken, NULL), SEGUE_E_BUSY);
    segue_fd_close(&a);
    segue_fd_close(&b);
    segue_fd_close(&listener);
    enum segue_status status = segue_stream_connect_tcp("127.0.0.1", port, &a);
    if (status == SEGUE_IN_PROGRESS && ready(a, POLLOUT)) {
        status = segue_stream_connected(a);
        segue_fd_close(&a);
    }
    assert_int_equal(status, SEGUE_E_LOST);
    assert_int_equal(a, -1);
    assert_status(segue_stream_connect_tcp("not.a.numeric..host", 1, &a),
                  SEGUE_E_INVALID);
}

/* ---- descriptors ---- */

static int pair[2];

static int make_pair(void **state)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
    segue_fd_close(&pair[0]);
    segue_fd_close(&pair[1]);
    return 0;
}

static void send_copies(size_t count)
{
    int fds[SEGUE_STREAM_FDS + 1];
    size_t sent;
    struct iovec iov = {"d", 1};
    for (size_t i = 0; i < count; i++)
        fds[i] = pair[0];
    assert_ok(segue_stream_send(pair[0], &iov, 1, fds, count, &sent));
}

static void descriptors_travel(void **state)
{
    int ends[2], fds[4] = {-1, -1, -1, -1};
    size_t n, count = 9;
    char byte;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct iovec iov = {"d", 1};
    assert_ok(segue_stream_send(pair[0], &iov, 1, ends, 2, &n));
    assert_int_equal(segue_stream_recv(pair[1], &byte, 1, &n, fds, 4, &count), SEGUE_OK);
    assert_int_equal(count, 2);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fds[1], "z", 1), 1);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'z');
    for (int i = 0; i < 2; i++) {
        segue_fd_close(&fds[i]);
        segue_fd_close(&ends[i]);
    }
}

static void as_many_as_the_kernel_passes(void **state)
{
    int fds[SEGUE_STREAM_FDS], before = fds_open();
    size_t n, count = 0;
    char byte;
    send_copies(SEGUE_STREAM_FDS);
    assert_ok(segue_stream_recv(pair[1], &byte, 1, &n, fds, SEGUE_STREAM_FDS, &count));
    assert_int_equal(count, SEGUE_STREAM_FDS);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    assert_int_equal(fds_open(), before);
    struct iovec iov = {"d", 1};
    assert_status(segue_stream_send(pair[0], &iov, 1, fds, SEGUE_STREAM_FDS + 1, &n),
                  SEGUE_E_LIMIT);
}

static void unwanted_descriptors_are_closed(void **state)
{
    int fds[2] = {-1, -1}, before = fds_open();
    size_t n, count = 0;
    char byte;
    send_copies(3);
    assert_status(segue_stream_recv(pair[1], &byte, 1, &n, fds, 2, &count),
                  SEGUE_E_PROTOCOL);
    send_copies(1);
    assert_status(segue_stream_recv(pair[1], &byte, 1, &n, NULL, 0, NULL),
                  SEGUE_E_PROTOCOL);
    assert_int_equal(fds_open(), before);
}

static void cut_control_data_closes_all(void **state)
{
    int fds[8], before = fds_open();
    struct rlimit kept, low;
    size_t n, count = 0;
    char byte;
    send_copies(8);
    /* With no room for eight more descriptors the kernel passes some and cuts the rest. */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &kept), 0);
    low = kept;
    low.rlim_cur = (rlim_t)dup(pair[0]) + 3;
    close((int)low.rlim_cur - 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    enum segue_status status = segue_stream_recv(pair[1], &byte, 1, &n, fds, 8, &count);
    setrlimit(RLIMIT_NOFILE, &kept);
    assert_status(status, SEGUE_E_PROTOCOL);
    assert_int_equal(fds_open(), before);
}

static void the_pidfd_tells_the_end_of_the_peer(void **state)
{
    int listener = -1, served = -1, pidfd = -1;
    assert_ok(segue_stream_listen_unix(path, &listener));
    pid_t child = fork();
    if (child == 0) {
        int a = -1;
        char byte;
        segue_stream_connect_unix(path, &a);
        fcntl(a, F_SETFL, 0);
        _exit(read(a, &byte, 1) == 1 ? 0 : 1);
    }
    assert_true(ready(listener, POLLIN));
    assert_int_equal(segue_stream_accept(listener, &served), SEGUE_OK);
    struct segue_credentials who;
    assert_ok(segue_stream_peer(served, &who));
    assert_int_equal(who.pid, child);
    assert_ok(segue_stream_peer_pidfd(served, &pidfd));
    struct pollfd p = {pidfd, POLLIN, 0};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(write(served, "x", 1), 1);
    assert_true(ready(pidfd, POLLIN));
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    segue_fd_close(&pidfd);
    segue_fd_close(&served);
    segue_fd_close(&listener);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(unix_sockets_connect, make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(a_dead_listener_is_replaced_a_live_one_is_not,
                                    make_folder, remove_folder),
    cmocka_unit_test_setup_teardown(the_pidfd_tells_the_end_of_the_peer, make_folder,
                                    remove_folder),
    cmocka_unit_test(long_paths_get_a_sentence),
    cmocka_unit_test(tcp_connects_and_is_tuned),
    cmocka_unit_test_setup_teardown(descriptors_travel, make_pair, close_pair),
    cmocka_unit_test_setup_teardown(as_many_as_the_kernel_passes, make_pair, close_pair),
    cmocka_unit_test_setup_teardown(unwanted_descriptors_are_closed, make_pair,
                                    close_pair),
    cmocka_unit_test_setup_teardown(cut_control_data_closes_all, make_pair, close_pair),
};
TEST_MAIN(tests)
