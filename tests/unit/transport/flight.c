/* SPDX-License-Identifier: Apache-2.0 */
/* Open operations: each ends once, for the first reason given, and a connection goes
 * when nothing is held any more. The transport is a fake one that does what the test
 * says. */
#include "base/clock.h"
#include "test.h"
#include "transport/transport.h"

#include <stdlib.h>
#include <string.h>

struct fake {
    struct segue_connection conn;
    struct segue_transport transport;
    struct segue_transport_ops ops;
    struct segue_loop *loop;
    int wakes, frees, gones;
};

struct fake_op {
    struct segue_op op;
    int dones;
    enum segue_status status;
};

static struct fake *current;

static void fake_wake(struct segue_connection *conn)
{
    current->wakes++;
}

static void fake_disconnect(struct segue_connection *conn)
{
    segue_flight_fini(conn);
    current->frees++;
}

static void fake_gone(void *user)
{
    current->gones++;
    assert_int_equal(current->frees, 1);
}

static void fake_done(struct segue_op *op, enum segue_status status)
{
    struct fake_op *f = (struct fake_op *)op;
    f->dones++;
    f->status = status;
}

static void fake_open(struct fake *f)
{
    memset(f, 0, sizeof *f);
    current = f;
    assert_ok(segue_loop_create(&f->loop));
    f->ops = (struct segue_transport_ops){.wake = fake_wake,
                                          .disconnect = fake_disconnect};
    f->transport = (struct segue_transport){.ops = &f->ops, .name = "fake"};
    f->conn.transport = &f->transport;
    segue_flight_init(&f->conn, f->loop);
}

static void begin(struct fake *f, struct fake_op *op, uint64_t deadline_ns)
{
    memset(op, 0, sizeof *op);
    op->op.done = fake_done;
    op->op.deadline_ns = deadline_ns;
    assert_ok(segue_flight_begin(&f->conn, &op->op));
}

static void close_and_wait(struct fake *f)
{
    segue_flight_close(&f->conn, fake_gone, NULL);
    assert_int_equal(f->gones, 0);
    while (!f->gones)
        segue_loop_turn(f->loop, -1);
    segue_loop_destroy(f->loop);
    assert_int_equal(f->gones, 1);
}

static void test_first_reason_counts(void **state)
{
    struct fake f;
    struct fake_op op[3];
    fake_open(&f);
    for (int i = 0; i < 3; i++)
        begin(&f, &op[i], SEGUE_NEVER);
    segue_op_cancel(&op[0].op);
    segue_flight_stop(&op[0].op, SEGUE_E_TIMEOUT);
    assert_int_equal(op[0].op.stop, SEGUE_E_CANCELLED);
    assert_true(op[0].op.job.cancelled);
    assert_int_equal(op[0].dones, 0);
    segue_flight_end(&op[0].op, SEGUE_E_DEVICE);
    assert_int_equal(op[0].status, SEGUE_E_CANCELLED);
    segue_op_cancel(&op[1].op);
    segue_flight_end(&op[1].op, SEGUE_OK); /* the last byte was quicker */
    assert_int_equal(op[1].status, SEGUE_OK);
    segue_flight_end(&op[2].op, SEGUE_E_DEVICE); /* nobody stopped it */
    assert_int_equal(op[2].status, SEGUE_E_DEVICE);
    segue_op_cancel(&op[2].op); /* harmless afterwards */
    for (int i = 0; i < 3; i++)
        assert_int_equal(op[i].dones, 1);
    close_and_wait(&f);
}

static void test_deadlines(void **state)
{
    struct fake f;
    struct fake_op early, late, never;
    fake_open(&f);
    uint64_t now = segue_now_ns();
    begin(&f, &never, SEGUE_NEVER);
    begin(&f, &late, now + 3600 * SEGUE_NS_PER_S);
    begin(&f, &early, now + SEGUE_NS_PER_MS);
    while (!early.op.stop)
        segue_loop_turn(f.loop, -1);
    assert_true(segue_now_ns() >= now + SEGUE_NS_PER_MS);
    assert_int_equal(early.op.stop, SEGUE_E_TIMEOUT);
    assert_int_equal(late.op.stop, 0);
    assert_int_equal(never.op.stop, 0);
    assert_int_equal(f.wakes, 1);
    assert_true(f.conn.flight.armed_ns == late.op.deadline_ns);
    segue_flight_end(&early.op, SEGUE_E_INTERNAL);
    assert_int_equal(early.status, SEGUE_E_TIMEOUT);
    assert_non_null(strstr(segue_error_detail(), "deadline"));
    segue_flight_end(&late.op, SEGUE_OK);
    segue_flight_end(&never.op, SEGUE_OK);
    close_and_wait(&f);
}

static void test_close_waits_for_what_is_held(void **state)
{
    struct fake f;
    struct fake_op op;
    fake_open(&f);
    begin(&f, &op, SEGUE_NEVER);
    assert_true(segue_flight_hold(&f.conn));
    segue_flight_close(&f.conn, fake_gone, NULL);
    assert_int_equal(op.op.stop, SEGUE_E_CANCELLED);
    struct fake_op refused = {.op.done = fake_done};
    assert_status(segue_flight_begin(&f.conn, &refused.op), SEGUE_E_LOST);
    segue_flight_end(&op.op, SEGUE_E_CANCELLED);
    segue_loop_turn(f.loop, 0);
    assert_int_equal(f.frees, 0);
    segue_flight_release(&f.conn);
    assert_false(segue_flight_hold(&f.conn)); /* too late */
    segue_loop_turn(f.loop, 0);
    assert_int_equal(f.frees, 1);
    assert_int_equal(f.gones, 1);
    segue_loop_destroy(f.loop);
}

static void test_break(void **state)
{
    struct fake f;
    struct fake_op op, refused = {.op.done = fake_done};
    fake_open(&f);
    begin(&f, &op, SEGUE_NEVER);
    segue_flight_break(&f.conn);
    assert_status(segue_flight_begin(&f.conn, &refused.op), SEGUE_E_LOST);
    segue_flight_end(&op.op, op.op.stop);
    assert_int_equal(op.status, SEGUE_E_LOST);
    close_and_wait(&f);
    assert_int_equal(refused.dones, 0);
}

static void test_abandon(void **state)
{
    struct fake f;
    struct fake_op op;
    fake_open(&f);
    begin(&f, &op, SEGUE_NEVER);
    segue_flight_abandon(&op.op);
    close_and_wait(&f);
    assert_int_equal(op.dones, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_first_reason_counts),
    cmocka_unit_test(test_deadlines),
    cmocka_unit_test(test_close_waits_for_what_is_held),
    cmocka_unit_test(test_break),
    cmocka_unit_test(test_abandon),
};
TEST_MAIN(tests)
