/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds and sizes of transfers, and the order a cursor walks them in. */
#include "test.h"
#include "base/move.h"

#include <segue/layout.h>

/* Two blocks of 4 tokens x 2 heads of 8 bytes, heads in a dim, to the same with tokens
 * and heads the other way round. */
static struct segue_move turn(void)
{
    return (struct segue_move){.src_block = 64,
                               .dst_block = 64,
                               .src_token = 16,
                               .dst_token = 8,
                               .run = 8,
                               .dims = 1,
                               .dim = {{2, 8, 32}}};
}

static enum segue_status check(const struct segue_move *move,
                               const struct segue_span *span, uint64_t src, uint64_t dst)
{
    struct segue_transfer t = {move, 1, span, 1};
    struct segue_extent from = {.len = src}, to = {.len = dst};
    return segue_transfer_check(&t, &from, 1, &to, 1);
}

static void the_last_byte_decides(void **state)
{
    struct segue_move move = turn();
    struct segue_span span = {1, 0, 1, 0, 4};
    assert_ok(check(&move, &span, 128, 128));
    assert_status(check(&move, &span, 127, 128), SEGUE_E_RANGE);
    assert_status(check(&move, &span, 128, 127), SEGUE_E_RANGE);
    span.tokens = 3;
    assert_ok(check(&move, &span, 112, 120));
    span.tokens = 0;
    assert_ok(check(&move, &span, 0, 0));
}

/* The furthest block and the furthest token belong to different spans: only together
 * would they be outside. */
static void corners_no_span_reaches_are_fine(void **state)
{
    struct segue_move move = turn();
    struct segue_span spans[] = {{0, 0, 0, 0, 4}, {1, 0, 1, 0, 1}};
    struct segue_transfer t = {&move, 1, spans, 2};
    struct segue_extent from = {.len = 64 + 16}, to = {.len = 64 + 32 + 8};
    assert_ok(segue_transfer_check(&t, &from, 1, &to, 1));
    spans[1].tokens = 2;
    assert_status(segue_transfer_check(&t, &from, 1, &to, 1), SEGUE_E_RANGE);
}

static void overflow_is_outside(void **state)
{
    struct segue_span far = {UINT32_MAX, UINT32_MAX, 0, 0, UINT32_MAX};
    struct segue_move move = turn();
    move.src_block = UINT64_MAX / 2;
    assert_status(check(&move, &far, UINT64_MAX, UINT64_MAX), SEGUE_E_RANGE);
    move = turn();
    move.src_offset = UINT64_MAX - 3;
    struct segue_span near = {0, 0, 0, 0, 1};
    assert_status(check(&move, &near, UINT64_MAX, UINT64_MAX), SEGUE_E_RANGE);
    move = turn();
    move.dim[0] = (struct segue_dim){UINT32_MAX, UINT64_MAX, 0};
    assert_status(check(&move, &near, UINT64_MAX, UINT64_MAX), SEGUE_E_RANGE);
    move = turn();
    move.dst_region = 1;
    assert_status(check(&move, &near, 1024, 1024), SEGUE_E_RANGE);
    move = turn();
    move.dims = SEGUE_MOVE_DIMS + 1;
    assert_status(check(&move, &near, 1024, 1024), SEGUE_E_RANGE);
}

static void conversion_scales_the_destination(void **state)
{
    struct segue_move move = {.run = 8, .from = SEGUE_DTYPE_BF16, .to = SEGUE_DTYPE_FP32};
    struct segue_span span = {.tokens = 1};
    assert_ok(check(&move, &span, 8, 16));
    assert_status(check(&move, &span, 8, 15), SEGUE_E_RANGE);
    move.run = 7;
    assert_status(check(&move, &span, 8, 16), SEGUE_E_RANGE);
    move.run = 8;
    move.to = 9;
    assert_status(check(&move, &span, 8, 16), SEGUE_E_RANGE);
    move.to = SEGUE_DTYPE_BYTES;
    assert_status(check(&move, &span, 8, 16), SEGUE_E_RANGE);
}

static void bytes_are_counted(void **state)
{
    struct segue_move moves[] = {turn(), turn()};
    moves[1].dim[0].count = 3;
    struct segue_span spans[] = {{.tokens = 4}, {.tokens = 1}};
    struct segue_transfer t = {moves, 2, spans, 2};
    assert_int_equal(segue_transfer_bytes(&t), 5 * 8 * (2 + 3));
    assert_false(segue_transfer_converts(&t));
    moves[1].to = SEGUE_DTYPE_FP32;
    assert_true(segue_transfer_converts(&t));
    moves[0].dims = 4;
    for (int i = 0; i < 4; i++)
        moves[0].dim[i].count = UINT32_MAX;
    assert_int_equal(segue_transfer_bytes(&t), UINT64_MAX);
}

static void expect_piece(struct segue_cursor *c, uint64_t max, uint64_t src, uint64_t dst,
                         uint64_t len)
{
    struct segue_piece piece;
    assert_true(segue_cursor_next(c, max, &piece));
    assert_int_equal(piece.src_offset, src);
    assert_int_equal(piece.dst_offset, dst);
    assert_int_equal(piece.len, len);
}

static void cursor_keeps_the_written_order(void **state)
{
    struct segue_move move = turn();
    struct segue_span spans[] = {{1, 0, 0, 0, 2}, {0, 3, 0, 2, 1}};
    struct segue_transfer t = {&move, 1, spans, 2};
    struct segue_cursor c;
    struct segue_piece piece;
    segue_cursor_init(&c, &t);
    expect_piece(&c, 0, 64, 0, 8);
    expect_piece(&c, 0, 80, 8, 8);
    expect_piece(&c, 0, 72, 32, 8);
    expect_piece(&c, 0, 88, 40, 8);
    expect_piece(&c, 0, 48, 16, 8);
    expect_piece(&c, 0, 56, 48, 8);
    assert_false(segue_cursor_next(&c, 0, &piece));
    assert_false(segue_cursor_next(&c, 0, &piece));

    move.outer = 1;
    segue_cursor_init(&c, &t);
    expect_piece(&c, 0, 64, 0, 8);
    expect_piece(&c, 0, 80, 8, 8);
    expect_piece(&c, 0, 48, 16, 8);
    expect_piece(&c, 0, 72, 32, 8);
}

static void cursor_merges_and_cuts(void **state)
{
    struct segue_move move = {
        .src_block = 64, .dst_block = 64, .src_token = 16, .dst_token = 16, .run = 16};
    struct segue_span spans[] = {{2, 0, 5, 0, 4}, {3, 0, 6, 0, 4}, {0, 0, 7, 0, 1}};
    struct segue_transfer t = {&move, 1, spans, 3};
    struct segue_cursor c;
    struct segue_piece piece;
    segue_cursor_init(&c, &t);
    expect_piece(&c, 100, 128, 320, 100);
    expect_piece(&c, 100, 228, 420, 28);
    expect_piece(&c, 100, 0, 448, 16);
    assert_false(segue_cursor_next(&c, 100, &piece));
    segue_cursor_init(&c, &t);
    expect_piece(&c, 0, 128, 320, 128);
}

static void cursor_ends_at_once_without_tokens(void **state)
{
    struct segue_move move = turn();
    move.dim[0].count = UINT32_MAX;
    struct segue_span spans[] = {{0}, {0}};
    struct segue_transfer t = {&move, 1, spans, 2};
    struct segue_cursor c;
    struct segue_piece piece;
    segue_cursor_init(&c, &t);
    assert_false(segue_cursor_next(&c, 0, &piece));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_last_byte_decides),
    cmocka_unit_test(corners_no_span_reaches_are_fine),
    cmocka_unit_test(overflow_is_outside),
    cmocka_unit_test(conversion_scales_the_destination),
    cmocka_unit_test(bytes_are_counted),
    cmocka_unit_test(cursor_keeps_the_written_order),
    cmocka_unit_test(cursor_merges_and_cuts),
    cmocka_unit_test(cursor_ends_at_once_without_tokens),
};
TEST_MAIN(tests)
