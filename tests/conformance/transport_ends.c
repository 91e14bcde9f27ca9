/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How operations end when something goes wrong: cancel, deadline, a peer that is stopped,
 * killed or withdraws its memory, a connection that closes. Every one ends exactly once,
 * and after that no byte of it lands.
 */
#include "conformance/pair.h"

#include "base/clock.h"
#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define LEN    (32 << 20)
#define PARTS  4
#define MINUTE (60 * SEGUE_NS_PER_S)

enum { SHM, IPC, CMA, TCP };

static struct plan plan; /* of the operation that is open */

static enum segue_op_kind kind_of(size_t row)
{
    return row == TCP ? SEGUE_OP_RECV : row == CMA ? SEGUE_OP_READ : SEGUE_OP_COPY;
}

static struct pair open_pair(size_t row)
{
    struct pair pair = {.row = row, .producer = "host", .consumer = "host", .len = LEN};
    if (!pair_open(&pair))
        fail_msg("%s", pair.why);
    return pair;
}

static void post(struct pair *pair, struct probe *probe, struct plan *with,
                 uint64_t timeout_ns, uint64_t tag)
{
    probe_init(probe, &pair->here, kind_of(pair->row), &with->t, timeout_ns);
    probe->op.tag = tag;
    assert_ok(segue_op_post(pair->here.conn, &probe->op));
}

static void post_plain(struct pair *pair, struct probe *probe, uint64_t bytes,
                       uint64_t timeout_ns, uint64_t tag)
{
    transfer_plain(&plan, bytes);
    post(pair, probe, &plan, timeout_ns, tag);
}

/* Several that are open at once, each into a part of its own. */
static void post_parts(struct pair *pair, struct probe *probe, size_t n)
{
    static struct plan plans[PARTS];
    for (size_t i = 0; i < n; i++) {
        transfer_plain(&plans[i], LEN / PARTS);
        plans[i].moves[0].dst_offset = i * (LEN / PARTS);
        post(pair, &probe[i], &plans[i], MINUTE, i + 1);
    }
}

static bool is_pattern(const struct pair *pair, uint64_t bytes)
{
    static char *want;
    if (!want) {
        want = malloc(LEN);
        pattern(0, want, LEN);
    }
    return memcmp(pair->here.memory[0], want, bytes) == 0;
}

/* The destination was filled with `mark` after an operation's end, and still is. */
static void check_untouched(struct pair *pair, uint8_t mark)
{
    const uint8_t *at = pair->here.memory[0];
    if (at[0] != mark || memcmp(at, at + 1, LEN - 1) != 0)
        fail_msg("bytes landed after the end");
}

static void check_next(struct pair *pair, uint64_t tag)
{
    struct probe probe;
    post_plain(pair, &probe, 1 << 20, MINUTE, tag);
    if (pair->row == TCP)
        pair_ask_send(pair, tag, 0, 1 << 20);
    if (probe_wait(&probe, &pair->here) != SEGUE_OK)
        fail_msg("the next operation: %s", probe.detail);
    assert_true(is_pattern(pair, 1 << 20));
}

/* Cancelled somewhere in the middle, many times: each ends once; then nothing lands. */
static void check_cancel(size_t row)
{
    struct pair pair = open_pair(row);
    unsigned cancelled = 0;
    for (uint64_t round = 1; round <= 12; round++) {
        struct probe probe;
        post_plain(&pair, &probe, LEN, MINUTE, round);
        if (row == TCP)
            pair_ask_send(&pair, round, 0, LEN);
        uint64_t until = segue_now_ns() + round * SEGUE_NS_PER_MS / 2;
        while (segue_now_ns() < until && !probe.ended)
            segue_loop_turn(pair.here.loop, 0);
        segue_op_cancel(&probe.op);
        segue_op_cancel(&probe.op);
        enum segue_status status = probe_wait(&probe, &pair.here);
        if (status != SEGUE_OK)
            assert_int_equal(status, SEGUE_E_CANCELLED);
        cancelled += status == SEGUE_E_CANCELLED;
        memset(pair.here.memory[0], (int)round, LEN);
        segue_op_cancel(&probe.op);
        if (row == TCP)
            pair_ask_status(&pair); /* its bytes are all on the way */
        assert_int_equal(probe.dones, 1);
        check_untouched(&pair, (uint8_t)round);
    }
    assert_true(cancelled > 0);
    check_next(&pair, 100);
    pair_close(&pair);
}

static void test_cancel_shm(void **state)
{
    check_cancel(SHM);
}

static void test_cancel_cma(void **state)
{
    check_cancel(CMA);
}

static void test_cancel_tcp(void **state)
{
    check_cancel(TCP);
}

/* The sender gives up: the receiver learns it, and the stream goes on. */
static void test_cancel_of_a_send(void **state)
{
    struct pair pair = open_pair(TCP);
    unsigned cancelled = 0;
    for (uint64_t tag = 1; tag <= 8; tag++) {
        struct probe probe;
        post_plain(&pair, &probe, LEN, MINUTE, tag);
        pair_ask_send(&pair, tag, 0, LEN);
        while (probe.op.moved == 0 && !probe.ended)
            segue_loop_turn(pair.here.loop, SEGUE_NS_PER_MS);
        pair_ask_cancel(&pair);
        enum segue_status status = probe_wait(&probe, &pair.here);
        if (status == SEGUE_OK)
            assert_true(is_pattern(&pair, LEN));
        else
            assert_int_equal(status, SEGUE_E_CANCELLED);
        enum segue_status theirs = pair_ask_status(&pair);
        assert_int_equal(theirs, status);
        cancelled += status != SEGUE_OK;
    }
    assert_true(cancelled > 0);
    check_next(&pair, 100);
    pair_close(&pair);
}

/* A stopped process is not dead: the deadline ends the operation, late bytes go
 * nowhere. */
static void test_deadline_of_a_stopped_peer(void **state)
{
    struct pair pair = open_pair(TCP);
    struct probe probe;
    kill(pair.child, SIGSTOP);
    post_plain(&pair, &probe, LEN, 50 * SEGUE_NS_PER_MS, 1);
    pair_ask_send(&pair, 1, 0, LEN);
    assert_int_equal(probe_wait(&probe, &pair.here), SEGUE_E_TIMEOUT);
    assert_non_null(strstr(probe.detail, "deadline"));
    memset(pair.here.memory[0], 0x5a, LEN);
    kill(pair.child, SIGCONT);
    assert_int_equal(pair_ask_status(&pair), SEGUE_OK);
    check_untouched(&pair, 0x5a);
    check_next(&pair, 2);
    pair_close(&pair);
}

static void check_passed_deadline(size_t row)
{
    struct pair pair = open_pair(row);
    struct probe probe;
    transfer_plain(&plan, LEN);
    probe_init(&probe, &pair.here, kind_of(row), &plan.t, 0);
    assert_ok(segue_op_post(pair.here.conn, &probe.op));
    enum segue_status status = probe_wait(&probe, &pair.here);
    assert_true(status == SEGUE_E_TIMEOUT || (row != TCP && status == SEGUE_OK));
    pair_close(&pair);
}

static void test_deadline_already_passed(void **state)
{
    check_passed_deadline(SHM);
    check_passed_deadline(CMA);
    check_passed_deadline(TCP);
}

static void kill_and_wait(struct pair *pair)
{
    siginfo_t info;
    kill(pair->child, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pair->child, &info, WEXITED | WNOWAIT), 0);
}

static void test_killed_peer_tcp(void **state)
{
    struct pair pair = open_pair(TCP);
    struct probe probe[PARTS];
    post_parts(&pair, probe, PARTS);
    pair_ask_send(&pair, 1, 0, LEN / PARTS);
    while (probe[0].op.moved == 0 && !probe[0].ended)
        segue_loop_turn(pair.here.loop, SEGUE_NS_PER_MS);
    kill_and_wait(&pair);
    for (size_t i = 0; i < PARTS; i++) {
        enum segue_status status = probe_wait(&probe[i], &pair.here);
        assert_true(status == SEGUE_E_LOST || (i == 0 && status == SEGUE_OK));
        assert_int_equal(probe[i].dones, 1);
    }
    transfer_plain(&plan, LEN);
    probe_init(&probe[0], &pair.here, SEGUE_OP_RECV, &plan.t, MINUTE);
    assert_status(segue_op_post(pair.here.conn, &probe[0].op), SEGUE_E_LOST);
    pair_close(&pair);
}

static void test_killed_peer_cma(void **state)
{
    struct pair pair = open_pair(CMA);
    struct probe probe;
    post_plain(&pair, &probe, LEN, MINUTE, 0);
    kill_and_wait(&pair);
    enum segue_status status = probe_wait(&probe, &pair.here);
    assert_true(status == SEGUE_E_LOST || status == SEGUE_OK);
    post_plain(&pair, &probe, LEN, MINUTE, 0);
    assert_int_equal(probe_wait(&probe, &pair.here), SEGUE_E_LOST);
    pair_close(&pair);
}

/* Mapped memory outlives who made it: nothing crashes, the bytes are what they were. */
static void test_killed_peer_shm(void **state)
{
    struct pair pair = open_pair(SHM);
    kill_and_wait(&pair);
    check_next(&pair, 0);
    pair_close(&pair);
}

static void test_withdrawn_memory_cma(void **state)
{
    struct pair pair = open_pair(CMA);
    struct probe probe;
    check_next(&pair, 0);
    pair_ask_withdraw(&pair);
    post_plain(&pair, &probe, LEN, MINUTE, 0);
    assert_int_equal(probe_wait(&probe, &pair.here), SEGUE_E_STALE);
    pair_close(&pair);
}

static void note_gone(void *user)
{
    *(bool *)user = true;
}

/* Closing ends what is open; then nothing of the connection lands any more. */
static void check_close(size_t row)
{
    struct pair pair = open_pair(row);
    struct probe probe[PARTS];
    bool gone = false;
    post_parts(&pair, probe, PARTS);
    if (row == TCP)
        pair_ask_send(&pair, 1, 0, LEN / PARTS);
    segue_connection_close(pair.here.conn, note_gone, &gone);
    assert_false(gone);
    struct probe late;
    transfer_plain(&plan, LEN);
    probe_init(&late, &pair.here, kind_of(row), &plan.t, MINUTE);
    assert_status(segue_op_post(pair.here.conn, &late.op), SEGUE_E_LOST);
    while (!gone)
        segue_loop_turn(pair.here.loop, -1);
    pair.here.conn = NULL;
    if (row == TCP)
        pair.stream = -1;
    for (size_t i = 0; i < PARTS; i++) {
        assert_int_equal(probe[i].dones, 1);
        assert_true(probe[i].status == SEGUE_E_CANCELLED || probe[i].status == SEGUE_OK);
    }
    memset(pair.here.memory[0], 0x77, LEN);
    check_untouched(&pair, 0x77);
    pair_close(&pair);
}

static void test_close(void **state)
{
    check_close(SHM);
    check_close(CMA);
    check_close(TCP);
}

/* A post that cannot be is refused before anything moves, and calls no done. */
static void check_refusals(size_t row)
{
    struct pair pair = open_pair(row);
    struct probe probe;
    transfer_plain(&plan, LEN);
    plan.moves[0].dst_offset = 1;
    probe_init(&probe, &pair.here, kind_of(row), &plan.t, MINUTE);
    assert_status(segue_op_post(pair.here.conn, &probe.op), SEGUE_E_RANGE);
    transfer_plain(&plan, LEN);
    plan.moves[0].dst_region = PAIR_REGIONS;
    assert_status(segue_op_post(pair.here.conn, &probe.op), SEGUE_E_RANGE);
    plan.moves[0].dst_region = 0;
    probe.op.n_local = SEGUE_OP_REGIONS + 1;
    assert_status(segue_op_post(pair.here.conn, &probe.op), SEGUE_E_LIMIT);
    probe.op.n_local = PAIR_REGIONS;
    probe.op.kind = row == TCP ? SEGUE_OP_COPY : SEGUE_OP_SEND;
    assert_status(segue_op_post(pair.here.conn, &probe.op), SEGUE_E_UNSUPPORTED);
    assert_int_equal(probe.dones, 0);
    pair_close(&pair);
}

static void test_refusals(void **state)
{
    check_refusals(SHM);
    check_refusals(CMA);
    check_refusals(TCP);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_cancel_shm),
    cmocka_unit_test(test_cancel_cma),
    cmocka_unit_test(test_cancel_tcp),
    cmocka_unit_test(test_cancel_of_a_send),
    cmocka_unit_test(test_deadline_of_a_stopped_peer),
    cmocka_unit_test(test_deadline_already_passed),
    cmocka_unit_test(test_killed_peer_tcp),
    cmocka_unit_test(test_killed_peer_cma),
    cmocka_unit_test(test_killed_peer_shm),
    cmocka_unit_test(test_withdrawn_memory_cma),
    cmocka_unit_test(test_close),
    cmocka_unit_test(test_refusals),
};
TEST_MAIN(tests)
