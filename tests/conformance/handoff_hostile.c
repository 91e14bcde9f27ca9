/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that speak the link's language and lie about hand-offs and slots, as consumer and as producer: the agent neither
 * crashes nor hangs nor keeps anything of them, its offers' blocks come back, and an innocent pair goes on handing over.
 */
#include "raw_peer.h"
#include "agent/stage_inside.h"
#include "conformance/handoff_pair.h"
#include "handoff/handoff.h"

#include <sys/mman.h>

#define TOKENS      100
#define PEER_CLAIMS 300
#define SALT        3

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16};
static struct engine innocent, prey; /* `victim` is the prey's agent */
static uint32_t from[32], to[32];

static int open_prey(void **state)
{
    static struct engine blank;
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.lease_ns = 700000000u;
    opts.renew_ns = 100000000u;
    opts.peer_claims = PEER_CLAIMS;
    opts.connect_ns = 500 * SEGUE_NS_PER_MS;
    prey = innocent = blank;
    engine_open(&prey, &hnd16, &opts, NULL);
    engine_open(&innocent, &hnd16, &opts, NULL);
    victim = prey.agent;
    return 0;
}

static int close_prey(void **state)
{
    engine_close(&innocent);
    engine_close(&prey);
    return 0;
}

static void hand_over(struct engine *p, struct engine *d, uint32_t salt)
{
    engine_blocks(p, salt, from, engine_needs(p, TOKENS));
    engine_blocks(d, salt + 1, to, engine_needs(d, TOKENS));
    engine_fill(p, from, 0, TOKENS, salt);
    struct segue_ticket ticket = engine_offer(p, from, TOKENS, salt);
    engine_claim(d, &ticket, to, 0, salt, SEGUE_DIGEST_FULL, NULL);
    engine_settled(d, SEGUE_VERDICT_VALID, PATIENCE_S);
    assert_int_equal(engine_differs(d, to, 0, TOKENS, salt), 0);
    engine_event(p, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
}

static void others_are_served(void)
{
    hand_over(&prey, &innocent, 11);
    hand_over(&innocent, &prey, 13);
}

/* ---- a consumer that lies ---- */

static int greet(void)
{
    uint8_t hello[SEGUE_HELLO_ROOM + SEGUE_FRAME_HEAD];
    int fd = connect_raw();
    send_all(fd, hello, hello_frame(hello, SEGUE_WIRE_VERSION));
    return fd;
}

static void handoff(int fd, uint8_t type, const struct segue_writer *w)
{
    send_frame(fd, SEGUE_SERVICE_HANDOFF, type, w->data, (uint32_t)w->len);
}

static struct segue_msg_claim honest_claim(const struct segue_ticket *ticket, size_t row,
                                           enum segue_way way)
{
    struct segue_msg_claim m = {
        .pair = 7,
        .tag = 100,
        .offer = ticket->id,
        .hash = ticket->hash,
        .tokens = ticket->tokens,
        .cache = prey.cache[0]->id,
        .digest = SEGUE_DIGEST_FULL,
        .row = (uint8_t)row,
        .way = (uint8_t)way,
        .wire_tokens = 64,
        .credits = 2,
        .model = "test-model",
        .convention = "rope:half",
        .geometry = innocent.cache[0]->geometry,
        .use = 5,
        .counts = 1,
        .from = 3,
    };
    return m;
}

/* It may be claimed by everybody. */
static struct segue_ticket offered(void)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(SALT);
    opts.uses = UINT32_MAX;
    engine_blocks(&prey, SALT, from, engine_needs(&prey, TOKENS));
    engine_fill(&prey, from, 0, TOKENS, SALT);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(prey.agent, &opts, &id));
    assert_ok(
        segue_offer_create(prey.cache[0], &id, from, engine_needs(&prey, TOKENS), NULL));
    assert_ok(segue_offer_ticket(prey.agent, &id, &ticket));
    return ticket;
}

static void send_claim(int fd, const struct segue_msg_claim *m)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_claim_write(&w, m);
    handoff(fd, SEGUE_FRAME_CLAIM, &w);
}

/* The next frame of this service and type; fails the test when the agent closes first. */
static size_t hear(int fd, uint8_t service, uint8_t type, uint8_t *body, size_t cap)
{
    struct segue_frame_head head;
    uint8_t bytes[SEGUE_FRAME_HEAD];
    for (;;) {
        if (recv(fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes)
            fail_msg("the agent closed before frame %u of service %u", type, service);
        assert_ok(segue_frame_head_read(bytes, &head));
        assert_true(head.len <= cap);
        if (head.len)
            assert_int_equal(recv(fd, body, head.len, MSG_WAITALL), head.len);
        if (head.service == service && head.type == type)
            return head.len;
    }
}

static uint8_t verdict_on(int fd, char why[256])
{
    static uint8_t body[SEGUE_FRAME_MAX];
    struct segue_msg_verdict m;
    struct segue_reader r = segue_reader_make(
        body, hear(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_VERDICT, body, sizeof body));
    assert_ok(segue_verdict_read(&r, &m));
    memcpy(why, m.why, 256);
    return m.verdict;
}

/* One field at a time is a lie; the answer is a refusal that says which. */
static void claims_that_lie(void **state)
{
    static const struct {
        const char *want;
        enum segue_verdict verdict;
    } rows[] = {
        {"earlier start", SEGUE_VERDICT_STALE},
        {"has made no offer", SEGUE_VERDICT_REFUSED},
        {"has no cache", SEGUE_VERDICT_REFUSED},
        {"has 101 tokens", SEGUE_VERDICT_REFUSED},
        {"another prompt", SEGUE_VERDICT_REFUSED},
        {"'other-model'", SEGUE_VERDICT_REFUSED},
        {"'rope:other'", SEGUE_VERDICT_REFUSED},
        {"", SEGUE_VERDICT_REFUSED}, /* another number of heads */
        {"", SEGUE_VERDICT_REFUSED}, /* other layers */
        {"", SEGUE_VERDICT_REFUSED}, /* pieces of no token */
        {"4294967295 tokens", SEGUE_VERDICT_REFUSED},
        {"4294967295 credits", SEGUE_VERDICT_REFUSED},
    };
    struct segue_ticket ticket = offered();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_msg_claim m = honest_claim(&ticket, 0, SEGUE_WAY_PACKED);
        switch (i) {
        case 0:
            m.offer.incarnation[3] ^= 1;
            break;
        case 1:
            m.offer.sequence = UINT64_MAX;
            break;
        case 2:
            m.cache = UINT32_MAX;
            break;
        case 3:
            m.tokens = 101;
            break;
        case 4:
            m.hash.bytes[0] ^= 1;
            break;
        case 5:
            strcpy(m.model, "other-model");
            break;
        case 6:
            strcpy(m.convention, "rope:other");
            break;
        case 7:
            m.geometry.heads_total = 8;
            break;
        case 8:
            m.geometry.layers_total = 99;
            break;
        case 9:
            m.wire_tokens = 0;
            break;
        case 10:
            m.wire_tokens = UINT32_MAX;
            break;
        case 11:
            m.credits = UINT32_MAX;
            break;
        default:
            break;
        }
        int fd = greet();
        char why[256];
        send_claim(fd, &m);
        uint8_t verdict = verdict_on(fd, why);
        if (verdict != rows[i].verdict || !strstr(why, rows[i].want))
            fail_msg("row %zu: %s: %s", i, segue_verdict_name(verdict), why);
        close(fd);
    }
    engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    others_are_served();
}

/* Every message cut at every byte, and followed by noise; each ends its link or nothing. */
static void cut_messages(void **state)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    struct segue_ticket ticket = offered();
    int cells = 0;
    for (uint8_t type = 0; type <= SEGUE_FRAME_RELAY + 1; type++) {
        struct segue_writer w = segue_writer_make(body, sizeof body);
        struct segue_msg_claim claim = honest_claim(&ticket, 0, SEGUE_WAY_PACKED);
        if (type == SEGUE_FRAME_CLAIM)
            segue_claim_write(&w, &claim);
        else if (type == SEGUE_FRAME_ACCEPT)
            assert_ok(segue_accept_write(&w, 7, 9, from, 3));
        else if (type == SEGUE_FRAME_VERDICT)
            segue_verdict_write(&w, &(struct segue_msg_verdict){7, 1, 5, "why"});
        else if (type == SEGUE_FRAME_HOLD || type == SEGUE_FRAME_END)
            segue_writer_bytes(&w, &ticket.id, sizeof ticket.id);
        else
            segue_writer_bytes(&w, "12345678abcdefgh01234567", 24);
        for (size_t cut = 0; cut < w.len; cut++, cells++) {
            int fd = greet();
            send_frame(fd, SEGUE_SERVICE_HANDOFF, type, body, (uint32_t)cut);
            send_frame(fd, SEGUE_SERVICE_STAGE, type % 5, body, (uint32_t)cut);
            close(fd);
        }
    }
    engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    others_are_served();
    printf("cells: %d\n", cells);
}

/* Well-formed frames full of noise, and honest messages with some bytes changed. */
static void noise(void **state)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    uint8_t dice[64];
    struct segue_ticket ticket = offered();
    for (int round = 0; round < 400; round++) {
        int fd = greet();
        for (int i = 0; i < 8; i++) {
            segue_random_fill(dice, sizeof dice);
            struct segue_writer w = segue_writer_make(body, sizeof body);
            struct segue_msg_claim m = honest_claim(&ticket, dice[0] % 4, dice[1] % 3);
            m.pair = dice[2] % 4;
            segue_claim_write(&w, &m);
            for (int k = 0; k < dice[3] % 4; k++)
                body[(dice[4 + k] | dice[8 + k] << 8) % w.len] = dice[12 + k];
            handoff(fd, SEGUE_FRAME_CLAIM, &w);
            memset(dice + 24, 0, 7);
            dice[23] %= 4;
            send_frame(fd, 1 + dice[20] % 3, dice[21] % 9, dice + 23, dice[22] % 40);
        }
        close(fd);
    }
    engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    others_are_served();
}

/* One claim id twice; frames about pairs and slots that are not the peer's; a commit before the end. */
static void claims_out_of_turn(void **state)
{
    struct segue_ticket ticket = offered();
    struct segue_msg_claim m = honest_claim(&ticket, 0, SEGUE_WAY_PACKED);
    uint8_t body[32];
    char why[256];
    int fd = greet();
    send_claim(fd, &m);
    send_claim(fd, &m);
    expect_end(fd, "claim id 7 twice");
    static const struct {
        uint8_t service, type;
        uint64_t pair;
        uint32_t a, b;
        const char *want; /* NULL: nothing happens */
    } rows[] = {
        {SEGUE_SERVICE_STAGE, SEGUE_FRAME_FREE, 99, 0, 0, NULL},
        {SEGUE_SERVICE_STAGE, SEGUE_FRAME_FULL, 7, 0, 0, NULL},
        {SEGUE_SERVICE_STAGE, SEGUE_FRAME_FREE, 7, UINT32_MAX, 0, "gave back slot"},
        {SEGUE_SERVICE_STAGE, SEGUE_FRAME_RING, 0, 0, 0, "malformed staging ring"},
        {SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_COMMIT, 99, 0, 0, NULL},
        {SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_VERDICT, 99, 1, 0, NULL},
        {SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT, 99, 0, 0, NULL},
        {SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_RENEW, 99, 0, 0, NULL},
        {SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_CANCEL, 99, 0, 0, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fd = greet();
        send_claim(fd, &m);
        hear(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT, (uint8_t[4096]){0}, 4096);
        memset(body, 0, sizeof body);
        struct segue_writer w = segue_writer_make(body, sizeof body);
        segue_writer_u64(&w, rows[i].pair);
        segue_writer_u32(&w, rows[i].a);
        segue_writer_u32(&w, rows[i].b);
        send_frame(fd, rows[i].service, rows[i].type, body,
                   rows[i].service == SEGUE_SERVICE_STAGE ? 16 : 32);
        if (rows[i].want) {
            expect_end(fd, rows[i].want);
            continue;
        }
        /* The link lives: a digest of nothing is answered. */
        w = segue_writer_make(body, sizeof body);
        segue_commit_write(&w, &(struct segue_msg_commit){7, 0, 0});
        handoff(fd, SEGUE_FRAME_COMMIT, &w);
        bool answered = rows[i].service == SEGUE_SERVICE_HANDOFF &&
                        rows[i].type == SEGUE_FRAME_COMMIT;
        uint8_t verdict = answered ? verdict_on(fd, why) : 0;
        assert_true(verdict == 0 || verdict == SEGUE_VERDICT_STALE);
        verdict = verdict_on(fd, why);
        if (verdict != SEGUE_VERDICT_CORRUPT)
            fail_msg("row %zu: %s: %s", i, segue_verdict_name(verdict), why);
        close(fd);
    }
    engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    others_are_served();
}

/* R9: within a use a cache claims once. R3: an END with another prompt's hash, or of a use nobody took, ends no offer that is
 * being claimed. */
static void uses_that_lie(void **state)
{
    uint8_t body[4096];
    char why[256];
    struct segue_ticket ticket = engine_offer(&prey, from, TOKENS, SALT);
    struct segue_msg_claim m = honest_claim(&ticket, 0, SEGUE_WAY_MAPPED);
    m.digest = SEGUE_DIGEST_OFF;
    int fd = greet();
    send_claim(fd, &m);
    hear(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT, body, sizeof body);
    m.pair = 8;
    send_claim(fd, &m);
    assert_int_equal(verdict_on(fd, why), SEGUE_VERDICT_REFUSED);
    if (!strstr(why, "has claimed offer"))
        fail_msg("%s", why);
    m.from = 4; /* another rank of the same engine */
    send_claim(fd, &m);
    hear(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT, body, sizeof body);
    struct segue_msg_end ends[] = {
        {ticket.id, m.use, SEGUE_VERDICT_VALID, prompt_of(99), 1},
        {ticket.id, 77, SEGUE_VERDICT_VALID, ticket.hash, 1},
        {ticket.id, 77, SEGUE_VERDICT_NONE, ticket.hash, UINT32_MAX},
        {ticket.id, 77, SEGUE_VERDICT_CANCELLED, ticket.hash, 1},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct segue_writer w = segue_writer_make(body, sizeof body);
        segue_end_write(&w, &ends[i]);
        handoff(fd, SEGUE_FRAME_END, &w);
    }
    m.pair = 9;
    m.use = 6;
    send_claim(fd, &m);
    assert_int_equal(verdict_on(fd, why), SEGUE_VERDICT_REFUSED);
    if (!strstr(why, "may be claimed 1 times, and has been"))
        fail_msg("%s", why);
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_commit_write(&w, &(struct segue_msg_commit){7, 0, 0});
    handoff(fd, SEGUE_FRAME_COMMIT, &w);
    assert_int_equal(verdict_on(fd, why), SEGUE_VERDICT_VALID);
    close(fd);
    engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    others_are_served();
}

struct count {
    size_t serves, routes;
};

static enum segue_status count_kept(struct segue_agent *agent, void *arg)
{
    struct count *count = arg;
    *count = (struct count){0, 0};
    segue_list_each (l, &agent->links) {
        struct segue_link *link = segue_container_of(l, struct segue_link, list);
        struct segue_peer *peer = link->state[SEGUE_SERVICE_HANDOFF];
        if (!peer)
            continue;
        count->serves += peer->serves.count;
        segue_list_each (r, &peer->routes)
            count->routes++;
    }
    return SEGUE_OK;
}

/* The type of the agent's next word about a hand-off. */
static uint8_t next_word(int fd)
{
    uint8_t body[4096], bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head;
    do {
        assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
        assert_ok(segue_frame_head_read(bytes, &head));
        assert_true(head.len <= sizeof body);
        if (head.len)
            assert_int_equal(recv(fd, body, head.len, MSG_WAITALL), head.len);
    } while (head.service != SEGUE_SERVICE_HANDOFF);
    return head.type;
}

/* Claims without number, into caches of every shape, kept or given up: what the agent keeps of the peer is bounded. */
static void claims_without_end(void **state)
{
    for (int kept = 0; kept < 2; kept++) {
        struct segue_ticket ticket = offered();
        struct segue_msg_claim m = honest_claim(&ticket, 0, SEGUE_WAY_MAPPED);
        uint8_t pair[8];
        int fd = greet(), refused = 0, sent = 2 * PEER_CLAIMS;
        m.digest = SEGUE_DIGEST_OFF;
        for (int i = 1; i <= sent; i++) {
            m.pair = m.use = (uint64_t)i;
            if (!kept) { /* another shape each time */
                m.geometry.layout.k.layer += 64;
                m.geometry.layout.v.layer += 64;
            }
            send_claim(fd, &m);
            refused += next_word(fd) == SEGUE_FRAME_VERDICT;
            struct segue_writer w = segue_writer_make(pair, sizeof pair);
            segue_writer_u64(&w, m.pair);
            if (!kept)
                handoff(fd, SEGUE_FRAME_CANCEL, &w);
        }
        struct count count;
        segue_agent_call(victim, count_kept, &count);
        assert_true(count.serves <= PEER_CLAIMS);
        assert_true(count.routes <= SEGUE_PEER_ROUTES_MAX);
        assert_int_equal(refused, kept ? sent - PEER_CLAIMS : 0);
        close(fd);
        engine_event(&prey, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
    }
    others_are_served();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(claims_that_lie, open_prey, close_prey),
    cmocka_unit_test_setup_teardown(cut_messages, open_prey, close_prey),
    cmocka_unit_test_setup_teardown(noise, open_prey, close_prey),
    cmocka_unit_test_setup_teardown(claims_out_of_turn, open_prey, close_prey),
    cmocka_unit_test_setup_teardown(uses_that_lie, open_prey, close_prey),
    cmocka_unit_test_setup_teardown(claims_without_end, open_prey, close_prey),
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
