/* SPDX-License-Identifier: Apache-2.0 */
/* The plain copies: memcpy, streaming stores, process_vm_readv, a loopback socket. */
#include "bench/reference.h"
#include "bench/stats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { TRIES = 9, LINE = 64 };

uint64_t bench_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- memory ---- */

void bench_copy_memcpy(void *to, const void *from, uint64_t bytes)
{
    memcpy(to, from, bytes);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void copy_avx2(char *to, const char *from,
                                                      uint64_t lines)
{
    for (uint64_t i = 0; i < lines; i++, to += LINE, from += LINE) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)from);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(from + 32));
        _mm256_stream_si256((__m256i *)(void *)to, a);
        _mm256_stream_si256((__m256i *)(void *)(to + 32), b);
    }
    _mm_sfence();
}

void bench_copy_streaming(void *to, const void *from, uint64_t bytes)
{
    uint64_t whole = __builtin_cpu_supports("avx2") ? bytes / LINE * LINE : 0;
    copy_avx2(to, from, whole / LINE);
    memcpy((char *)to + whole, (const char *)from + whole, bytes - whole);
}
#else
void bench_copy_streaming(void *to, const void *from, uint64_t bytes)
{
    memcpy(to, from, bytes);
}
#endif

bench_copy *bench_copy_faster(void *to, const void *from, uint64_t bytes)
{
    bench_copy *const copies[] = {bench_copy_memcpy, bench_copy_streaming};
    double took[2][TRIES];
    for (int i = 0; i < TRIES; i++)
        for (int c = 0; c < 2; c++) {
            uint64_t start = bench_now_ns();
            copies[c](to, from, bytes);
            took[c][i] = (double)(bench_now_ns() - start);
        }
    double a = bench_spread(took[0], TRIES).median;
    double b = bench_spread(took[1], TRIES).median;
    return copies[b < a];
}

struct half {
    bench_copy *copy;
    char *to;
    const char *from;
    uint64_t bytes;
};

static void *copy_half(void *arg)
{
    const struct half *half = arg;
    half->copy(half->to, half->from, half->bytes);
    return NULL;
}

void bench_copy_by_two(bench_copy *copy, void *to, const void *from, uint64_t bytes)
{
    uint64_t at = bytes / 2 / 4096 * 4096;
    struct half first = {copy, to, from, at};
    pthread_t thread;
    bool started = pthread_create(&thread, NULL, copy_half, &first) == 0;
    copy((char *)to + at, (const char *)from + at, bytes - at);
    if (started)
        pthread_join(thread, NULL);
    else
        copy_half(&first);
}

/* ---- another process ---- */

bool bench_read(pid_t pid, const struct iovec *to, const struct iovec *from, size_t n)
{
    while (n > 0) {
        size_t batch = n < IOV_MAX ? n : IOV_MAX;
        ssize_t want = 0;
        for (size_t i = 0; i < batch; i++)
            want += (ssize_t)to[i].iov_len;
        ssize_t got = process_vm_readv(pid, to, batch, from, batch, 0);
        if (got != want) {
            errno = got < 0 ? errno : EIO;
            return false;
        }
        to += batch;
        from += batch;
        n -= batch;
    }
    return true;
}

/* ---- sockets ---- */

bool bench_sockets(int fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[0] = fds[1] = -1;
    bool ok = listener >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0 &&
              listen(listener, 1) == 0 &&
              getsockname(listener, (struct sockaddr *)&at, &len) == 0 &&
              (fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0 &&
              connect(fds[0], (struct sockaddr *)&at, sizeof at) == 0 &&
              (fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;
    int error = errno;
    for (int i = 0; ok && i < 2; i++)
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (int i = 0; !ok && i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (listener >= 0)
        close(listener);
    errno = error;
    return ok;
}

bool bench_send(int fd, const void *from, uint64_t bytes)
{
    for (const char *at = from, *end = at + bytes; at < end;) {
        ssize_t n = send(fd, at, (size_t)(end - at), MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
    }
    return true;
}

bool bench_receive(int fd, void *to, uint64_t bytes)
{
    for (char *at = to, *end = at + bytes; at < end;) {
        ssize_t n = recv(fd, at, (size_t)(end - at), 0);
        if (n <= 0)
            return false;
        at += n;
    }
    return true;
}
