/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hand-offs between engines that share nothing but the cluster key: separate folders, one
 * TCP port (rule R22). Bytes are checked by digest and by content; what needs one host is
 * not tried, and says why.
 */
#include "conformance/handoff_pair.h"
#include "test.h"

#include "agent/link.h"
#include "kv/cache_wire.h"
#include "kv/members.h"

#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKENS 150

static const char *folder;
static char key[128], home_p[128], home_d[128];

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16},
                             nhd32 = {"nhd", "host", 32, 2, SEGUE_DTYPE_FP16},
                             gaudi = {"hnd", "sim:gaudi", 16, 1, SEGUE_DTYPE_FP16};

static struct segue_agent_opts opts_of(const char *home, bool listens)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.ipc_dir = home;
    opts.key = key;
    opts.listen = listens ? "127.0.0.1:0" : NULL;
    return opts;
}

struct couple {
    struct engine p, d;
    uint32_t from[16], to[16];
};

static void couple_open(struct couple *x, const struct geometry *gp,
                        const struct geometry *gd, const struct segue_agent_opts *op,
                        const struct segue_agent_opts *od)
{
    *x = (struct couple){0};
    engine_open(&x->p, gp, op, NULL);
    engine_open(&x->d, gd, od, NULL);
    engine_blocks(&x->p, 1, x->from, engine_needs(&x->p, TOKENS));
    engine_blocks(&x->d, 2, x->to, engine_needs(&x->d, TOKENS));
}

static void couple_close(struct couple *x)
{
    engine_close(&x->d);
    engine_close(&x->p);
}

static struct segue_event hands_over(struct couple *x, uint32_t salt)
{
    engine_fill(&x->p, x->from, 0, TOKENS, salt);
    struct segue_ticket ticket = engine_offer(&x->p, x->from, TOKENS, salt);
    engine_claim(&x->d, &ticket, x->to, 0, salt, SEGUE_DIGEST_FULL, NULL);
    struct segue_event e = engine_settled(&x->d, SEGUE_VERDICT_VALID, 20);
    assert_int_equal(engine_differs(&x->d, x->to, 0, TOKENS, salt), 0);
    engine_event(&x->p, SEGUE_EVENT_OFFER_ENDED, 20);
    return e;
}

/* What the two ends of the only link are. */
struct ends {
    uint32_t links;
    bool network, tls, data_tls;
};

static enum segue_status look(struct segue_agent *agent, void *arg)
{
    struct ends *ends = arg;
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        ends->links++;
        ends->network = link->network;
        ends->tls = link->io.socket.tls != NULL;
        for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
            ends->data_tls |= link->lanes[row].secure;
    }
    return SEGUE_OK;
}

static struct ends ends_of(struct engine *e)
{
    struct ends ends = {0};
    segue_agent_call(e->agent, look, &ends);
    return ends;
}

static void any_layout_and_any_side_may_encrypt(void **state)
{
    static const struct geometry *const pairs[][2] = {
        {&hnd16, &hnd16}, {&hnd16, &nhd32}, {&nhd32, &hnd16}, {&gaudi, &hnd16}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (unsigned who = 0; who < 4; who++) {
            struct segue_agent_opts op = opts_of(home_p, true),
                                    od = opts_of(home_d, false);
            op.encrypt = who & 1 ? SEGUE_ENCRYPT_DATA : SEGUE_ENCRYPT_CONTROL;
            od.encrypt = who & 2 ? SEGUE_ENCRYPT_DATA : SEGUE_ENCRYPT_CONTROL;
            struct couple x;
            couple_open(&x, pairs[i][0], pairs[i][1], &op, &od);
            for (uint32_t salt = 0; salt < 3; salt++) {
                struct segue_event e = hands_over(&x, salt);
                if (strncmp(e.report.path, "tcp/", 4) != 0)
                    fail_msg("over %s", e.report.path);
            }
            for (int side = 0; side < 2; side++) {
                struct ends ends = ends_of(side ? &x.d : &x.p);
                assert_int_equal(ends.links, 1);
                assert_true(ends.network && ends.tls);
                assert_int_equal(ends.data_tls, who != 0);
            }
            couple_close(&x);
        }
}

static enum segue_status count_beats(struct segue_agent *agent, void *arg)
{
    int *n = arg, on;
    socklen_t len = sizeof on;
    *n = 0;
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        assert_int_equal(
            getsockopt(link->io.socket.fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
        *n += on != 0;
    }
    return SEGUE_OK;
}

static int beats_of(struct engine *e)
{
    int n;
    segue_agent_call(e->agent, count_beats, &n);
    return n;
}

/* R18: a link beats while a claim or a hold is open on it, and costs nothing when it is idle. */
static void only_links_with_business_beat(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct couple x;
    uint64_t group;
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    hands_over(&x, 1);
    assert_int_equal(ends_of(&x.d).links, 1);
    assert_int_equal(beats_of(&x.d), 0);
    assert_int_equal(beats_of(&x.p), 0);
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    struct segue_ticket ticket;
    offer.tokens = opts.tokens = TOKENS;
    offer.hash = opts.hash = prompt_of(2);
    assert_ok(segue_offer_mint(x.p.agent, &offer, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    assert_ok(segue_group_open(x.d.agent, &ticket, &opts, &group));
    assert_int_equal(beats_of(&x.d), 1); /* a request waits here */
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    uint64_t parked;
    claim.blocks = x.to;
    claim.n_blocks = engine_needs(&x.d, TOKENS);
    assert_ok(segue_claim_post(x.d.agent, group, x.d.cache[0], &claim, &parked));
    assert_true(engine_quiet(&x.d, 0.3));
    assert_int_equal(beats_of(&x.p), 1);
    assert_ok(segue_claim_cancel(x.d.agent, parked));
    engine_settled(&x.d, SEGUE_VERDICT_CANCELLED, 20);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 20);
    assert_int_equal(beats_of(&x.d), 0);
    assert_int_equal(beats_of(&x.p), 0);
    couple_close(&x);
}

static void what_needs_one_host_says_so(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    struct couple x;
    char text[2048];
    op.engine_id = "p";
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    hands_over(&x, 1);
    assert_ok(segue_path_explain(x.d.cache[0], "p", text, sizeof text));
    if (!strstr(text, "shm/mapped refused: the peer is reached over the network") ||
        !strstr(text, "tcp/direct chosen"))
        fail_msg("%s", text);
    couple_close(&x);
    od.require = "shm";
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    struct segue_ticket ticket = engine_offer(&x.p, x.from, TOKENS, 1);
    engine_claim(&x.d, &ticket, x.to, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_REFUSED, 20);
    couple_close(&x);
}

/* One folder of sockets: the processes of one host, which share memory. */
static void one_folder_is_one_host(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_p, false);
    struct couple x;
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    struct segue_event e = hands_over(&x, 1);
    assert_string_equal(e.report.path, "shm/mapped");
    assert_false(ends_of(&x.d).network);
    couple_close(&x);
}

/* As a container may see it: the same folder's name, and somebody else's socket in it. */
static void a_socket_that_leads_nowhere(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    struct couple x;
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    struct segue_ticket ticket = engine_offer(&x.p, x.from, TOKENS, 1);
    engine_fill(&x.p, x.from, 0, TOKENS, 1);
    snprintf(ticket.address, sizeof ticket.address, "unix:%.90s/p.sock", home_d);
    engine_prove(&x.d, &ticket);
    engine_claim(&x.d, &ticket, x.to, 0, 1, SEGUE_DIGEST_FULL, NULL);
    struct segue_event e = engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
    assert_memory_equal(e.report.path, "tcp/", 4);
    couple_close(&x);
}

static void a_rotation_of_links(void **state)
{
    char theirs[160], command[400];
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    snprintf(theirs, sizeof theirs, "%s/theirs", folder);
    snprintf(command, sizeof command, "cp -p '%s' '%s'", key, theirs);
    assert_int_equal(system(command), 0);
    op.key = theirs;
    od.idle_ns = 1000000; /* so that every hand-off has a handshake of its own */
    struct couple x;
    couple_open(&x, &hnd16, &hnd16, &op, &od);
    for (uint32_t step = 0; step < 3; step++) {
        hands_over(&x, step);
        assert_ok(segue_key_file_rotate(theirs));
        usleep(20000);
        hands_over(&x, step);
        snprintf(command, sizeof command, "cp -p '%s' '%s'", theirs, key);
        assert_int_equal(system(command), 0);
        usleep(20000);
    }
    hands_over(&x, 9);
    couple_close(&x);
    unlink(theirs);
}

static void insecure_without_a_key(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    op.key = od.key = NULL;
    op.insecure = 1;
    struct couple x;
    couple_open(&x, &hnd16, &nhd32, &op, &od);
    /* The other side has not said it: it goes by the unix socket, whatever its folder. */
    hands_over(&x, 1);
    assert_false(ends_of(&x.d).network);
    couple_close(&x);
    od.insecure = 1;
    couple_open(&x, &hnd16, &nhd32, &op, &od);
    hands_over(&x, 1);
    struct ends ends = ends_of(&x.d);
    assert_true(ends.network && !ends.tls && !ends.data_tls);
    couple_close(&x);
}

/* R21b: the process is gone, the network says so at once. */
static void many_links_end_well(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    for (int i = 0; i < 10; i++) {
        struct couple x;
        couple_open(&x, &hnd16, &hnd16, &op, &od);
        struct segue_ticket ticket = engine_offer(&x.p, x.from, TOKENS, 1);
        if (i % 2)
            engine_claim(&x.d, &ticket, x.to, 0, 1, SEGUE_DIGEST_OFF, NULL);
        couple_close(&x);
    }
}

/* R17: an engine of several agents; its endpoint names their addresses for other hosts. */
static void ranks_with_agents_of_their_own(void **state)
{
    struct segue_agent_opts op = opts_of(home_p, true), od = opts_of(home_d, false);
    struct couple x = {.p.apart = true};
    struct segue_offer_opts offer = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    struct segue_ticket ticket;
    engine_open(&x.p, &nhd32, &op, NULL);
    engine_open(&x.d, &hnd16, &od, NULL);
    engine_blocks(&x.p, 1, x.from, engine_needs(&x.p, TOKENS));
    engine_blocks(&x.d, 2, x.to, engine_needs(&x.d, TOKENS));
    engine_fill(&x.p, x.from, 0, TOKENS, 1);
    offer.tokens = TOKENS;
    offer.hash = prompt_of(1);
    assert_ok(segue_offer_mint(x.p.agent, &offer, &id));
    assert_ok(segue_offer_ticket(x.p.agent, &id, &ticket));
    for (uint32_t r = 0; r < 2; r++) {
        assert_ok(segue_offer_adopt(x.p.rank_agent[r], &id, &offer));
        assert_ok(segue_offer_create(x.p.cache[r], &id, x.from,
                                     engine_needs(&x.p, TOKENS), NULL));
    }
    engine_claim(&x.d, &ticket, x.to, 0, 1, SEGUE_DIGEST_FULL, NULL);
    struct segue_event e = engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
    assert_memory_equal(e.report.path, "tcp/", 4);
    assert_int_equal(engine_differs(&x.d, x.to, 0, TOKENS, 1), 0);
    struct ends ends = ends_of(&x.d);
    assert_int_equal(ends.links, 3); /* the endpoint, and each rank */
    assert_true(ends.network && ends.tls);
    couple_close(&x);
}

/* Told by a peer on another host: a socket of this one. */
static void members_do_not_lead_to_our_sockets(void **state)
{
    struct segue_link network = {.network = true}, local = {.network = false};
    static const struct {
        const char *address;
        bool allowed;
    } rows[] = {
        {"unix:/run/user/0/bus", false}, {"", false}, {"tcp:10.0.0.1:9000", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_geometry window = {
            .layout = {.layers = 1, .heads = 1}, .layers_total = 1, .heads_total = 1};
        uint8_t body[256];
        struct segue_writer w = segue_writer_make(body, sizeof body);
        struct segue_member member;
        segue_writer_str16(&w, rows[i].address);
        segue_writer_u32(&w, 0);
        segue_window_write(&w, &window);
        struct segue_frame frame = {.body = body, .len = (uint32_t)w.len};
        assert_ok(segue_member_read(&local, &frame, &member));
        enum segue_status status = segue_member_read(&network, &frame, &member);
        assert_int_equal(status >= 0, rows[i].allowed);
    }
}

static int setup(void **state)
{
    folder = engines_setup();
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(home_p, sizeof home_p, "%s/p", folder);
    snprintf(home_d, sizeof home_d, "%s/d", folder);
    assert_ok(segue_key_file_make(key));
    return 0;
}

static int teardown(void **state)
{
    engines_cleanup();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_layout_and_any_side_may_encrypt),
    cmocka_unit_test(what_needs_one_host_says_so),
    cmocka_unit_test(only_links_with_business_beat),
    cmocka_unit_test(one_folder_is_one_host),
    cmocka_unit_test(a_socket_that_leads_nowhere),
    cmocka_unit_test(a_rotation_of_links),
    cmocka_unit_test(insecure_without_a_key),
    cmocka_unit_test(ranks_with_agents_of_their_own),
    cmocka_unit_test(members_do_not_lead_to_our_sockets),
    cmocka_unit_test(many_links_end_well),
};
TEST_MAIN_AROUND(tests, setup, teardown)
