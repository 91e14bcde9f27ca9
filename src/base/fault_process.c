/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of a whole process. Nothing here pretends: signals are sent, and the kernel's own limits are set to what is in
 * use, so that whoever asks for more is refused where he would be on a machine that has no more. */
#include "base/fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct limit {
    int resource;
    uint64_t ns;
    struct rlimit before;
};

static void *lift(void *arg)
{
    struct limit *limit = arg;
    struct timespec t = {(time_t)(limit->ns / 1000000000),
                         (long)(limit->ns % 1000000000)};
    nanosleep(&t, NULL);
    setrlimit((__rlimit_resource_t)limit->resource, &limit->before);
    free(limit);
    return NULL;
}

/* Who lifts the limit is there before it is set. */
static void set_limit(int resource, rlim_t now, uint64_t ns)
{
    struct limit *limit = malloc(sizeof *limit);
    pthread_t thread;
    if (!limit)
        return;
    *limit = (struct limit){resource, ns, {0, 0}};
    getrlimit((__rlimit_resource_t)resource, &limit->before);
    struct rlimit want = {now, limit->before.rlim_max};
    if (pthread_create(&thread, NULL, lift, limit) != 0) {
        free(limit);
        return;
    }
    pthread_detach(thread);
    setrlimit((__rlimit_resource_t)resource, &want);
}

static rlim_t lowest_free_fd(void)
{
    int fd = dup(STDERR_FILENO);
    if (fd < 0)
        return 0;
    close(fd);
    return (rlim_t)fd;
}

static rlim_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) : RLIM_INFINITY;
}

void segue_fault_process(const struct segue_fault *fault)
{
    switch (fault->what) {
    case SEGUE_FAULT_KILL:
    case SEGUE_FAULT_RESTART:
        raise(SIGKILL);
        break;
    case SEGUE_FAULT_STOP:
        raise(SIGSTOP); /* this thread too, before it goes on */
        break;
    case SEGUE_FAULT_NO_FDS:
        set_limit(RLIMIT_NOFILE, lowest_free_fd(), fault->amount);
        break;
    case SEGUE_FAULT_NO_MEMORY:
        set_limit(RLIMIT_AS, mapped_bytes(), fault->amount);
        break;
    case SEGUE_FAULT_NO_SHM: /* a memfd's size counts as a file's */
        signal(SIGXFSZ, SIG_IGN);
        set_limit(RLIMIT_FSIZE, 0, fault->amount);
        break;
    default:
        break;
    }
}
