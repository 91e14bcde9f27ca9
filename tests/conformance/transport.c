/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One suite for every transport and every pair of devices that it says it connects:
 * random transfers land exactly where move.h says, and nothing besides is touched.
 */
#include "conformance/pair.h"

#include "base/clock.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

#define LEN    (1 << 20)
#define ROUNDS 24
#define MINUTE (60 * SEGUE_NS_PER_S)

static const char *const devices[] = {"host", "sim:cuda", "sim:xpu", "sim:gaudi",
                                      "sim:tpu"};

/* Who must not be refused; everything else is the transport's to say. */
static const struct {
    const char *row, *producer, *consumer;
} must_work[] = {
    {"shm", "host", "host"},         {"shm", "host", "sim:cuda"},
    {"ipc", "sim:cuda", "sim:cuda"}, {"ipc", "sim:xpu", "sim:xpu"},
    {"cma", "host", "host"},         {"tcp", "host", "host"},
};

static char *source[PAIR_REGIONS], *want[PAIR_REGIONS], *got[PAIR_REGIONS];
static unsigned cells;

static enum segue_op_kind kind_of(const struct segue_transport *t)
{
    if (t->caps & SEGUE_TRANSPORT_MAP)
        return SEGUE_OP_COPY;
    return t->caps & SEGUE_TRANSPORT_READ ? SEGUE_OP_READ : SEGUE_OP_RECV;
}

static void report_difference(size_t region, unsigned seed)
{
    uint64_t k = 0;
    while (got[region][k] == want[region][k])
        k++;
    fail_msg("round %u: byte %lu of region %zu is %02x, want %02x", seed,
             (unsigned long)k, region, (uint8_t)got[region][k], (uint8_t)want[region][k]);
}

static void check_round(struct pair *pair, struct plan *plan, unsigned seed)
{
    struct probe probe;
    enum segue_op_kind kind = kind_of(pair->here.transport);
    bool strided = kind != SEGUE_OP_COPY ||
                   pair->here.device->caps & SEGUE_DEVICE_STRIDED;
    transfer_make(plan, seed, LEN, strided);
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        memset(want[i], (int)seed, LEN);
        end_write(&pair->here, i, want[i], LEN);
    }
    transfer_reference(&plan->t, source, want);
    probe_init(&probe, &pair->here, kind, &plan->t, MINUTE);
    probe.op.tag = seed;
    assert_ok(segue_op_post(pair->here.conn, &probe.op));
    if (kind == SEGUE_OP_RECV)
        pair_ask_send(pair, seed, seed, 0);
    if (probe_wait(&probe, &pair->here) != SEGUE_OK)
        fail_msg("round %u: %s", seed, probe.detail);
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        end_read(&pair->here, i, got[i], LEN);
        if (memcmp(got[i], want[i], LEN))
            report_difference(i, seed);
    }
    assert_int_equal(probe.dones, 1);
}

static bool must_be_connected(const struct pair *pair)
{
    for (size_t i = 0; i < sizeof must_work / sizeof *must_work; i++)
        if (strcmp(must_work[i].row, segue_transport_name(pair->row)) == 0 &&
            strcmp(must_work[i].producer, pair->producer) == 0 &&
            strcmp(must_work[i].consumer, pair->consumer) == 0)
            return true;
    return false;
}

static void check_pair(size_t row, const char *producer, const char *consumer)
{
    struct pair pair = {
        .row = row, .producer = producer, .consumer = consumer, .len = LEN};
    const char *name = segue_transport_name(row);
    if (pair_open(&pair)) {
        struct plan *plan = malloc(sizeof *plan);
        printf("%s: %s to %s\n", name, producer, consumer);
        for (unsigned seed = 1; seed <= ROUNDS; seed++)
            check_round(&pair, plan, seed);
        free(plan);
        cells++;
    } else {
        printf("%s: %s to %s: refused: %s\n", name, producer, consumer, pair.why);
        assert_true(pair.why[0]);
        assert_false(must_be_connected(&pair));
    }
    pair_close(&pair);
}

static void check_row(size_t row)
{
    size_t n = sizeof devices / sizeof *devices;
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        source[i] = malloc(LEN);
        want[i] = malloc(LEN);
        got[i] = malloc(LEN);
        pattern(i, source[i], LEN);
    }
    cells = 0;
    for (size_t p = 0; p < n; p++)
        for (size_t c = 0; c < n; c++)
            check_pair(row, devices[p], devices[c]);
    printf("cells: %u, %d rounds each\n", cells, ROUNDS);
    for (size_t i = 0; i < PAIR_REGIONS; i++) {
        free(source[i]);
        free(want[i]);
        free(got[i]);
    }
}

static void test_shm(void **state)
{
    check_row(0);
}

static void test_ipc(void **state)
{
    check_row(1);
}

static void test_cma(void **state)
{
    check_row(2);
}

static void test_tcp(void **state)
{
    check_row(3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_shm),
    cmocka_unit_test(test_ipc),
    cmocka_unit_test(test_cma),
    cmocka_unit_test(test_tcp),
};
TEST_MAIN(tests)
