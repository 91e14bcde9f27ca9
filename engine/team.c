/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that wait on futexes: a job number starts them, barriers keep them in step. */
#include "team.h"
#include "fail.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 2000 }; /* some 20 us: longer than most phases of a decode step differ */

struct signal_word {
    _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
};

struct member {
    struct team *team;
    uint32_t number;
    pthread_t thread;
};

struct team {
    uint32_t n, started, spins;
    struct member *members;
    struct signal_word job, turn; /* turn: how many barriers have been passed */
    _Atomic uint32_t arrived;
    void (*work)(void *, uint32_t); /* NULL: end */
    void *argument;
};

static inline void relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Waits until the word differs from `old`. */
static void await(struct signal_word *word, uint32_t old, uint32_t spins)
{
    for (uint32_t i = 0; i < spins; i++) {
        if (atomic_load_explicit(&word->value, memory_order_acquire) != old)
            return;
        relax();
    }
    /* Sequential order with raise(): either it sees a sleeper, or the kernel sees the
     * new value and does not sleep. */
    atomic_fetch_add(&word->sleepers, 1);
    while (atomic_load(&word->value) == old)
        syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&word->sleepers, 1);
}

static void raise_word(struct signal_word *word)
{
    atomic_fetch_add(&word->value, 1);
    if (atomic_load(&word->sleepers))
        syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void team_barrier(struct team *team)
{
    if (team->n == 1)
        return;
    uint32_t turn = atomic_load_explicit(&team->turn.value, memory_order_acquire);
    if (atomic_fetch_add(&team->arrived, 1) + 1 < team->n) {
        await(&team->turn, turn, team->spins);
        return;
    }
    atomic_store(&team->arrived, 0);
    raise_word(&team->turn);
}

static void *member_main(void *argument)
{
    struct member *member = argument;
    struct team *team = member->team;
    for (uint32_t job = 0;; job++) {
        await(&team->job, job, team->spins);
        if (!team->work)
            return NULL;
        team->work(team->argument, member->number);
        team_barrier(team);
    }
}

void team_run(struct team *team, void (*work)(void *argument, uint32_t member),
              void *argument)
{
    team->work = work;
    team->argument = argument;
    raise_word(&team->job);
    work(argument, 0);
    team_barrier(team);
}

/* How many processors this thread may use. */
static uint32_t processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

static int start(struct team *team)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the program's own threads' business */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int status = 0;
    for (uint32_t i = 1; i < team->n && !status; i++) {
        struct member *member = &team->members[i];
        *member = (struct member){.team = team, .number = i};
        int cause = pthread_create(&member->thread, NULL, member_main, member);
        if (cause)
            status = engine_fail("cannot start thread %u of the engine: %s", i,
                                 strerror(cause));
        else
            team->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

int team_open(struct team **out, uint32_t n)
{
    struct team *team = calloc(1, sizeof *team);
    if (!team || !(team->members = calloc(n, sizeof *team->members))) {
        free(team);
        return engine_fail("out of memory for %u threads", n);
    }
    team->n = n;
    team->spins = n <= processors() ? SPINS : 0;
    if (start(team)) {
        team_close(team);
        return -1;
    }
    *out = team;
    return 0;
}

void team_close(struct team *team)
{
    if (!team)
        return;
    team->work = NULL;
    raise_word(&team->job);
    for (uint32_t i = 1; i <= team->started; i++)
        pthread_join(team->members[i].thread, NULL);
    free(team->members);
    free(team);
}
