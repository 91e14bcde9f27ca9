/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets in wrong hands (rule R22): changed, cut, forged, made with another key, sent to
 * another host, used again. Each is refused with a sentence before anything in it is
 * followed, and the engines go on.
 */
#include "conformance/handoff_pair.h"
#include "test.h"

#include "base/key.h"
#include "handoff/ticket.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16};
static const char *folder;
static char key_a[128], key_b[128];
static uint32_t blocks[] = {3, 4};

#define SALT   1
#define TOKENS 20

/* A producer and a consumer, each with a key file or none. */
struct couple {
    struct engine p, d;
};

static void couple_open(struct couple *x, const char *producer, const char *consumer)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    *x = (struct couple){0};
    opts.key = producer;
    engine_open(&x->p, &hnd16, &opts, NULL);
    opts.key = consumer;
    engine_open(&x->d, &hnd16, &opts, NULL);
    engine_fill(&x->p, blocks, 0, TOKENS, SALT);
}

static void couple_close(struct couple *x)
{
    engine_close(&x->d);
    engine_close(&x->p);
}

static enum segue_status open_group(struct engine *d, const struct segue_ticket *ticket)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    uint64_t group;
    opts.tokens = ticket->tokens;
    opts.hash = ticket->hash;
    return segue_group_open(d->agent, ticket, &opts, &group);
}

static void refused(struct engine *d, const struct segue_ticket *ticket, const char *why)
{
    assert_status(open_group(d, ticket), SEGUE_E_REFUSED);
    if (!strstr(segue_error_detail(), why))
        fail_msg("'%s', want '%s'", segue_error_detail(), why);
}

/* The couple still hands over: nothing that was refused has changed anything. */
static void hands_over(struct couple *x)
{
    struct segue_ticket ticket = engine_offer(&x->p, blocks, TOKENS, SALT);
    engine_claim(&x->d, &ticket, blocks, 0, SALT, SEGUE_DIGEST_FULL, NULL);
    engine_settled(&x->d, SEGUE_VERDICT_VALID, 20);
    assert_int_equal(engine_differs(&x->d, blocks, 0, TOKENS, SALT), 0);
    engine_event(&x->p, SEGUE_EVENT_OFFER_ENDED, 20);
}

static size_t encode(const struct segue_ticket *ticket, uint8_t *out)
{
    struct segue_writer w = segue_writer_make(out, SEGUE_TICKET_ROOM);
    segue_ticket_write_proved(&w, ticket);
    segue_writer_bytes(&w, ticket->mac, sizeof ticket->mac);
    assert_false(w.failed);
    return w.len;
}

static enum segue_status decode(const uint8_t *bytes, size_t len,
                                struct segue_ticket *out)
{
    char text[4 * SEGUE_TICKET_ROOM];
    size_t at = (size_t)sprintf(text, "{\"segue\":{\"ticket\":\"");
    for (size_t i = 0; i < len; i++)
        at += (size_t)sprintf(text + at, "%02x", bytes[i]);
    at += (size_t)sprintf(text + at, "\",\"uses\":1}}");
    return segue_ticket_params_read(text, at, out);
}

/* Every bit of every byte. */
static void changed_anywhere(void **state)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        struct couple x;
        couple_open(&x, keyed ? key_a : NULL, keyed ? key_a : NULL);
        struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT), changed;
        uint8_t bytes[SEGUE_TICKET_ROOM];
        size_t len = encode(&ticket, bytes), reached = 0;
        for (size_t i = 0; i < 8 * len; i++) {
            bytes[i / 8] ^= (uint8_t)(1 << i % 8);
            enum segue_status status = decode(bytes, len, &changed);
            if (status >= 0) {
                status = open_group(&x.d, &changed);
                reached++;
            }
            if (status != SEGUE_E_REFUSED && status != SEGUE_E_INVALID)
                fail_msg("bit %zu: %s: %s", i, segue_status_name(status),
                         segue_error_detail());
            bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        assert_true(reached > 4 * len); /* most are well formed: the proof stops them */
        for (size_t cut = 0; cut < len; cut++)
            assert_status(decode(bytes, cut, &changed), SEGUE_E_INVALID);
        assert_ok(segue_offer_revoke(x.p.agent, &ticket.id));
        engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 10);
        hands_over(&x);
        couple_close(&x);
    }
}

static void forged_without_the_key(void **state)
{
    struct couple x;
    struct segue_keys mallory = {.n = 1};
    couple_open(&x, key_a, key_a);
    struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT);
    uint8_t bytes[SEGUE_TICKET_ROOM];
    /* A key of her own under the id of ours. */
    segue_key_random(&mallory.key[0]);
    ticket.id.sequence = 99;
    size_t len = encode(&ticket, bytes) - sizeof ticket.mac;
    segue_key_mac(&mallory.key[0], "segue ticket 1", bytes, len, ticket.mac);
    refused(&x.d, &ticket, "forged or damaged");
    /* And under its own id. */
    memcpy(ticket.key, mallory.key[0].id, sizeof ticket.key);
    len = encode(&ticket, bytes) - sizeof ticket.mac;
    segue_key_mac(&mallory.key[0], "segue ticket 1", bytes, len, ticket.mac);
    refused(&x.d, &ticket, "wrong key: it was made with key");
    hands_over(&x);
    couple_close(&x);
}

static void wrong_keys_are_named(void **state)
{
    static const char *const sides[][2] = {{key_a, key_b}, {key_a, NULL}};
    static const char *const want[] = {", we have ", "has no cluster key"};
    for (size_t i = 0; i < 2; i++) {
        struct segue_key_info info[SEGUE_KEYS_MAX];
        size_t n;
        struct couple x;
        couple_open(&x, sides[i][0], sides[i][1]);
        struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT);
        refused(&x.d, &ticket, want[i]);
        assert_ok(segue_key_file_read(key_a, info, &n));
        assert_non_null(strstr(segue_error_detail(), info[0].id));
        couple_close(&x);
    }
    /* The other way round it is one user on one host: the key beside the sockets holds. */
    struct couple x;
    couple_open(&x, NULL, key_a);
    hands_over(&x);
    couple_close(&x);
}

static void a_rotation_is_seamless(void **state)
{
    char theirs[160], command[400];
    struct couple x;
    snprintf(theirs, sizeof theirs, "%s/theirs", folder);
    snprintf(command, sizeof command, "cp -p '%s' '%s'", key_a, theirs);
    assert_int_equal(system(command), 0);
    couple_open(&x, theirs, key_a);
    for (int step = 0; step < 3; step++) {
        hands_over(&x);
        /* The producer's host is one step ahead, then the other catches up. Both agents
         * find the new file by themselves. */
        assert_ok(segue_key_file_rotate(theirs));
        hands_over(&x);
        snprintf(command, sizeof command, "cp -p '%s' '%s'", theirs, key_a);
        assert_int_equal(system(command), 0);
    }
    hands_over(&x);
    couple_close(&x);
    unlink(theirs);
}

static enum segue_status prove(struct segue_agent *agent, void *ticket)
{
    return segue_ticket_prove(agent, ticket);
}

/* Proved by a key that both have, as a home folder on many hosts would bring it about. */
static void of_another_host(void **state)
{
    struct couple x;
    couple_open(&x, NULL, NULL);
    struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT), moved = ticket;
    moved.host[3] ^= 1;
    assert_ok(segue_agent_call(x.p.agent, prove, &moved));
    refused(&x.d, &moved, "of another host");
    strcpy(moved.network, "tcp:192.0.2.1:9000");
    assert_ok(segue_agent_call(x.p.agent, prove, &moved));
    refused(&x.d, &moved, "leads to tcp:192.0.2.1:9000, and without a cluster key");
    strcpy(moved.address, "unix:/nowhere/at/all.sock");
    refused(&x.d, &moved, "no cluster key");
    couple_close(&x);
}

static void used_again(void **state)
{
    struct couple x;
    couple_open(&x, NULL, NULL);
    struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT);
    engine_claim(&x.d, &ticket, blocks, 0, SALT, SEGUE_DIGEST_FULL, NULL);
    engine_settled(&x.d, SEGUE_VERDICT_VALID, 20);
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 20);
    for (int i = 0; i < 3; i++) {
        engine_claim(&x.d, &ticket, blocks, 0, SALT, SEGUE_DIGEST_OFF, NULL);
        engine_settled(&x.d, SEGUE_VERDICT_STALE, 20);
    }
    hands_over(&x);
    couple_close(&x);
}

/* The key beside the sockets: ours alone, or of no worth. */
static void the_key_beside_the_sockets(void **state)
{
    struct couple x;
    char path[160];
    struct stat st;
    couple_open(&x, NULL, NULL);
    struct segue_ticket ticket = engine_offer(&x.p, blocks, TOKENS, SALT);
    snprintf(path, sizeof path, "%s/ticket.key", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chmod(path, 0644), 0);
    refused(&x.d, &ticket, "no cluster key");
    struct segue_ticket another;
    assert_status(segue_offer_ticket(x.p.agent, &ticket.id, &another), SEGUE_E_REFUSED);
    assert_non_null(strstr(segue_error_detail(), "is open to others"));
    assert_int_equal(chmod(path, 0600), 0);
    assert_ok(segue_offer_revoke(x.p.agent, &ticket.id));
    engine_event(&x.p, SEGUE_EVENT_OFFER_ENDED, 10);
    hands_over(&x);
    couple_close(&x);
}

static int setup(void **state)
{
    folder = engines_setup();
    snprintf(key_a, sizeof key_a, "%s/a", folder);
    snprintf(key_b, sizeof key_b, "%s/b", folder);
    assert_ok(segue_key_file_make(key_a));
    assert_ok(segue_key_file_make(key_b));
    return 0;
}

static int teardown(void **state)
{
    engines_cleanup();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(changed_anywhere),
    cmocka_unit_test(forged_without_the_key),
    cmocka_unit_test(wrong_keys_are_named),
    cmocka_unit_test(a_rotation_is_seamless),
    cmocka_unit_test(of_another_host),
    cmocka_unit_test(used_again),
    cmocka_unit_test(the_key_beside_the_sockets),
};
TEST_MAIN_AROUND(tests, setup, teardown)
