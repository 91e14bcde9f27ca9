/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random soak: hand-offs by the thousand between processes that a random schedule harms, killed producers that start
 * again at the same address among it. Whatever happens: every claim has one VERDICT, one RELEASED and one GROUP, every
 * offer one end; a block is written only while a claim holds it; valid means right bytes; and in the end every block,
 * descriptor and mapping is back.
 *
 * An epoch is one consumer and its producers, in processes of their own, over one path; everything random in it follows
 * from the seed and its number. The seed is printed; SEGUE_TEST_SEED repeats a run, SEGUE_TEST_CASES says how long it is,
 * SEGUE_TEST_EPOCH with which epoch it begins.
 */
#include "base/random.h"
#include "fault/deaths.h"
#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LIVES = 3,   /* producers of an epoch, one after the other */
    WINDOW = 12, /* hand-offs under way */
    TOKENS = 96, /* of a prompt, at most */
    EPOCH = 1000,
    BLOCKS = 256,
};

static uint64_t state; /* this process's random numbers */

static uint32_t dice(uint32_t sides)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t x = state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 33) % sides;
}

/* ---- blocks of one engine ---- */

struct blocks {
    uint32_t free[BLOCKS], n;
    bool taken[BLOCKS];
};

static void blocks_open(struct blocks *b, uint32_t n)
{
    *b = (struct blocks){.n = n};
    for (uint32_t i = 0; i < n; i++)
        b->free[i] = i;
}

static void blocks_take(struct blocks *b, uint32_t *ids, uint32_t n)
{
    assert_true(n <= b->n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = dice(b->n);
        ids[i] = b->free[at];
        b->free[at] = b->free[--b->n];
        b->taken[ids[i]] = true;
    }
}

static void blocks_give(struct blocks *b, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_true(b->taken[ids[i]]); /* given back twice? */
        b->taken[ids[i]] = false;
        b->free[b->n++] = ids[i];
    }
}

/* ---- schedules ---- */

/* What may be planned at random. Silence and stopped processes have tests of their own: each costs a deadline. */
static const struct {
    const char *step, *what;
} producer_faults[] =
    {
        {"recv:claim", "drop"},       {"recv:claim", "delay 3ms"},
        {"recv:claim", "cut"},        {"send:accept", "drop"},
        {"send:accept", "delay 3ms"}, {"send:accept", "twice"},
        {"recv:commit", "drop"},      {"recv:commit", "twice"},
        {"recv:commit", "cut"},       {"send:verdict", "drop"},
        {"send:verdict", "twice"},    {"send:verdict", "delay 3ms"},
        {"recv:end", "drop"},         {"recv:end", "twice"},
        {"recv:cancel", "drop"},      {"named", "swap"},
        {"mid-copy", "cut"},          {"mid-copy", "delay 3ms"},
        {"first-byte", "short 64"},   {"recv:free", "delay 3ms"},
        {"send:full", "delay 3ms"},   {"send:full", "drop"},
        {"recv:claim", "short 11"},   {"recv:claim", "eagain 50"},
        {"recv:claim", "no-fds 5ms"}, {"offer", "no-shm 5ms"},
        {"send:tell", "cut"},         {"send:ring", "drop"},
},
  consumer_faults[] = {
      {"send:claim", "drop"},       {"send:claim", "twice"},
      {"send:claim", "delay 3ms"},  {"send:claim", "cut"},
      {"recv:accept", "drop"},      {"recv:accept", "delay 3ms"},
      {"recv:accept", "cut"},       {"first-byte", "delay 3ms"},
      {"mid-copy", "delay 3ms"},    {"mid-copy", "cut"},
      {"mid-copy", "fail"},         {"last-byte", "delay 3ms"},
      {"arrived", "flip"},          {"send:commit", "drop"},
      {"send:commit", "twice"},     {"send:commit", "delay 3ms"},
      {"recv:verdict", "drop"},     {"recv:verdict", "twice"},
      {"send:end", "drop"},         {"send:end", "twice"},
      {"send:hello", "drop"},       {"send:ask", "drop"},
      {"recv:handles", "drop"},     {"recv:handles", "no-fds 5ms"},
      {"send:free", "delay 3ms"},   {"send:free", "drop"},
      {"recv:accept", "eagain 50"}, {"recv:accept", "short 5"},
};
static const char *const deaths[] = {"offer",       "named",       "recv:claim",
                                     "send:accept", "recv:commit", "send:verdict",
                                     "recv:end",    "ended"};

static void plan(char *text, size_t cap, bool producer, bool dies)
{
    size_t n = producer ? sizeof producer_faults / sizeof *producer_faults
                        : sizeof consumer_faults / sizeof *consumer_faults;
    size_t len = 0;
    for (int i = 0; i < 10; i++) {
        uint32_t which = dice((uint32_t)n);
        len += (size_t)snprintf(
            text + len, cap - len, "* %s#%u %s\n",
            producer ? producer_faults[which].step : consumer_faults[which].step,
            1 + dice(EPOCH / 2),
            producer ? producer_faults[which].what : consumer_faults[which].what);
    }
    if (dies)
        snprintf(text + len, cap - len, "* %s#%u kill\n",
                 deaths[dice(sizeof deaths / sizeof *deaths)], 20 + dice(EPOCH / 3));
}

static void side_open(struct engine *e, const struct way *way, bool producer, bool dies)
{
    static char text[2048];
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    plan(text, sizeof text, producer, dies);
    opts.engine_id = producer ? "soak-p" : "soak-d";
    opts.require = way->path;
    opts.fault = text;
    opts.lease_ns = 400000000;
    opts.renew_ns = 100000000;
    opts.connect_ns = 300000000;
    opts.ring_bytes = 8u << 20;
    *e = (struct engine){.layers = 2, .heads = 2, .head_size = 16};
    e->blocks = producer ? 32 : 128;
    engine_open(e, producer ? &way->producer : &way->consumer, &opts, NULL);
}

/* ---- a producer ---- */

struct ask {
    uint32_t open, salt, tokens, revoke; /* open: with which seed; salt 0: end */
};
struct told {
    struct segue_ticket ticket; /* tokens 0: no block is free just now */
    uint32_t offers, ended;     /* at the end */
};

struct offered {
    uint64_t sequence;
    uint32_t blocks[4], n;
};

struct producer {
    struct engine e;
    struct blocks blocks;
    struct offered offered[64];
    uint32_t n_offered, offers, ended;
    struct held before;
};

/* Blocks are free again when, and only when, the offer has ended. */
static void producer_events(struct producer *p)
{
    struct segue_event event;
    while (segue_event_next(p->e.agent, &event) == SEGUE_OK) {
        uint32_t i = 0;
        assert_int_equal(event.type, SEGUE_EVENT_OFFER_ENDED);
        while (i < p->n_offered && p->offered[i].sequence != event.id)
            i++;
        assert_true(i < p->n_offered); /* told once */
        blocks_give(&p->blocks, p->offered[i].blocks, p->offered[i].n);
        p->offered[i] = p->offered[--p->n_offered];
        p->ended++;
    }
}

static struct told producer_offer(struct producer *p, const struct ask *ask)
{
    struct told told = {0};
    uint32_t n = engine_needs(&p->e, ask->tokens);
    if (p->n_offered == 64 || p->blocks.n < n)
        return told;
    struct offered *o = &p->offered[p->n_offered++];
    o->n = n;
    blocks_take(&p->blocks, o->blocks, n);
    engine_fill(&p->e, o->blocks, 0, ask->tokens, ask->salt);
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    opts.tokens = ask->tokens;
    opts.hash = prompt_of(ask->salt);
    assert_ok(segue_offer_mint(p->e.agent, &opts, &id));
    o->sequence = id.sequence;
    p->offers++;
    if (segue_offer_ticket(p->e.agent, &id, &told.ticket) < 0) {
        told.ticket.tokens = 0; /* no descriptor left: the lease takes the offer back */
        return told;
    }
    /* It may end by its lease before this on a machine that stands still. */
    segue_offer_create(p->e.cache[0], &id, o->blocks, n, NULL);
    if (ask->revoke)
        segue_offer_revoke(p->e.agent, &id);
    return told;
}

static void producer_main(int fd, const struct way *way)
{
    static struct producer p;
    struct ask ask;
    p.before = held_now();
    while (recv(fd, &ask, sizeof ask, 0) == sizeof ask) {
        struct told told = {0};
        if (ask.open) {
            state = ask.open;
            side_open(&p.e, way, true, ask.revoke);
            blocks_open(&p.blocks, p.e.blocks);
        } else if (ask.salt) {
            producer_events(&p);
            told = producer_offer(&p, &ask);
        } else {
            double end = seconds_now() + PATIENCE;
            while (p.n_offered && seconds_now() < end) {
                producer_events(&p);
                sleep_for(0.002);
            }
            assert_int_equal(p.n_offered, 0);
            assert_int_equal(p.blocks.n, p.e.blocks); /* 0 stranded */
            engine_close(&p.e);
            held_again(p.before);
            told.offers = p.offers;
            told.ended = p.ended;
        }
        send(fd, &told, sizeof told, MSG_NOSIGNAL);
        if (!ask.open && !ask.salt)
            break;
    }
    _exit(0);
}

/* ---- the consumer ---- */

struct flight {
    uint64_t group, claim;
    uint32_t blocks[8], n, tokens, salt, verdicts, released, groups;
    enum segue_verdict verdict;
    bool open;
};

struct results {
    uint32_t handoffs, by[SEGUE_VERDICT_CANCELLED + 1], deaths;
};

struct consumer {
    struct engine e;
    struct blocks blocks;
    struct flight flight[WINDOW];
    struct child producer[LIVES];
    uint32_t life, salt;
    struct results results;
};

/* One message there and back; false when the producer has died. */
static bool converse(struct consumer *c, const struct ask *ask, struct told *told)
{
    struct child *p = &c->producer[c->life];
    if (send(p->fd, ask, sizeof *ask, MSG_NOSIGNAL) != sizeof *ask)
        return false;
    struct pollfd at = {p->fd, POLLIN, 0};
    if (poll(&at, 1, (int)(4 * PATIENCE * 1000)) != 1)
        fail_msg("a producer hangs");
    return recv(p->fd, told, sizeof *told, 0) == sizeof *told;
}

/* A producer begins where the last one, if any, has died. */
static void next_life(struct consumer *c, bool first)
{
    struct told told;
    if (!first) {
        assert_true(c->life + 1 < LIVES);
        c->results.deaths++;
        int status;
        waitpid(c->producer[c->life].pid, &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            fail_msg("a producer ended with status %#x", status);
        c->life++;
    }
    struct ask ask = {.open = 1 + dice(1u << 30), .revoke = c->life + 1 < LIVES};
    assert_true(converse(c, &ask, &told));
}

static void over(struct consumer *c, struct flight *f)
{
    if (!f->verdicts || !f->released || !f->groups)
        return;
    assert_true(f->verdicts == 1 && f->released == 1 && f->groups == 1);
    if (f->verdict == SEGUE_VERDICT_VALID)
        assert_int_equal(engine_differs(&c->e, f->blocks, 0, f->tokens, f->salt), 0);
    blocks_give(&c->blocks, f->blocks, f->n);
    c->results.by[f->verdict]++;
    f->open = false;
}

static void consumer_events(struct consumer *c)
{
    struct segue_event event;
    while (segue_event_next(c->e.agent, &event) == SEGUE_OK) {
        struct flight *f = event.user;
        assert_true(f && f->open);
        if (event.type == SEGUE_EVENT_VERDICT)
            f->verdict = event.verdict;
        f->verdicts += event.type == SEGUE_EVENT_VERDICT;
        f->released += event.type == SEGUE_EVENT_RELEASED;
        f->groups += event.type == SEGUE_EVENT_GROUP;
        assert_true(f->released <= f->verdicts);
        over(c, f);
    }
}

static void begin(struct consumer *c, struct flight *f)
{
    struct ask ask = {
        .salt = ++c->salt, .tokens = 1 + dice(TOKENS), .revoke = dice(50) == 0};
    struct told told;
    if (!converse(c, &ask, &told)) {
        next_life(c, false);
        return;
    }
    if (!told.ticket.tokens || c->blocks.n < engine_needs(&c->e, ask.tokens)) {
        poll(&(struct pollfd){segue_agent_fd(c->e.agent), POLLIN, 0}, 1, 1);
        return;
    }
    *f = (struct flight){.tokens = ask.tokens, .salt = ask.salt, .open = true};
    f->n = engine_needs(&c->e, ask.tokens);
    blocks_take(&c->blocks, f->blocks, f->n);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    opts.tokens = ask.tokens;
    opts.hash = prompt_of(ask.salt);
    opts.digest = SEGUE_DIGEST_FULL;
    opts.timeout_ns = 120000000;
    opts.user = f;
    claim.blocks = f->blocks;
    claim.n_blocks = f->n;
    claim.user = f;
    if (segue_group_open(c->e.agent, &told.ticket, &opts, &f->group) < 0) {
        blocks_give(&c->blocks, f->blocks,
                    f->n); /* a ticket that cannot be proved just now */
        f->open = false;
        return;
    }
    assert_ok(segue_claim_post(c->e.agent, f->group, c->e.cache[0], &claim, &f->claim));
    c->results.handoffs++;
    if (dice(40) == 0)
        segue_claim_cancel(c->e.agent, f->claim); /* it may be over already */
}

static struct flight *vacant(struct consumer *c)
{
    for (int i = 0; i < WINDOW; i++)
        if (!c->flight[i].open)
            return &c->flight[i];
    return NULL;
}

static void drain(struct consumer *c)
{
    double end = seconds_now() + PATIENCE;
    for (int i = 0; i < WINDOW; i++)
        while (c->flight[i].open) {
            if (seconds_now() > end)
                fail_msg("a claim had %u verdicts, %u released, %u groups",
                         c->flight[i].verdicts, c->flight[i].released,
                         c->flight[i].groups);
            poll(&(struct pollfd){segue_agent_fd(c->e.agent), POLLIN, 0}, 1, 20);
            consumer_events(c);
        }
    assert_int_equal(c->blocks.n, c->e.blocks); /* 0 stranded */
}

static void consumer_main(struct consumer *c, const struct way *way, int out)
{
    struct held before = held_now();
    struct told told;
    side_open(&c->e, way, false, false);
    blocks_open(&c->blocks, c->e.blocks);
    next_life(c, true);
    while (c->results.handoffs < EPOCH) {
        struct flight *f = vacant(c);
        if (f)
            begin(c, f);
        else
            poll(&(struct pollfd){segue_agent_fd(c->e.agent), POLLIN, 0}, 1, 20);
        consumer_events(c);
    }
    drain(c);
    struct ask end = {0};
    if (converse(c, &end, &told))
        assert_int_equal(told.offers, told.ended);
    engine_close(&c->e);
    held_again(before);
    if (write(out, &c->results, sizeof c->results) != sizeof c->results)
        _exit(1);
    for (int i = 0; i < LIVES; i++) {
        int status;
        close(c->producer[i].fd);
        if (i >= (int)c->life && waitpid(c->producer[i].pid, &status, 0) > 0 &&
            status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
            fail_msg("a producer ended with status %#x", status);
    }
    _exit(0);
}

/* ---- epochs ---- */

static void fork_producers(struct consumer *c, const struct way *way)
{
    for (int i = 0; i < LIVES; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(fds[0]);
            for (int k = 0; k < i; k++)
                close(c->producer[k].fd);
            producer_main(fds[1], way);
        }
        close(fds[1]);
        c->producer[i] = (struct child){pid, fds[0]};
    }
}

/* In a child of its own, so that one that fails says which it was. */
static struct results epoch(uint64_t seed, uint32_t number)
{
    static struct consumer c;
    const struct way *way = &ways[number % n_ways];
    struct results results = {0};
    int out[2], status = 0;
    assert_int_equal(pipe(out), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a check that fails ends the child */
        close(out[0]);
        state = seed * 1000003u + number;
        fork_producers(&c, way);
        consumer_main(&c, way, out[1]);
    }
    close(out[1]);
    ssize_t n = read(out[0], &results, sizeof results);
    close(out[0]);
    waitpid(pid, &status, 0);
    if (n != sizeof results || status != 0)
        fail_msg("epoch %u over %s of seed %llu: status %#x", number, way->path,
                 (unsigned long long)seed, status);
    return results;
}

static uint64_t number_of(const char *variable, uint64_t fallback)
{
    const char *text = getenv(variable);
    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

static void random_faults_leave_nothing_behind(void **unused)
{
    uint64_t seed = number_of("SEGUE_TEST_SEED", segue_random_u64() >> 33);
    uint64_t want = number_of("SEGUE_TEST_CASES", 100000);
    struct results sum = {0};
    printf("seed: %llu\n", (unsigned long long)seed);
    fflush(stdout);
    for (uint32_t number = (uint32_t)number_of("SEGUE_TEST_EPOCH", 0);
         sum.handoffs < want; number++) {
        struct results r = epoch(seed, number);
        sum.handoffs += r.handoffs;
        sum.deaths += r.deaths;
        for (int i = 0; i <= SEGUE_VERDICT_CANCELLED; i++)
            sum.by[i] += r.by[i];
    }
    printf("cells: %u (", sum.handoffs);
    for (int i = SEGUE_VERDICT_VALID; i <= SEGUE_VERDICT_CANCELLED; i++)
        printf("%u %s, ", sum.by[i], segue_verdict_name((enum segue_verdict)i));
    printf("%u producers killed)\n", sum.deaths);
    assert_true(sum.by[SEGUE_VERDICT_VALID] > sum.handoffs / 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_faults_leave_nothing_behind),
};

static int before(void **unused)
{
    engines_setup();
    return 0;
}

static int after(void **unused)
{
    engines_cleanup();
    return 0;
}

TEST_MAIN_AROUND(tests, before, after)
