/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segue bench fault: how long a consumer waits for its VERDICT after its producer has died, stopped, or cut the link, with
 * half of the bytes there (a fault schedule holds them; docs/faults.md). Rows: PATH/{kill,stop,cut}, in ms; PROTOCOL's R7b
 * allows 2 s. A stopped process is not a dead one: its row is how late the claim's own deadline was told.
 */
#include "bench.h"
#include "bench/pair.h"
#include "bench/pair_inside.h"
#include "bench/reference.h"
#include "bench/report.h"
#include "command.h"

#include <segue/log.h>

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RUNS = 11, RUNS_QUICK = 3, LIMIT_MS = 2000, WAIT_MS = 30000, DEADLINE_MS = 500 };

struct fault {
    const char *name;
    const char *from, *to; /* schedules: the producer's, the consumer's */
    int signal;            /* sent to the producer when the bytes are held */
    enum segue_verdict want;
};
/* Two hand-offs go before: the third is the one. */
static const struct fault faults[] = {
    {"kill", NULL, "* mid-copy#3 delay 60s", SIGKILL, SEGUE_VERDICT_LOST},
    {"stop", NULL, "* mid-copy#3 delay 60s", SIGSTOP, SEGUE_VERDICT_TIMEOUT},
    {"cut", "* recv:commit#3 cut", NULL, 0, SEGUE_VERDICT_LOST},
};
static const char *const paths[] = {"shm/mapped", "cma/direct", "tcp/direct",
                                    "shm/packed"};

/* ---- when the bytes are held ---- */

static atomic_bool held;

static void on_log(void *user, enum segue_log_level level, const char *area,
                   const char *line)
{
    (void)user;
    (void)level;
    if (strcmp(area, "fault") == 0 && strstr(line, "mid-copy"))
        atomic_store(&held, true);
}

static bool wait_held(struct bench_pair *pair)
{
    for (int ms = 0; ms < WAIT_MS; ms++) {
        if (atomic_load(&held))
            return true;
        usleep(1000);
    }
    return bench_pair_fail(pair, "the copy never came to its middle");
}

/* ---- one hand-off that fails ---- */

static bool post(struct bench_pair *pair)
{
    struct segue_ticket ticket;
    struct segue_group_opts group = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    uint64_t group_id, claim_id;
    if (!bench_pair_ask_offer(pair, &ticket))
        return false;
    group.tokens = ticket.tokens;
    group.hash = ticket.hash;
    group.timeout_ns = (uint64_t)DEADLINE_MS * 1000000;
    claim.blocks = bench_side_blocks(&pair->to, pair->turn);
    claim.n_blocks = pair->to.needed;
    return (segue_group_open(pair->to.agent, &ticket, &group, &group_id) >= 0 &&
            segue_claim_post(pair->to.agent, group_id, pair->to.cache, &claim,
                             &claim_id) >= 0) ||
           bench_pair_fail(pair, "%s", segue_error_detail());
}

/* The VERDICT's event; the time it came. */
static bool wait_verdict(struct bench_pair *pair, struct segue_event *event, uint64_t *at)
{
    for (;;) {
        struct pollfd p = {segue_agent_fd(pair->to.agent), POLLIN, 0};
        if (segue_event_next(pair->to.agent, event) != SEGUE_OK) {
            if (poll(&p, 1, WAIT_MS) == 0)
                return bench_pair_fail(pair, "no verdict within %d s", WAIT_MS / 1000);
            continue;
        }
        *at = bench_now_ns();
        if (event->type == SEGUE_EVENT_VERDICT)
            return true;
    }
}

/* From the cause to the verdict, in ms. A cut's cause is the commit, which the report knows. */
static bool fail_once(struct bench_pair *pair, const struct fault *fault, double *ms)
{
    struct segue_event event;
    uint64_t posted = bench_now_ns(), cause = posted, told = 0;
    atomic_store(&held, false);
    if (!post(pair))
        return false;
    if (fault->signal) {
        if (!wait_held(pair))
            return false;
        cause = bench_now_ns();
        kill(pair->child, fault->signal);
    }
    if (fault->signal == SIGSTOP)
        cause = posted + (uint64_t)DEADLINE_MS * 1000000;
    if (!wait_verdict(pair, &event, &told))
        return false;
    *ms = fault->signal ? (told > cause ? (double)(told - cause) / 1e6 : 0)
                        : (double)event.report.commit_ns / 1e6;
    return event.verdict == fault->want ||
           bench_pair_fail(pair, "the verdict is %s: %s",
                           segue_verdict_name(event.verdict), event.detail);
}

static bool measure(struct bench_pair *pair, const char *path, const struct fault *fault,
                    double *ms)
{
    struct bench_setup setup = {
        .shape = {"16MiB", 16, 8, 128, 256, SEGUE_DTYPE_BF16},
        .from = {"nhd", 16},
        .to = {"hnd", 16},
        .path = path,
        .threads = 1,
        .fault_from = fault->from,
        .fault_to = fault->to,
    };
    setup.blocks = 3 * setup.shape.tokens / setup.from.block_tokens;
    bool well = bench_pair_open(pair, &setup) && fail_once(pair, fault, ms);
    if (pair->child > 0)
        kill(pair->child, SIGKILL);
    bench_pair_close(pair);
    return well;
}

static void row(struct bench_report *report, const char *path, const struct fault *fault,
                int runs)
{
    struct bench_row row = {.unit = "ms", .n = (size_t)runs, .limit = LIMIT_MS};
    double *ms = calloc((size_t)runs, sizeof *ms);
    struct bench_pair pair = {.why = "no memory"};
    snprintf(row.name, sizeof row.name, "%s/%s", path, fault->name);
    bool well = ms != NULL;
    for (int i = 0; i < runs && well; i++)
        well = measure(&pair, path, fault, &ms[i]);
    if (well) {
        row.is = bench_spread(ms, (size_t)runs);
        bench_report_row(report, &row);
    } else {
        bench_report_absent(report, row.name, pair.why);
    }
    free(ms);
}

int bench_fault(const struct bench_options *options)
{
    static struct bench_report report;
    report = (struct bench_report){.bench = "fault", .json = options->json};
    int runs = options->runs ? options->runs : options->quick ? RUNS_QUICK : RUNS;
    segue_log_set(on_log, NULL);
    segue_log_open("fault:info");
    bench_report_begin(&report);
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++)
        for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
            char name[48];
            snprintf(name, sizeof name, "%s/%s", paths[p], faults[f].name);
            if (bench_wants(options, name))
                row(&report, paths[p], &faults[f], runs);
        }
    segue_log_set(NULL, NULL);
    segue_log_open(NULL);
    if (report.n_rows + report.n_absent == 0) {
        fprintf(stderr, "segue bench fault: no case is called '%s'\n", options->glob);
        return EXIT_USAGE;
    }
    return bench_report_end(&report);
}
