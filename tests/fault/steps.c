/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every fault of a schedule that a process survives, at steps of a hand-off, over every path: the verdict is what PROTOCOL
 * section 5 says, told once, with right bytes if valid and no stray ones; then the same two engines hand over again.
 */
#include "fault/deaths.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS 250000000u
#define LOST       SEGUE_VERDICT_LOST
#define VALID      SEGUE_VERDICT_VALID
#define TIMED      SEGUE_VERDICT_TIMEOUT
#define CORRUPT    SEGUE_VERDICT_CORRUPT

enum { STREAMS = 1, PACKED = 2, ALL = 0 };

/* Which ends: one verdict, or either of two where both are right. `only`: the paths that pass the step. */
static const struct row {
    const char *schedule;
    enum segue_verdict want, or ;
    int only;
} rows[] = {
    {"d send:claim drop", TIMED, TIMED, ALL},
    {"d send:claim delay 50ms", VALID, VALID, ALL},
    {"d send:claim twice", LOST, LOST, ALL}, /* R2: a claim's id is used once */
    {"d send:claim cut", LOST, LOST, ALL},
    {"d send:claim mute", TIMED, TIMED, ALL},
    {"p recv:claim drop", TIMED, TIMED, ALL},
    {"p recv:claim delay 50ms", VALID, VALID, ALL},
    {"p recv:claim cut", LOST, LOST, ALL},
    {"p recv:claim short 1", VALID, VALID, ALL},
    {"p recv:claim eagain 300", VALID, VALID, ALL},
    {"p recv:ask short 3; p recv:ask eagain 20", VALID, VALID, ALL},
    /* An accept that is lost does not stop a producer that sends by itself. */
    {"p send:accept drop", TIMED, VALID, ALL},
    {"p send:accept twice", VALID, VALID, ALL},
    {"p send:accept mute", TIMED, TIMED, ALL},
    {"d recv:accept delay 50ms", VALID, VALID, ALL},
    {"d recv:accept cut", LOST, LOST, ALL},
    {"d first-byte delay 50ms", VALID, VALID, ALL},
    {"d first-byte cut", LOST, LOST, ALL},
    {"d mid-copy delay 50ms", VALID, VALID, ALL},
    {"d mid-copy cut", LOST, LOST, ALL},
    {"d mid-copy fail", LOST, LOST, ALL},
    {"d mid-copy mute", TIMED, TIMED, ALL},
    {"d mid-copy delay 5s", TIMED, TIMED, ALL},
    {"d last-byte delay 50ms", VALID, VALID, ALL},
    {"d last-byte cut", LOST, LOST, ALL},
    {"p mid-copy delay 50ms", VALID, VALID, STREAMS | PACKED},
    {"p mid-copy cut", LOST, LOST, STREAMS | PACKED},
    {"p first-byte short 7", VALID, VALID, STREAMS},
    {"p first-byte eagain 50", VALID, VALID, STREAMS},
    {"d first-byte short 100", VALID, VALID, STREAMS},
    {"p last-byte mute", TIMED, TIMED, STREAMS},
    {"d arrived flip", CORRUPT, CORRUPT, ALL},
    {"p named swap", CORRUPT, CORRUPT, ALL},
    {"d send:commit drop", TIMED, TIMED, ALL},
    {"d send:commit twice", VALID, SEGUE_VERDICT_STALE,
     ALL}, /* R7: valid is said once at most */
    {"d send:commit delay 50ms", VALID, VALID, ALL},
    {"d send:commit cut", LOST, LOST, ALL},
    {"p recv:commit drop", TIMED, TIMED, ALL},
    {"p recv:commit twice", VALID, SEGUE_VERDICT_STALE, ALL},
    {"p send:verdict drop", TIMED, TIMED, ALL},
    {"p send:verdict twice", VALID, VALID, ALL},
    {"p send:verdict cut", LOST, LOST, ALL},
    {"d recv:verdict delay 50ms", VALID, VALID, ALL},
    {"d recv:verdict mute", TIMED, TIMED, ALL},
    {"d send:end drop", VALID, VALID, ALL},
    {"d send:end twice", VALID, VALID, ALL},
    {"p recv:end delay 50ms", VALID, VALID, ALL},
    {"p recv:end cut", VALID, VALID, ALL},
};

static bool passes(const struct row *row, const struct way *way)
{
    bool streams = strncmp(way->path, "tcp", 3) == 0,
         packed = strstr(way->path, "packed") != NULL;
    return row->only == ALL || (row->only & STREAMS && streams) ||
           (row->only & PACKED && packed);
}

static void open_side(struct engine *e, const struct way *way, bool producer,
                      const char *schedule)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.engine_id = producer ? "p" : "d";
    opts.require = way->path;
    opts.lease_ns = LEASE_NS;
    opts.renew_ns = LEASE_NS / 5;
    opts.fault = schedule;
    *e = (struct engine){.layers = 4, .heads = 4, .head_size = 64};
    e->blocks = 2 * TOKENS_MAX /
                (producer ? way->producer.block_tokens : way->consumer.block_tokens);
    engine_open(e, producer ? &way->producer : &way->consumer, &opts, NULL);
}

/* One hand-off, and its ends at both sides: each event exactly once (R7b). */
static struct segue_event hand_over(struct engine *p, struct engine *d, uint32_t salt,
                                    uint64_t timeout_ns)
{
    enum { TOKENS = 600 };
    static uint32_t from[TOKENS_MAX], to[TOKENS_MAX];
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    struct segue_event event, verdict = {0};
    uint64_t group, id;
    engine_blocks(p, salt, from, engine_needs(p, TOKENS));
    engine_fill(p, from, 0, TOKENS, salt);
    struct segue_ticket ticket = engine_offer(p, from, TOKENS, salt);
    opts.tokens = TOKENS;
    opts.hash = prompt_of(salt);
    opts.digest = SEGUE_DIGEST_FULL;
    opts.timeout_ns = timeout_ns;
    claim.n_blocks = engine_needs(d, TOKENS);
    engine_blocks(d, salt + 1, to, claim.n_blocks);
    claim.blocks = to;
    engine_paint(d, 0x5a);
    assert_ok(segue_group_open(d->agent, &ticket, &opts, &group));
    assert_ok(segue_claim_post(d->agent, group, d->cache[0], &claim, &id));
    unsigned seen[8] = {0};
    double end = seconds_now() + PATIENCE;
    while (!seen[SEGUE_EVENT_VERDICT] || !seen[SEGUE_EVENT_RELEASED] ||
           !seen[SEGUE_EVENT_GROUP]) {
        if (seconds_now() > end)
            fail_msg("verdict %u, released %u, group %u", seen[SEGUE_EVENT_VERDICT],
                     seen[SEGUE_EVENT_RELEASED], seen[SEGUE_EVENT_GROUP]);
        if (segue_event_next(d->agent, &event) != SEGUE_OK) {
            sleep_for(0.001);
            continue;
        }
        seen[event.type]++;
        if (event.type == SEGUE_EVENT_VERDICT)
            verdict = event;
    }
    segue_offer_revoke(p->agent,
                       &ticket.id); /* unless `end` has come: no wait for the lease */
    engine_event(p, SEGUE_EVENT_OFFER_ENDED, PATIENCE);
    assert_true(engine_quiet(d, 0.001));
    assert_true(engine_quiet(p, 0.001));
    if (verdict.verdict == SEGUE_VERDICT_VALID)
        assert_int_equal(engine_differs(d, to, 0, TOKENS, salt), 0);
    assert_int_equal(engine_stray(d, to, 0, TOKENS, 0x5a), 0);
    return verdict;
}

static void cell(const struct row *row, const struct way *way)
{
    static struct engine p, d;
    struct held before = held_now();
    open_side(&p, way, true, row->schedule);
    open_side(&d, way, false, row->schedule);
    struct segue_event end = hand_over(&p, &d, 2,
                                       row->want == TIMED ? TIMEOUT_NS : 5000000000u);
    if (end.verdict != row->want && end.verdict != row->or)
        fail_msg("%s, '%s': %s (%s), not %s", way->path, row->schedule,
                 segue_verdict_name(end.verdict), end.detail,
                 segue_verdict_name(row->want));
    /* A link that has fallen silent is found out by who waits for it, and then another is made. */
    end = hand_over(&p, &d, 5, TIMEOUT_NS);
    if (end.verdict != VALID && end.verdict != TIMED)
        fail_msg("%s, after '%s': %s (%s)", way->path, row->schedule,
                 segue_verdict_name(end.verdict), end.detail);
    engine_close(&d);
    engine_close(&p);
    held_again(before);
}

static void every_fault_ends_as_it_must(void **state)
{
    const char *only = getenv("WAY");
    int cells = 0;
    for (size_t w = 0; w < n_ways; w++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if ((!only || strcmp(only, ways[w].path) == 0) &&
                passes(&rows[i], &ways[w])) {
                cell(&rows[i], &ways[w]);
                cells++;
            }
    assert_true(cells > 0);
    printf("cells: %d\n", cells);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_fault_ends_as_it_must),
};

static int before(void **state)
{
    engines_setup();
    return 0;
}

static int after(void **state)
{
    engines_cleanup();
    return 0;
}

TEST_MAIN_AROUND(tests, before, after)
