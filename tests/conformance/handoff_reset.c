/* SPDX-License-Identifier: Apache-2.0 */
/* R15: one call revokes all offers, waits for movers and for what peers have mapped, and bumps the weights generation. */
#include "conformance/handoff_pair.h"
#include "test.h"

#include <segue/sim.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define TOKENS 40

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16},
                             sim16 = {"hnd", "sim:cuda", 16, 1, SEGUE_DTYPE_FP16};
static const uint32_t from[] = {3, 4, 5}, to[] = {7, 6, 9};
static struct engine p, d;

static void open_pair(const struct geometry *g, const char *path)
{
    static const struct engine blank;
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.require = path;
    p = d = blank;
    engine_open(&p, g, &opts, NULL);
    engine_open(&d, g, &opts, NULL);
}

static void close_pair(void)
{
    engine_close(&d);
    engine_close(&p);
}

static void hand_over(uint32_t salt)
{
    engine_fill(&p, from, 0, TOKENS, salt);
    engine_paint(&d, 0x5a);
    struct segue_ticket ticket = engine_offer(&p, from, TOKENS, salt);
    engine_claim(&d, &ticket, to, 0, salt, SEGUE_DIGEST_FULL, NULL);
    engine_settled(&d, SEGUE_VERDICT_VALID, 10);
    assert_int_equal(engine_differs(&d, to, 0, TOKENS, salt), 0);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
}

static int mappings(void)
{
    char line[512];
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        n += strstr(line, "memfd:") != NULL;
    fclose(maps);
    return n;
}

static void peers_let_go_and_come_back(void **state)
{
    static const char *const paths[] = {"shm/mapped", "cma/direct", "tcp/direct",
                                        "shm/packed"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        open_pair(&hnd16, paths[i]);
        int before = mappings();
        hand_over(1);
        if (i == 0)
            assert_true(mappings() > before);
        uint64_t generation = 0;
        assert_int_equal(segue_cache_generation(p.cache[0]), 0);
        assert_ok(segue_cache_reset(p.cache[0], &generation));
        assert_int_equal(generation, 1);
        assert_int_equal(segue_cache_generation(p.cache[0]), 1);
        for (int t = 0; i == 0 && t < 1000 && mappings() != before; t++)
            usleep(10000); /* the pool ends them */
        if (i == 0)
            assert_int_equal(mappings(), before);
        hand_over(2);
        assert_ok(segue_cache_reset(d.cache[0], &generation));
        hand_over(3);
        close_pair();
    }
}

static void every_offer_is_revoked(void **state)
{
    open_pair(&hnd16, NULL);
    struct segue_ticket offered = engine_offer(&p, from, TOKENS, 1), minted;
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(2);
    assert_ok(segue_offer_mint(p.agent, &opts, &id));
    assert_ok(segue_offer_ticket(p.agent, &id, &minted));
    engine_claim(&d, &minted, to, 0, 2, SEGUE_DIGEST_OFF, NULL); /* parked */
    assert_true(engine_quiet(&d, 0.2));
    assert_ok(segue_cache_reset(p.cache[0], NULL));
    /* Told before the call has returned. */
    struct segue_event e;
    for (int i = 0; i < 2; i++) {
        assert_ok(segue_event_next(p.agent, &e));
        assert_int_equal(e.type, SEGUE_EVENT_OFFER_ENDED);
        assert_int_equal(e.verdict, SEGUE_VERDICT_STALE);
    }
    e = engine_settled(&d, SEGUE_VERDICT_STALE, 10);
    if (!strstr(e.detail, "reset"))
        fail_msg("%s", e.detail);
    engine_claim(&d, &offered, to, 0, 1, SEGUE_DIGEST_OFF, NULL);
    engine_settled(&d, SEGUE_VERDICT_STALE, 10);
    assert_status(segue_offer_create(p.cache[0], &id, from, 3, NULL), SEGUE_E_STALE);
    close_pair();
}

static void claims_into_the_cache_are_cancelled_and_released(void **state)
{
    open_pair(&hnd16, NULL);
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    struct segue_ticket ticket;
    opts.tokens = TOKENS;
    opts.hash = prompt_of(2);
    assert_ok(segue_offer_mint(p.agent, &opts, &id));
    assert_ok(segue_offer_ticket(p.agent, &id, &ticket));
    engine_claim(&d, &ticket, to, 0, 2, SEGUE_DIGEST_OFF, NULL);
    assert_ok(segue_cache_reset(d.cache[0], NULL));
    bool verdict = false, released = false, group = false;
    struct segue_event e;
    while (segue_event_next(d.agent, &e) == SEGUE_OK) {
        verdict |= e.type == SEGUE_EVENT_VERDICT && e.verdict == SEGUE_VERDICT_CANCELLED;
        released |= e.type == SEGUE_EVENT_RELEASED;
        group |= e.type == SEGUE_EVENT_GROUP;
    }
    assert_true(verdict && released);
    if (!group) /* it may still have dialled */
        engine_event(&d, SEGUE_EVENT_GROUP, 10);
    assert_ok(segue_offer_revoke(p.agent, &id));
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    hand_over(3);
    close_pair();
}

static void hold_the_queue(void *user)
{
    char byte;
    assert_int_equal(read(*(int *)user, &byte, 1), 1);
}

static void *reset(void *done)
{
    assert_ok(segue_cache_reset(p.cache[0], NULL));
    *(_Atomic bool *)done = true;
    return NULL;
}

/* The device still writes the offer's blocks (R14): whoever would free them waits for it. */
static void a_reset_waits_for_the_device(void **state)
{
    open_pair(&sim16, NULL);
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    struct segue_sim_stream *stream;
    assert_ok(segue_sim_stream_create(p.device, &stream));
    assert_ok(segue_sim_launch(stream, hold_the_queue, &gate[0], 0));
    struct segue_sync ready = {SEGUE_SYNC_STREAM, p.device, stream};
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    opts.tokens = TOKENS;
    assert_ok(segue_offer_mint(p.agent, &opts, &id));
    assert_ok(segue_offer_create(p.cache[0], &id, from, 3, &ready));
    pthread_t thread;
    _Atomic bool done = false;
    assert_int_equal(pthread_create(&thread, NULL, reset, &done), 0);
    assert_true(engine_quiet(&p, 0.3));
    assert_false(done);
    assert_status(segue_cache_reset(p.cache[0], NULL), SEGUE_E_BUSY);
    assert_int_equal(write(gate[1], "x", 1), 1);
    pthread_join(thread, NULL);
    engine_event(&p, SEGUE_EVENT_OFFER_ENDED, 10);
    segue_sim_stream_destroy(stream);
    close(gate[0]);
    close(gate[1]);
    close_pair();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(peers_let_go_and_come_back),
    cmocka_unit_test(every_offer_is_revoked),
    cmocka_unit_test(claims_into_the_cache_are_cancelled_and_released),
    cmocka_unit_test(a_reset_waits_for_the_device),
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
