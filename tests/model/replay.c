/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leads real agents along a counterexample of the model (trails/, docs/model.md): messages arrive, copies are done and
 * devices write when the next step says so. The code must leave the trail before its end, and whatever it did until then
 * must end rightly: this is checked here with the model's properties.
 *
 *   model-replay FILE            fails when a property is violated, or the code followed to the end
 *   model-replay --broken FILE   fails when none is: for a build that was made wrong on purpose (-Dmutate)
 */
#include "model/held.h"
#include "test.h"

#include "base/clock.h"
#include "handoff/ticket.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOKENS     20
#define BLOCKS     2
#define CONSUMERS  2
#define OFFERS     2
#define ANOTHER    13 /* prompt of a request that meets a ticket not its own */
#define BACKGROUND 0x5a
#define RE_USED    0x77
#define PATIENCE   20.0 /* seconds for what must come */
#define DOUBT      3.0  /* seconds for what must not */

struct consumer {
    struct engine e;
    struct held_wire wire;
    struct held_copies copies;
    struct held_stream writable;
    bool opened, crossed, ended; /* ended: the producer has heard its END */
    uint64_t group, claim;
    uint32_t want; /* salt of the request's prompt */
    int verdicts, releases, groups;
    enum segue_verdict verdict;
};

static struct engine producer;
static struct held_wire producer_wire;
static struct held_stream ready;
static struct consumer consumers[CONSUMERS];
static struct segue_offer_id offers[OFFERS + 1];
static struct segue_ticket tickets[OFFERS + 1];
static int offers_made, offers_ended;
static bool named, expired;
static const uint32_t from[BLOCKS] = {3, 4}, to[BLOCKS] = {7, 6};
static bool expect_broken;

/* ---- what must hold ---- */

static void violated(const char *what)
{
    printf("violated: %s\n", what);
    fflush(NULL);
    _exit(expect_broken ? 0
                        : 1); /* what was broken on purpose cannot be tidied up after */
}

/* Is there a hand-off of another engine that the producer does not know to be over? (R9) */
static bool use_is_taken(const struct consumer *by)
{
    for (int i = 0; i < CONSUMERS; i++)
        if (&consumers[i] != by && consumers[i].opened && !consumers[i].ended)
            return true;
    return false;
}

static void on_verdict(struct consumer *c, const struct segue_event *event)
{
    c->verdict = event->verdict;
    if (++c->verdicts > 1)
        violated("a claim has one VERDICT (R7b)");
    if (c->verdict == SEGUE_VERDICT_VALID &&
        engine_differs(&c->e, to, 0, TOKENS, c->want))
        violated("valid bytes are of the offer, and of this prompt");
    if (c->verdict == SEGUE_VERDICT_REFUSED && !c->crossed && !use_is_taken(c))
        violated("a use that is taken is in use (R9)");
    int served = 0;
    for (int i = 0; i < CONSUMERS; i++)
        served += consumers[i].verdict == SEGUE_VERDICT_VALID;
    if (c->verdict == SEGUE_VERDICT_STALE && !expired && !served)
        violated("an offer lives until its lease ends or its uses are over (R9)");
    if (served > offers_made)
        violated("no more engines get an offer than it has uses (R9)");
}

static void on_released(struct consumer *c)
{
    if (++c->releases > 1 || c->verdicts != 1)
        violated("a claim has one RELEASED, after its VERDICT (R7b)");
    if (held_copies_has(&c->copies))
        violated("nothing is written to a block that was released");
    engine_paint(&c->e, RE_USED); /* its engine does so */
}

static void look(void)
{
    struct segue_event event;
    while (segue_event_next(producer.agent, &event) == SEGUE_OK)
        offers_ended += event.type == SEGUE_EVENT_OFFER_ENDED;
    if (offers_ended > offers_made)
        violated("an offer ends once");
    for (int i = 0; i < CONSUMERS; i++)
        while (segue_event_next(consumers[i].e.agent, &event) == SEGUE_OK) {
            if (event.type == SEGUE_EVENT_VERDICT)
                on_verdict(&consumers[i], &event);
            else if (event.type == SEGUE_EVENT_RELEASED)
                on_released(&consumers[i]);
            else if (event.type == SEGUE_EVENT_GROUP)
                consumers[i].groups++;
        }
    for (int i = 0; i < CONSUMERS; i++)
        if (!consumers[i].writable.open &&
            engine_stray(&consumers[i].e, to, 0, 0, BACKGROUND))
            violated("nothing is written while the consumer still reads the block (R14)");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Looks until it is so; false: it is not after `seconds`. */
#define soon(expr, seconds)                                                              \
    ({                                                                                   \
        double end_ = now() + (seconds);                                                 \
        bool so_;                                                                        \
        while (look(), !(so_ = (expr)) && now() < end_)                                  \
            usleep(1000);                                                                \
        so_;                                                                             \
    })

/* ---- the engines ---- */

static void write_offer(void *user)
{
    engine_fill(&producer, from, 0, TOKENS, (uint32_t)offers_made);
}

static void open_all(void)
{
    static const struct geometry p = {"nhd", "sim:cuda", 16, 1, SEGUE_DTYPE_FP16},
                                 d = {"hnd", "sim:cuda", 16, 1, SEGUE_DTYPE_FP16};
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = "ipc/mapped";
    opts.lease_ns = 600 * SEGUE_NS_PER_S; /* it ends when a step says so */
    engines_setup();
    engine_open(&producer, &p, &opts, NULL);
    held_stream_open(&ready, &producer, write_offer, NULL);
    held_wire_open(&producer_wire, &producer);
    for (int i = 0; i < CONSUMERS; i++) {
        struct consumer *c = &consumers[i];
        engine_open(&c->e, &d, &opts, NULL);
        engine_paint(&c->e, BACKGROUND);
        held_stream_open(&c->writable, &c->e, NULL, NULL);
        held_wire_open(&c->wire, &c->e);
        held_copies_open(&c->copies, &c->e);
    }
}

static void mint(int t)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = TOKENS;
    opts.hash = prompt_of((uint32_t)t);
    assert_ok(segue_offer_mint(producer.agent, &opts, &offers[t]));
    assert_ok(segue_offer_ticket(producer.agent, &offers[t], &tickets[t]));
    offers_made = t;
}

static enum segue_status prove(struct segue_agent *agent, void *arg)
{
    return segue_ticket_prove(agent, arg);
}

static void open_group(struct consumer *c, int t, const char *how)
{
    struct segue_ticket ticket = tickets[t];
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    c->crossed = *how;
    c->want = c->crossed ? ANOTHER : (uint32_t)t;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(c->want);
    opts.timeout_ns = 600 * SEGUE_NS_PER_S;
    if (strstr(how, "forged")) { /* by somebody who has the key */
        ticket.hash = opts.hash;
        assert_ok(segue_agent_call(producer.agent, prove, &ticket));
    }
    if (segue_group_open(c->e.agent, &ticket, &opts, &c->group) < 0)
        return;
    c->opened = true;
    claim.blocks = to;
    claim.n_blocks = BLOCKS;
    claim.writable = &c->writable.sync;
    assert_ok(segue_claim_post(c->e.agent, c->group, c->e.cache[0], &claim, &c->claim));
}

static enum segue_status end_lease(struct segue_agent *agent, void *arg)
{
    struct segue_offer *offer = segue_offer_find(segue_handoff_of(agent), arg);
    if (offer) {
        offer->lease_end = 0;
        offer->timer.fn(&offer->timer);
    }
    return SEGUE_OK;
}

static void expire(int t)
{
    expired = true;
    assert_ok(segue_agent_call(producer.agent, end_lease, &offers[t]));
}

/* ---- steps: false when the code does not do what the model did ---- */

static bool claim_comes(struct consumer *c)
{
    return c->opened &&
           soon(held_wire_has(&producer_wire, &c->e, SEGUE_FRAME_CLAIM), DOUBT);
}

/* The producer acts on c's claim, if it has not yet, and answers. */
static bool answers(struct consumer *c, enum segue_handoff_frame answer)
{
    if (held_wire_has(&producer_wire, &c->e, SEGUE_FRAME_CLAIM))
        held_wire_deliver(&producer_wire, &c->e, SEGUE_FRAME_CLAIM);
    return soon(held_wire_has(&c->wire, &producer, answer), DOUBT);
}

static bool hears(struct held_wire *wire, const struct engine *sender,
                  enum segue_handoff_frame type)
{
    if (!soon(held_wire_has(wire, sender, type), DOUBT))
        return false;
    held_wire_deliver(wire, sender, type);
    return true;
}

static bool judges(struct consumer *c)
{
    return hears(&producer_wire, &c->e, SEGUE_FRAME_COMMIT) &&
           soon(held_wire_has(&c->wire, &producer, SEGUE_FRAME_VERDICT), DOUBT);
}

static bool copies(struct consumer *c)
{
    if (!soon(held_copies_has(&c->copies), DOUBT))
        return false;
    held_copies_pass(&c->copies);
    look();
    return true;
}

/* Where ranks are processes an END comes by the endpoint, whatever the ranks' links still carry. */
static bool hears_end(struct consumer *c)
{
    if (!soon(held_wire_has(&producer_wire, &c->e, SEGUE_FRAME_END), DOUBT))
        return false;
    held_wire_pick(&producer_wire, &c->e, SEGUE_FRAME_END);
    return c->ended = true;
}

static bool re_uses(void)
{
    engine_paint(&producer, RE_USED);
    return true;
}

static bool names(int t)
{
    assert_ok(
        segue_offer_create(producer.cache[0], &offers[t], from, BLOCKS, &ready.sync));
    return named = true;
}

static bool ends(struct consumer *c, const char *verdict)
{
    return soon(c->verdicts, DOUBT) &&
           strcmp(segue_verdict_name(c->verdict), verdict) == 0;
}

/* One sentence of the model. */
static bool producer_step(const char *s)
{
    int t, i, n = 0;
    if (sscanf(s, "P mints offer %d%n", &t, &n) == 1 && !s[n])
        return mint(t), true;
    if (sscanf(s, "P0 hears of offer %d%n", &t, &n) == 1 && !s[n])
        return names(t);
    if (sscanf(s, "P0 writes offer %d%n", &t, &n) == 1 && !s[n])
        return held_stream_pass(&ready, &producer), true;
    if (sscanf(s, "P0 expires offer %d%n", &t, &n) == 1 && !s[n])
        return expire(t), true;
    if (sscanf(s, "P has its block back from offer %d%n", &t, &n) == 1 && !s[n])
        return soon(offers_ended, DOUBT);
    if (!strcmp(s, "P uses its free block for another request"))
        return re_uses();
    if (sscanf(s, "P0 parks pair %d: %n", &i, &n) == 1 && n) {
        if (held_wire_has(&producer_wire, &consumers[i].e, SEGUE_FRAME_CLAIM))
            held_wire_deliver(&producer_wire, &consumers[i].e, SEGUE_FRAME_CLAIM);
        return true;
    }
    if (sscanf(s, "P0 accepts pair %d on offer %d%n", &i, &t, &n) == 2 && !s[n])
        return answers(&consumers[i], SEGUE_FRAME_ACCEPT);
    if (sscanf(s, "P0 answers pair %d: %n", &i, &n) == 1 && n)
        return answers(&consumers[i], SEGUE_FRAME_VERDICT);
    if (sscanf(s, "P0 judges pair %d: %n", &i, &n) == 1 && n)
        return judges(&consumers[i]);
    if (sscanf(s, "P0 hears that pair %d is given up%n", &i, &n) == 1 && n && !s[n])
        return hears(&producer_wire, &consumers[i].e, SEGUE_FRAME_CANCEL);
    if (sscanf(s, "P0 hears that E%d has used offer %d%n", &i, &t, &n) == 2 && !s[n])
        return hears_end(&consumers[i]);
    if (sscanf(s, "P0 hears that E%d gives its use of offer %d back%n", &i, &t, &n) ==
            2 &&
        n && !s[n])
        return hears_end(&consumers[i]);
    if (sscanf(s, "P hears the end of E%d's hand-off of ticket %d%n", &i, &t, &n) == 2)
        return true; /* its ranks are told next */
    fail_msg("no step for the sentence: %s", s);
    return false;
}

static bool consumer_step(const char *s)
{
    int t, i, n = 0;
    char word[32];
    if (sscanf(s, "E%d opens ticket %d%n", &i, &t, &n) == 2)
        return open_group(&consumers[i], t, s + n), consumers[i].opened;
    if (sscanf(s, "D%d may be written%n", &i, &n) == 1 && n && !s[n])
        return held_stream_pass(&consumers[i].writable, &consumers[i].e), true;
    if (sscanf(s, "D%d claims pair%n", &i, &n) == 1 && n)
        return claim_comes(&consumers[i]);
    if (sscanf(s, "D%d is accepted on pair%n", &i, &n) == 1 && n)
        return hears(&consumers[i].wire, &producer, SEGUE_FRAME_ACCEPT);
    if (sscanf(s, "D%d copies pair%n", &i, &n) == 1 && n)
        return copies(&consumers[i]);
    if (sscanf(s, "D%d hears verdict%n", &i, &n) == 1 && n)
        return hears(&consumers[i].wire, &producer, SEGUE_FRAME_VERDICT);
    if (sscanf(s, "D%d gives claim %d up%n", &i, &t, &n) == 2)
        return segue_claim_cancel(consumers[i].e.agent, consumers[i].claim) == SEGUE_OK;
    if (sscanf(s, "D%d ends claim %d: verdict %31s", &i, &t, word) == 3)
        return ends(&consumers[i], word);
    if (sscanf(s, "D%d releases claim %d%n", &i, &t, &n) == 2)
        return soon(consumers[i].releases, DOUBT);
    if (sscanf(s, "E%d has ticket %d: %n", &i, &t, &n) == 2 && n)
        return soon(consumers[i].groups, DOUBT);
    fail_msg("no step for the sentence: %s", s);
    return false;
}

/* ---- along the trail, and home from wherever the code left it ---- */

static bool follow(FILE *file)
{
    char line[256];
    while (fgets(line, sizeof line, file)) {
        int n = 0;
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || sscanf(line, " %*d %n", &n) < 0 || !n)
            continue;
        bool so = line[n] == 'P' ? producer_step(line + n) : consumer_step(line + n);
        look();
        printf("%s%s\n", line, so ? "" : "   <- not in the code");
        if (!so)
            return false;
    }
    return true;
}

static bool settled(void)
{
    for (int i = 0; i < CONSUMERS; i++) {
        const struct consumer *c = &consumers[i];
        if (c->opened && (!c->verdicts || !c->releases || !c->groups))
            return false;
    }
    return true;
}

static void go_home(void)
{
    held_wire_let_go(&producer_wire);
    for (int i = 0; i < CONSUMERS; i++) {
        held_wire_let_go(&consumers[i].wire);
        held_copies_let_go(&consumers[i].copies);
        if (!consumers[i].opened) /* its block is in no claim: look() would see a write */
            continue;
        look();
        held_stream_pass(&consumers[i].writable, &consumers[i].e);
    }
    if (offers_made && !named)
        segue_offer_create(producer.cache[0], &offers[offers_made], from, BLOCKS,
                           &ready.sync);
    if (!ready.open && !offers_ended)
        held_stream_pass(&ready, &producer);
    if (!soon(settled(), PATIENCE))
        violated("every claim has its VERDICT and its RELEASED, every group its end");
    expire(offers_made); /* if nobody has used it up */
    if (!soon(offers_ended == offers_made, PATIENCE))
        violated("every offer gives its blocks back");
    for (int i = 0; i < CONSUMERS; i++)
        if (consumers[i].releases && engine_stray(&consumers[i].e, to, 0, 0, RE_USED))
            violated("nothing is written to a block that was released");
}

static void close_all(void)
{
    for (int i = 0; i < CONSUMERS; i++) {
        held_stream_pass(&consumers[i].writable, &consumers[i].e);
        held_stream_close(&consumers[i].writable);
        consumers[i].e.device->ops = consumers[i].copies.real;
        engine_close(&consumers[i].e);
    }
    held_stream_pass(&ready, &producer);
    held_stream_close(&ready);
    engine_close(&producer);
    engines_cleanup();
}

static const char *trail;

static void the_code_leaves_the_trail(void **state)
{
    FILE *file = fopen(trail, "r");
    assert_non_null(file);
    open_all();
    bool followed = follow(file);
    fclose(file);
    go_home();
    close_all();
    if (followed)
        fail_msg("the code followed %s to its end", trail);
    if (expect_broken)
        fail_msg("the code was made wrong, and nothing in %s shows it", trail);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_code_leaves_the_trail)};
    expect_broken = argc == 3 && !strcmp(argv[1], "--broken");
    if (argc != 2 && !expect_broken) {
        fprintf(stderr, "usage: model-replay [--broken] FILE\n");
        return 2;
    }
    trail = argv[argc - 1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
