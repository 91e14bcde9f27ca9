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

/* Turns of a spin, at most some 20 us: longer than most phases of a decode step differ.
 * On a busy machine a spin keeps the processor from whoever is waited for. */
enum { LEAST_SPINS = 32, MOST_SPINS = 2000 };

struct signal_word {
    _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
};

struct member {
    struct team *team;
    uint32_t number;
    uint32_t spins; /* its present limit: what paid lately */
    pthread_t thread;
};

struct team {
    uint32_t n, started, most_spins;
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
static void await(struct member *member, struct signal_word *word, uint32_t old)
{
    uint32_t most = member->team->most_spins;
    for (uint32_t i = 0; i < member->spins; i++) {
        if (atomic_load_explicit(&word->value, memory_order_acquire) != old) {
            member->spins = member->spins < most / 2 ? member->spins * 2 : most;
            return;
        }
        relax();
    }
    member->spins = member->spins / 2 > LEAST_SPINS ? member->spins / 2 : LEAST_SPINS;
    if (member->spins > most)
        member->spins = most;
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

void team_barrier(struct team *team, uint32_t number)
{
    if (team->n == 1)
        return;
    uint32_t turn = atomic_load_explicit(&team->turn.value, memory_order_acquire);
    if (atomic_fetch_add(&team->arrived, 1) + 1 < team->n) {
        await(&team->members[number], &team->turn, turn);
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
        await(member, &team->job, job);
        if (!team->work)
            return NULL;
        team->work(team->argument, member->number);
        team_barrier(team, member->number);
    }
}

void team_run(struct team *team, void (*work)(void *argument, uint32_t member),
              void *argument)
{
    team->work = work;
    team->argument = argument;
    raise_word(&team->job);
    work(argument, 0);
    team_barrier(team, 0);
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
    team->most_spins = n <= processors() ? MOST_SPINS : 0;
    for (uint32_t i = 0; i < n; i++)
        team->members[i] = (struct member){
            .team = team, .number = i, .spins = team->most_spins};
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
