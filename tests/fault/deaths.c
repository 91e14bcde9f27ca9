/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/deaths.h"

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NHD64                                                                            \
    {                                                                                    \
        "nhd", "host", 64, 1, SEGUE_DTYPE_FP16                                           \
    }
#define HND16                                                                            \
    {                                                                                    \
        "hnd", "host", 16, 1, SEGUE_DTYPE_FP16                                           \
    }

/* Block sizes and orders differ, so that there is something to get wrong. */
const struct way ways[] = {
    {"shm/mapped", NHD64, HND16},
    {"cma/direct", NHD64, HND16},
    {"tcp/direct", NHD64, HND16},
    {"shm/packed", NHD64, {"hnd", "sim:cuda,latency_us=2000", 16, 1, SEGUE_DTYPE_FP16}},
    {"tcp/packed", NHD64, HND16},
};
const size_t n_ways = sizeof ways / sizeof *ways;

void way_open(struct engine *e, const struct way *way, bool producer)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = way->path;
    opts.lease_ns = LEASE_NS;
    opts.renew_ns = LEASE_NS / 5;
    *e = (struct engine){.layers = 4, .heads = 4, .head_size = 128};
    e->blocks = 2 * TOKENS_MAX /
                (producer ? way->producer.block_tokens : way->consumer.block_tokens);
    engine_open(e, producer ? &way->producer : &way->consumer, &opts, NULL);
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void sleep_for(double seconds)
{
    usleep((useconds_t)(seconds * 1e6));
}

/* ---- inside the child ---- */

struct inside {
    struct engine e;
    struct segue_ticket ticket;
    uint32_t blocks[TOKENS_MAX];
    uint64_t group;
};

static void child_mint(struct inside *in, const struct order *o)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    opts.tokens = o->tokens;
    opts.hash = prompt_of(o->salt);
    assert_ok(segue_offer_mint(in->e.agent, &opts, &id));
    assert_ok(segue_offer_ticket(in->e.agent, &id, &in->ticket));
}

static void child_hold(struct inside *in, const struct order *o)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = o->tokens;
    opts.hash = prompt_of(o->salt);
    assert_ok(segue_group_open(in->e.agent, &o->ticket, &opts, &in->group));
    assert_ok(segue_group_hold(in->e.agent, in->group));
}

static struct answer child_step(struct inside *in, const struct order *o)
{
    struct answer a = {0};
    uint32_t needs = engine_needs(&in->e, o->tokens);
    switch (o->what) {
    case CHILD_MINT:
        child_mint(in, o);
        break;
    case CHILD_OFFER:
        engine_blocks(&in->e, o->salt, in->blocks, needs);
        engine_fill(&in->e, in->blocks, 0, o->tokens, o->salt);
        in->ticket = engine_offer(&in->e, in->blocks, o->tokens, o->salt);
        break;
    case CHILD_ENDED:
        a.verdict = engine_event(&in->e, SEGUE_EVENT_OFFER_ENDED, PATIENCE).verdict;
        break;
    case CHILD_HOLD:
        child_hold(in, o);
        break;
    case CHILD_CLAIM:
        engine_blocks(&in->e, o->salt, in->blocks, needs);
        engine_claim(&in->e, &o->ticket, in->blocks, 0, o->salt, SEGUE_DIGEST_FULL, NULL);
        break;
    case CHILD_SETTLE:
        a.verdict = engine_settled(&in->e, SEGUE_VERDICT_VALID, PATIENCE).verdict;
        a.differs = engine_differs(&in->e, in->blocks, 0, o->tokens, o->salt);
        break;
    default:
        break;
    }
    a.ticket = in->ticket;
    return a;
}

static void child_main(int fd, const struct way *way, bool producer)
{
    static struct inside in;
    struct order order;
    while (recv(fd, &order, sizeof order, 0) == sizeof order &&
           order.what != CHILD_QUIT) {
        if (order.what == CHILD_OPEN)
            way_open(&in.e, way, producer);
        struct answer a = child_step(&in, &order);
        if (send(fd, &a, sizeof a, MSG_NOSIGNAL) != sizeof a)
            break;
    }
    if (in.e.agent)
        engine_close(&in.e);
    _exit(0);
}

/* ---- outside ---- */

struct child child_fork(const struct way *way, bool producer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a check that fails ends the child */
        close(fds[0]);
        child_main(fds[1], way, producer);
    }
    close(fds[1]);
    return (struct child){pid, fds[0]};
}

void child_order(struct child *c, const struct order *order)
{
    assert_int_equal(send(c->fd, order, sizeof *order, MSG_NOSIGNAL), sizeof *order);
}

struct answer child_answer(struct child *c)
{
    struct answer a;
    struct pollfd p = {c->fd, POLLIN, 0};
    if (poll(&p, 1, (int)(2 * PATIENCE * 1000)) != 1 ||
        recv(c->fd, &a, sizeof a, 0) != sizeof a)
        fail_msg("the child %d gave no answer", c->pid);
    return a;
}

struct answer child_do(struct child *c, enum child_order what, uint32_t tokens,
                       uint32_t salt, const struct segue_ticket *ticket)
{
    struct order order = {.what = what, .tokens = tokens, .salt = salt};
    if (ticket)
        order.ticket = *ticket;
    child_order(c, &order);
    return child_answer(c);
}

void child_end(struct child *c, int sig)
{
    int status;
    if (sig)
        kill(c->pid, sig);
    else
        child_order(c, &(struct order){.what = CHILD_QUIT});
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    if (!sig && status != 0)
        fail_msg("the child ended with status %#x", status);
    close(c->fd);
    c->pid = 0;
}

/* ---- what this process holds ---- */

struct held held_now(void)
{
    struct held held = {0};
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        held.fds++;
    closedir(folder);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (fgets(line, sizeof line, maps))
        held.mappings += strstr(line, "memfd:") != NULL;
    fclose(maps);
    return held;
}

void held_again(struct held want)
{
    struct held have = held_now();
    double end = seconds_now() + PATIENCE;
    while ((have.fds > want.fds || have.mappings > want.mappings) &&
           seconds_now() < end) {
        sleep_for(0.01);
        have = held_now();
    }
    if (have.fds > want.fds || have.mappings > want.mappings)
        fail_msg("%d descriptors and %d mappings, before it were %d and %d", have.fds,
                 have.mappings, want.fds, want.mappings);
}
