/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a transport moves bytes beside the bare loop it stands on, run by run in turn,
 * between two processes. For developers: `segue bench` measures whole hand-offs.
 *
 * usage: bench-path ROW BYTES [RUNS [PIECE]]     ROW: shm cma tcp; PIECE: bytes of a
 * strided run
 */
#include "conformance/pair.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <signal.h>
#include <unistd.h>
#include <math.h>

#ifdef __x86_64__
#include <emmintrin.h>
#endif

#define MINUTE (60 * SEGUE_NS_PER_S)

struct bench {
    struct pair pair;
    struct plan plan;
    uint64_t bytes, piece;
    int bare; /* the reference's own socket to its own sender */
    uint64_t tag;
};

static void fatal(const char *what)
{
    fprintf(stderr, "bench-path: %s\n", what);
    exit(3);
}

/* ---- references ---- */

#ifdef __x86_64__
static void copy_streaming(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i + 64 <= n; i += 64)
        for (size_t k = 0; k < 64; k += 16)
            _mm_stream_si128((__m128i *)(void *)(to + i + k),
                             _mm_loadu_si128((const void *)(from + i + k)));
    _mm_sfence();
}
#else
static void copy_streaming(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
}
#endif

static void ref_memcpy(struct bench *b)
{
    memcpy(b->pair.here.memory[1], b->pair.here.remote[0]->base, b->bytes);
}

static void ref_streaming(struct bench *b)
{
    copy_streaming(b->pair.here.memory[1], b->pair.here.remote[0]->base, b->bytes);
}

/* As many pieces as a call takes; of 1 MiB when the transfer is in one. */
static void ref_readv(struct bench *b)
{
    static struct iovec local[1024], remote[1024];
    uint64_t piece = b->piece ? b->piece : 1 << 20,
             step = b->piece ? 2 * b->piece : piece;
    char *to = b->pair.here.memory[1], *from = b->pair.here.remote[0]->base;
    for (uint64_t at = 0, place = 0; at < b->bytes;) {
        size_t n = 0;
        uint64_t sum = 0;
        for (; n < 1024 && at < b->bytes; n++, place += step) {
            uint64_t len = b->bytes - at < piece ? b->bytes - at : piece;
            local[n] = (struct iovec){to + place, len};
            remote[n] = (struct iovec){from + place, len};
            at += len;
            sum += len;
        }
        if (process_vm_readv(b->pair.child, local, n, remote, n, 0) != (ssize_t)sum)
            fatal(strerror(errno));
    }
}

static void ref_socket(struct bench *b)
{
    char *to = b->pair.here.memory[1];
    if (write(b->bare, &b->bytes, sizeof b->bytes) != sizeof b->bytes)
        fatal(strerror(errno));
    for (uint64_t at = 0; at < b->bytes;) {
        ssize_t n = recv(b->bare, to + at, b->bytes - at, 0);
        if (n <= 0)
            fatal(strerror(errno));
        at += (uint64_t)n;
    }
}

/* The other end of ref_socket: sends as many bytes as it is asked for. */
static int start_sender(uint64_t bytes)
{
    int fds[2], size = 4 << 20;
    tcp_pair(fds);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        char *from = malloc(bytes);
        memset(from, 1, bytes);
        for (uint64_t n; read(fds[1], &n, sizeof n) == sizeof n;)
            for (uint64_t at = 0; at < n;)
                at += (uint64_t)send(fds[1], from + at, n - at, MSG_NOSIGNAL);
        _exit(0);
    }
    close(fds[1]);
    return fds[0];
}

/* ---- the transport ---- */

static void run_transport(struct bench *b)
{
    static struct probe probe;
    static const enum segue_op_kind kinds[] = {SEGUE_OP_COPY, SEGUE_OP_COPY,
                                               SEGUE_OP_READ, SEGUE_OP_RECV};
    probe_init(&probe, &b->pair.here, kinds[b->pair.row], &b->plan.t, MINUTE);
    probe.op.tag = ++b->tag;
    if (segue_op_post(b->pair.here.conn, &probe.op) < 0)
        fatal(segue_error_detail());
    if (b->pair.row == 3)
        pair_ask_send(&b->pair, b->tag, 0, b->bytes);
    if (probe_wait(&probe, &b->pair.here) != SEGUE_OK)
        fatal(probe.detail);
}

/* Every second piece of both sides. */
static void strided_plan(struct bench *b)
{
    transfer_plain(&b->plan, b->bytes);
    if (!b->piece)
        return;
    struct segue_move *m = b->plan.moves;
    m->run = (uint32_t)b->piece;
    m->src_token = m->dst_token = 2 * b->piece;
    b->plan.spans[0].tokens = (uint32_t)(b->bytes / b->piece);
}

static double seconds(void (*run)(struct bench *b), struct bench *b)
{
    uint64_t start = segue_now_ns();
    run(b);
    return (double)(segue_now_ns() - start) / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, double *ratio, double *gbps, int n)
{
    qsort(ratio, (size_t)n, sizeof *ratio, compare);
    qsort(gbps, (size_t)n, sizeof *gbps, compare);
    int lo = (int)floor(n / 2.0 - 0.8225 * sqrt(n)), hi = n - 1 - lo;
    lo = lo < 0 ? 0 : lo;
    hi = hi >= n ? n - 1 : hi;
    printf("  vs %-16s ratio %.3f  lo %.3f  hi %.3f   it does %.2f GB/s\n", name,
           ratio[n / 2], ratio[lo], ratio[hi], gbps[n / 2]);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"shm", "ipc", "cma", "tcp"};
    static struct bench b;
    int runs = argc > 3 ? atoi(argv[3]) : 31;
    if (argc < 3 || runs < 1)
        fatal("usage: bench-path ROW BYTES [RUNS [PIECE]]");
    for (b.pair.row = 0; b.pair.row < 4 && strcmp(names[b.pair.row], argv[1]);)
        b.pair.row++;
    b.bytes = strtoull(argv[2], NULL, 0);
    b.piece = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
    b.pair.producer = b.pair.consumer = "host";
    b.pair.len = b.piece ? 2 * b.bytes : b.bytes;
    b.pair.plain = true;
    b.bare = start_sender(b.bytes);
    if (b.pair.row > 3 || !pair_open(&b.pair))
        fatal(b.pair.why);
    strided_plan(&b);

    struct {
        const char *name;
        void (*run)(struct bench *b);
        double *ratio, *gbps;
    } refs[2] = {{b.pair.row == 0   ? "memcpy"
                  : b.pair.row == 2 ? "process_vm_readv"
                                    : "socket",
                  b.pair.row == 0   ? ref_memcpy
                  : b.pair.row == 2 ? ref_readv
                                    : ref_socket,
                  NULL, NULL},
                 {"streaming", ref_streaming, NULL, NULL}};
    int n_refs = b.pair.row == 0 ? 2 : 1;
    double *ours = calloc((size_t)runs, sizeof *ours);
    for (int r = 0; r < n_refs; r++) {
        refs[r].ratio = calloc((size_t)runs, sizeof(double));
        refs[r].gbps = calloc((size_t)runs, sizeof(double));
    }
    for (int i = -2; i < runs; i++) {
        double t = seconds(run_transport, &b);
        for (int r = 0; r < n_refs; r++) {
            double ref = seconds(refs[r].run, &b);
            if (i >= 0) {
                refs[r].ratio[i] = ref / t;
                refs[r].gbps[i] = (double)b.bytes / ref / 1e9;
            }
        }
        if (i >= 0)
            ours[i] = (double)b.bytes / t / 1e9;
    }
    qsort(ours, (size_t)runs, sizeof *ours, compare);
    printf("%s %lu bytes, n %d: median %.2f GB/s  min %.2f  max %.2f\n", argv[1],
           (unsigned long)b.bytes, runs, ours[runs / 2], ours[0], ours[runs - 1]);
    for (int r = 0; r < n_refs; r++)
        report(refs[r].name, refs[r].ratio, refs[r].gbps, runs);
    pair_close(&b.pair);
    return 0;
}
