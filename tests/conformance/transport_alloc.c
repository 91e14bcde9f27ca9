/* SPDX-License-Identifier: Apache-2.0 */
/* The transfer path allocates nothing: from post to done no thread of the process
 * calls malloc. */
#include "alloc_count.h"
#include "conformance/pair.h"

#include "base/clock.h"
#include "test.h"

#define LEN    (8 << 20)
#define MINUTE (60 * SEGUE_NS_PER_S)

static struct plan plan;

static void transfer(struct pair *pair, enum segue_op_kind kind, uint64_t tag)
{
    static struct probe probe;
    probe_init(&probe, &pair->here, kind, &plan.t, MINUTE);
    probe.op.tag = tag;
    if (segue_op_post(pair->here.conn, &probe.op) < 0)
        fail_msg("%s", segue_error_detail());
    if (kind == SEGUE_OP_RECV)
        pair_ask_send(pair, tag, 3, 0);
    if (probe_wait(&probe, &pair->here) != SEGUE_OK)
        fail_msg("%s", probe.detail);
}

static void check_row(size_t row, enum segue_op_kind kind)
{
#if !ALLOC_COUNTED
    skip_because("the sanitizer owns malloc");
#endif
    /* One thread, so that the first transfer has started all there are. */
    struct pair pair = {
        .row = row, .producer = "host", .consumer = "host", .len = LEN, .threads = 1};
    if (!pair_open(&pair))
        fail_msg("%s", pair.why);
    transfer_make(&plan, 3, LEN, true);
    assert_true(plan.t.n_spans > 0 && plan.t.n_moves > 0);
    uint64_t tag = 1;
    for (; tag <= 4; tag++) /* start what starts once */
        transfer(&pair, kind, tag);
    uint64_t before = alloc_count();
    for (; tag <= 40; tag++)
        transfer(&pair, kind, tag);
    assert_int_equal(alloc_count() - before, 0);
    pair_close(&pair);
}

static void test_shm(void **state)
{
    check_row(0, SEGUE_OP_COPY);
}

static void test_cma(void **state)
{
    check_row(2, SEGUE_OP_READ);
}

static void test_tcp(void **state)
{
    check_row(3, SEGUE_OP_RECV);
}

static void test_counts(void **state)
{
#if !ALLOC_COUNTED
    skip_because("the sanitizer owns malloc");
#endif
    uint64_t before = alloc_count();
    void *volatile memory = malloc(1);
    free(memory);
    assert_int_equal(alloc_count() - before, 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_counts),
    cmocka_unit_test(test_shm),
    cmocka_unit_test(test_cma),
    cmocka_unit_test(test_tcp),
};
TEST_MAIN(tests)
