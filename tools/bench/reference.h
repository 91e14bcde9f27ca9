/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hand-offs are held against: plain copies of as many bytes by one thread. All memory
 * they touch has been faulted in by the caller.
 */
#ifndef TOOLS_BENCH_REFERENCE_H
#define TOOLS_BENCH_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

uint64_t bench_now_ns(void);

/* `to` and `from` are 32-byte aligned. */
typedef void bench_copy(void *to, const void *from, uint64_t bytes);

/* What: memcpy, or a loop of loads and streaming stores, whichever copies these bytes
 * faster; tried several times each. Overwrites `to`. */
bench_copy *bench_copy_faster(void *to, const void *from, uint64_t bytes);

bench_copy bench_copy_memcpy, bench_copy_streaming;

/* What: the same by this thread and one more, half of the bytes each. */
void bench_copy_by_two(bench_copy *copy, void *to, const void *from, uint64_t bytes);

/* What: reads n pieces of another process with as few calls as the kernel takes. The
 * arrays are as process_vm_readv wants them. false: errno says why. */
bool bench_read(pid_t pid, const struct iovec *to, const struct iovec *from, size_t n);

/* What: a connected pair of blocking TCP sockets over loopback. false: errno says why. */
bool bench_sockets(int fds[2]);
bool bench_send(int fd, const void *from, uint64_t bytes);
bool bench_receive(int fd, void *to, uint64_t bytes);

#endif
