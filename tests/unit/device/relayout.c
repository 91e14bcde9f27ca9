/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's corners: rows at every alignment, conversions, and long rows in chunks.
 * Shapes and layouts are the property suite's. */
#include "test.h"
#include "device/convert.h"
#include "device/relayout.h"
#include "device/rows.h"

#include <math.h>
#include <segue/layout.h>
#include <stdlib.h>
#include <string.h>

/* Table number i if this CPU runs it; past the last, `end`. */
static const struct segue_rows_ops *table(unsigned i, bool *end)
{
    bool runs = false;
    const struct segue_rows_ops *ops = segue_rows_table(i, &runs);
    *end = ops == NULL;
    if (ops && !runs)
        printf("not tested here: %s, which this CPU has not\n", ops->name);
    return runs ? ops : NULL;
}

enum { ROWS = 3, OUTER = 2, ROOM = 8 << 10 };

struct picture {
    char from[SEGUE_STREAMS][ROOM], to[SEGUE_STREAMS][ROOM], want[SEGUE_STREAMS][ROOM];
};

/* Sets of ROWS x OUTER rows, `shift` off their lines, and what is to come of them. */
static void draw(struct picture *p, struct segue_rows *sets, uint64_t run, uint64_t from,
                 uint64_t to)
{
    uint64_t step = (run + SEGUE_LINE) / SEGUE_LINE * SEGUE_LINE;
    memset(p->to, 0, sizeof p->to);
    memset(p->want, 0, sizeof p->want);
    for (int k = 0; k < SEGUE_STREAMS; k++) {
        for (int i = 0; i < ROOM; i++)
            p->from[k][i] = (char)(i * 31 + 7 * k + 1);
        sets[k] = (struct segue_rows){.dst = p->to[k] + to,
                                      .src = p->from[k] + from,
                                      .run = run,
                                      .inner = {ROWS, run + 5, step},
                                      .outer = {OUTER, ROWS * (run + 9), ROWS * step}};
        for (uint64_t o = 0; o < OUTER; o++)
            for (uint64_t i = 0; i < ROWS; i++)
                memcpy(p->want[k] + to + o * ROWS * step + i * step,
                       p->from[k] + from + o * ROWS * (run + 9) + i * (run + 5), run);
    }
}

static struct picture picture __attribute__((aligned(SEGUE_LINE)));

/* Every alignment of source, destination and run around lines and vectors, with guards. */
static void rows_at_every_alignment(void **state)
{
    static const uint64_t runs[] = {1,  7,   8,   16,  31,  32,  33,  63,  64,  65,
                                    96, 127, 128, 160, 256, 511, 512, 513, 700, 1024};
    bool end;
    for (unsigned t = 0; table(t, &end) || !end; t++)
        for (size_t r = 0; table(t, &end) && r < sizeof runs / sizeof *runs; r++)
            for (uint64_t from = 0; from < 64; from += 9)
                for (uint64_t to = 0; to < 64; to += 8) {
                    struct segue_rows sets[SEGUE_STREAMS];
                    draw(&picture, sets, runs[r], from, to);
                    for (int k = 0; k < SEGUE_STREAMS; k++)
                        table(t, &end)->copy(&sets[k]);
                    assert_memory_equal(picture.to, picture.want, sizeof picture.to);
                }
}

static void sets_of_rows_in_turn(void **state)
{
    static const uint64_t runs[] = {64, 128, 192, 256, 320, 512, 576, 1024};
    bool end;
    for (unsigned t = 0; table(t, &end) || !end; t++)
        for (size_t r = 0; table(t, &end) && r < sizeof runs / sizeof *runs; r++)
            for (uint64_t from = 0; from < 64; from += 9)
                for (unsigned n = 1; n <= SEGUE_STREAMS; n++) {
                    struct segue_rows sets[SEGUE_STREAMS];
                    draw(&picture, sets, runs[r], from, 0);
                    memset(picture.want + n, 0, (SEGUE_STREAMS - n) * ROOM);
                    table(t, &end)->stream(sets, n, ROWS, OUTER);
                    table(t, &end)->fence();
                    assert_memory_equal(picture.to, picture.want, sizeof picture.to);
                }
}

static float number(uint16_t bits, int type)
{
    float out;
    segue_convert(&segue_rows_portable, (char *)&out, SEGUE_DTYPE_FP32,
                  (const char *)&bits, type, 1, 0);
    return out;
}

static uint16_t bits(float value, int type)
{
    uint16_t out;
    segue_convert(&segue_rows_portable, (char *)&out, type, (const char *)&value,
                  SEGUE_DTYPE_FP32, 1, 0);
    return out;
}

static void known_numbers(void **state)
{
    assert_true(number(0x3c00, SEGUE_DTYPE_FP16) == 1.0F);
    assert_true(number(0xc000, SEGUE_DTYPE_FP16) == -2.0F);
    assert_true(number(0x7bff, SEGUE_DTYPE_FP16) == 65504.0F);
    assert_true(number(0x0001, SEGUE_DTYPE_FP16) == 0x1p-24F);
    assert_true(isinf(number(0x7c00, SEGUE_DTYPE_FP16)));
    assert_true(isnan(number(0x7e01, SEGUE_DTYPE_FP16)));
    assert_true(number(0x3f80, SEGUE_DTYPE_BF16) == 1.0F);
    assert_int_equal(bits(1.0F, SEGUE_DTYPE_FP16), 0x3c00);
    assert_int_equal(bits(65519.0F, SEGUE_DTYPE_FP16), 0x7bff);
    assert_int_equal(bits(65520.0F, SEGUE_DTYPE_FP16), 0x7c00);
    assert_int_equal(bits(-1e9F, SEGUE_DTYPE_FP16), 0xfc00);
    assert_int_equal(bits(0x1p-25F, SEGUE_DTYPE_FP16), 0x0000); /* tie, to even */
    assert_int_equal(bits(0x1.8p-24F, SEGUE_DTYPE_FP16), 0x0002);
    assert_int_equal(bits(0x1.004p0F, SEGUE_DTYPE_FP16), 0x3c01);
    assert_int_equal(bits(0x1.002p0F, SEGUE_DTYPE_FP16), 0x3c00);
    assert_int_equal(bits(0x1.01p0F, SEGUE_DTYPE_BF16), 0x3f80); /* tie, to even */
    assert_int_equal(bits(0x1.03p0F, SEGUE_DTYPE_BF16), 0x3f82);
    assert_int_equal(bits(0x1.fffffep127F, SEGUE_DTYPE_BF16), 0x7f80);
    assert_true(isnan(number(bits(NAN, SEGUE_DTYPE_BF16), SEGUE_DTYPE_BF16)));
    assert_true(isnan(number(bits(NAN, SEGUE_DTYPE_FP16), SEGUE_DTYPE_FP16)));
}

/* Where the CPU converts by itself it agrees with the portable code, bit by bit. */
static void all_tables_convert_alike(void **state)
{
    enum { N = 1 << 16 };
    static uint16_t half[N], back[2][N];
    static float wide[2][N], values[N];
    const struct segue_rows_ops *plain = &segue_rows_portable, *ops;
    bool end;
    for (int i = 0; i < N; i++)
        half[i] = (uint16_t)i;
    for (unsigned t = 1; (ops = table(t, &end)) || !end; t++) {
        if (!ops)
            continue;
        plain->half_to_float(wide[0], half, N);
        ops->half_to_float(wide[1], half, N);
        assert_memory_equal(wide[0], wide[1], sizeof wide[0]);
        plain->brain_to_float(wide[0], half, N);
        ops->brain_to_float(wide[1], half, N);
        assert_memory_equal(wide[0], wide[1], sizeof wide[0]);
        uint32_t seed = 1;
        for (int round = 0; round < 40; round++) {
            for (int i = 0; i < N; i++) {
                seed = seed * 1664525 + 1013904223;
                uint32_t raw = seed;
                if (round & 1) /* around what 16 bits can say */
                    raw = (raw & 0x80ffffff) | (0x30 + (uint32_t)(i % 0x20)) << 24;
                memcpy(&values[i], &raw, 4);
            }
            plain->float_to_half(back[0], values, N);
            ops->float_to_half(back[1], values, N);
            assert_memory_equal(back[0], back[1], sizeof back[0]);
            plain->float_to_brain(back[0], values, N);
            ops->float_to_brain(back[1], values, N);
            assert_memory_equal(back[0], back[1], sizeof back[0]);
        }
    }
}

static void numbers_survive_what_can_hold_them(void **state)
{
    static const int types[] = {SEGUE_DTYPE_FP32, SEGUE_DTYPE_FP16, SEGUE_DTYPE_BF16};
    float values[600], seen[600];
    char there[2400 + 1], back[2400 + 1];
    for (int i = 0; i < 600; i++)
        values[i] = (float)(i % 256 - 128) / 4; /* exact in every type */
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
            segue_convert(segue_rows_pick(), there + 1, types[a], (char *)values,
                          SEGUE_DTYPE_FP32, 600, 0);
            segue_convert(segue_rows_pick(), back + 1, types[b], there + 1, types[a], 600,
                          0);
            segue_convert(segue_rows_pick(), (char *)seen, SEGUE_DTYPE_FP32, back + 1,
                          types[b], 600, 0);
            for (int i = 0; i < 600; i++)
                assert_true(seen[i] == values[i]);
        }
}

/* A conversion with strides: bf16 token-major to fp32 head-major, in small chunks. */
static void conversion_on_the_way(void **state)
{
    enum { TOKENS = 20, HEADS = 3, SIZE = 24 };
    uint16_t from[TOKENS][HEADS][SIZE];
    float to[HEADS][TOKENS][SIZE] = {0};
    for (int i = 0; i < TOKENS * HEADS * SIZE; i++)
        (&from[0][0][0])[i] = bits((float)(i % 200), SEGUE_DTYPE_BF16);
    struct segue_move move = {.src_token = sizeof from[0],
                              .dst_token = sizeof to[0][0],
                              .run = sizeof from[0][0],
                              .from = SEGUE_DTYPE_BF16,
                              .to = SEGUE_DTYPE_FP32,
                              .dims = 1,
                              .dim = {{HEADS, sizeof from[0][0], sizeof to[0]}}};
    struct segue_span span = {.tokens = TOKENS};
    struct segue_transfer t = {&move, 1, &span, 1};
    struct segue_extent src = {(char *)from, sizeof from}, dst = {(char *)to, sizeof to};
    assert_ok(segue_transfer_check(&t, &src, 1, &dst, 1));
    struct segue_relayout r = {.transfer = &t, .src = &src, .dst = &dst};
    struct segue_relayout_at at = {0};
    while (segue_relayout_copy(&r, &at, 100))
        ;
    for (int t0 = 0; t0 < TOKENS; t0++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < SIZE; i++)
                assert_true(to[h][t0][i] == (float)(((t0 * HEADS + h) * SIZE + i) % 200));
}

/* Rows longer than a chunk, copied and converted in parts. */
static void long_rows_in_parts(void **state)
{
    const uint32_t n = 300000;
    for (int type = 0; type < 2; type++) {
        uint16_t *from = malloc(2 * n * sizeof *from);
        char *to = calloc(1, 2 * n * 4 + 64);
        for (uint32_t i = 0; i < 2 * n; i++)
            from[i] = bits((float)(i % 251), SEGUE_DTYPE_BF16);
        struct segue_move move = {.run = n * 2,
                                  .from = SEGUE_DTYPE_BF16,
                                  .to = type ? SEGUE_DTYPE_FP32 : SEGUE_DTYPE_BF16,
                                  .dims = 1,
                                  .dim = {{2, n * 2, n * (type ? 4 : 2) + 64}}};
        struct segue_span span = {.tokens = 1};
        struct segue_transfer t = {&move, 1, &span, 1};
        struct segue_extent src = {(char *)from, 2 * n * 2}, dst = {to, 2 * n * 4 + 64};
        struct segue_relayout r = {.transfer = &t, .src = &src, .dst = &dst};
        r.stream = type == 0;
        struct segue_relayout_at at = {0};
        int chunks = 1;
        while (segue_relayout_copy(&r, &at, 100000))
            chunks++;
        assert_true(chunks > 8);
        for (uint32_t row = 0; row < 2; row++)
            for (uint32_t i = 0; i < n; i++) {
                const char *at_i = to + move.dim[0].dst * row + i * (type ? 4 : 2);
                float value;
                uint16_t half;
                memcpy(&value, at_i, 4);
                memcpy(&half, at_i, 2);
                if (type ? value != (float)((row * n + i) % 251)
                         : half != from[row * n + i])
                    fail_msg("type %d row %u element %u", type, row, i);
            }
        free(from);
        free(to);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_at_every_alignment),
    cmocka_unit_test(sets_of_rows_in_turn),
    cmocka_unit_test(known_numbers),
    cmocka_unit_test(all_tables_convert_alike),
    cmocka_unit_test(numbers_survive_what_can_hold_them),
    cmocka_unit_test(conversion_on_the_way),
    cmocka_unit_test(long_rows_in_parts),
};
TEST_MAIN(tests)
