/* SPDX-License-Identifier: Apache-2.0 */
/* Every kernel of every table against the same sums in double precision. */
#include "test.h"
#include "kernels.h"
#include "linear.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLS = 96, ROWS = 37, MOST = 21 };

static uint32_t seed = 1;

static float draw(void) /* -1 .. 1 */
{
    seed = seed * 1664525 + 1013904223;
    return (float)(int32_t)seed * 0x1p-31f;
}

static const struct kernels *tables[2];
static int n_tables;

static void find_tables(void)
{
    n_tables = 0;
    tables[n_tables++] = kernels_portable();
    if (kernels_avx2())
        tables[n_tables++] = kernels_avx2();
}

static size_t row_bytes(enum tensor_type type)
{
    return type == TENSOR_F32    ? COLS * 4
           : type == TENSOR_F16  ? COLS * 2
           : type == TENSOR_Q8_0 ? COLS / 32 * 34
                                 : COLS / 32 * 20;
}

/* Random weights of a type: any bytes will do, but for the floats and scales. */
static uint8_t *make_weights(enum tensor_type type)
{
    size_t size = ROWS * row_bytes(type);
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(draw() * 127);
    for (size_t i = 0; type == TENSOR_F32 && i < size; i += 4) {
        float value = draw();
        memcpy(bytes + i, &value, 4);
    }
    size_t block = type == TENSOR_Q8_0 ? 34 : type == TENSOR_Q4_1 ? 20 : 2;
    for (size_t i = 0; type != TENSOR_F32 && i < size; i += block)
        for (size_t half = 0; half < (type == TENSOR_Q4_1 ? 4 : 2); half += 2) {
            float value = draw() * 0.1f;
            kernels_portable()->encode(CACHE_FP16, bytes + i + half, &value, 1);
        }
    return bytes;
}

static void close_to(float got, double want, double size, const char *what)
{
    if (!(fabs((double)got - want) <= 2e-6 * (size + 1)))
        fail_msg("%s: %.9g instead of %.9g", what, (double)got, want);
}

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0,
                                         TENSOR_Q4_1};

/* What a few rows and many rows give, and that company changes no bit of it. */
static void products_of(const struct kernels *k, enum tensor_type type)
{
    static float x[MOST][COLS], few[MOST][ROWS], many[MOST][ROWS], one[ROWS],
        floats[COLS];
    const float *from[MOST];
    float *to[MOST], *scratch = malloc(linear_scratch(COLS) * sizeof(float));
    uint8_t *bytes = make_weights(type);
    const struct weights w = {type, ROWS, COLS, row_bytes(type), bytes};
    for (int t = 0; t < MOST; t++) {
        for (int i = 0; i < COLS; i++)
            x[t][i] = draw();
        from[t] = x[t];
        to[t] = few[t];
    }
    linear_few(k, &w, MOST, from, to, scratch);
    linear_many(k, &w, MOST, x[0], COLS, many[0], ROWS, scratch);
    for (int r = 0; r < ROWS; r++) {
        kernels_portable()->dequantize(type, floats, bytes + r * w.row_bytes, COLS);
        for (int t = 0; t < MOST; t++) {
            double sum = 0, size = 0;
            for (int i = 0; i < COLS; i++) {
                sum += (double)floats[i] * (double)x[t][i];
                size += fabs((double)floats[i] * (double)x[t][i]);
            }
            close_to(few[t][r], sum, size, "few rows");
            close_to(many[t][r], sum, size, "many rows");
        }
    }
    for (int t = 0; t < MOST; t++) {
        linear_few(k, &w, 1, &from[t], &(float *){one}, scratch);
        assert_memory_equal(one, few[t], sizeof one);
        linear_many(k, &w, 1, x[t], COLS, one, ROWS, scratch);
        assert_memory_equal(one, many[t], sizeof one);
    }
    free(bytes);
    free(scratch);
}

static void products(void **state)
{
    for (int i = 0; i < n_tables; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            products_of(tables[i], types[t]);
}

static void dequantized_weights(void **state)
{
    float want[COLS], got[COLS];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        uint8_t *bytes = make_weights(types[t]);
        kernels_portable()->dequantize(types[t], want, bytes, COLS);
        kernels_best()->dequantize(types[t], got, bytes, COLS);
        for (int i = 0; i < COLS; i++)
            close_to(got[i], (double)want[i], 0, "a weight");
        free(bytes);
    }
}

/* Blocks written by hand, so that both tables cannot be wrong alike. */
static void blocks_by_hand(void **state)
{
    uint8_t q4[20] = {0x00, 0x38, 0x00, 0xc0}, q8[34] = {0x00, 0x3c}; /* 0.5, -2; 1 */
    float out[32];
    for (int i = 0; i < 16; i++)
        q4[4 + i] = (uint8_t)(i | (15 - i) << 4);
    for (int i = 0; i < 32; i++)
        q8[2 + i] = (uint8_t)(i - 16);
    for (int k = 0; k < n_tables; k++) {
        tables[k]->dequantize(TENSOR_Q4_1, out, q4, 32);
        for (int i = 0; i < 16; i++) {
            assert_true(out[i] == 0.5f * (float)i - 2);
            assert_true(out[16 + i] == 0.5f * (float)(15 - i) - 2);
        }
        tables[k]->dequantize(TENSOR_Q8_0, out, q8, 32);
        for (int i = 0; i < 32; i++)
            assert_true(out[i] == (float)(i - 16));
    }
}

static void attention(void **state)
{
    enum { KEYS = 19, DIM = 90 };
    static float q[DIM], rows[KEYS][DIM], p[KEYS], scores[KEYS], out[DIM];
    const float *at[KEYS];
    for (int j = 0; j < DIM; j++)
        q[j] = draw();
    for (int i = 0; i < KEYS; i++) {
        at[i] = rows[i];
        p[i] = draw();
        for (int j = 0; j < DIM; j++)
            rows[i][j] = draw();
    }
    for (int k = 0; k < n_tables; k++) {
        tables[k]->score(scores, q, at, KEYS, DIM);
        for (int i = 0; i < KEYS; i++) {
            double sum = 0;
            for (int j = 0; j < DIM; j++)
                sum += (double)q[j] * (double)rows[i][j];
            close_to(scores[i], sum, DIM, "a score");
        }
        for (int j = 0; j < DIM; j++)
            out[j] = 1;
        tables[k]->mix(out, p, at, KEYS, DIM);
        for (int j = 0; j < DIM; j++) {
            double sum = 1;
            for (int i = 0; i < KEYS; i++)
                sum += (double)p[i] * (double)rows[i][j];
            close_to(out[j], sum, KEYS, "a mixed value");
        }
    }
}

static void exponentials(void **state)
{
    float x[203], gate[203], up[203];
    for (int k = 0; k < n_tables; k++)
        for (uint32_t n = 1; n <= 203; n += 101) {
            double sum = 0;
            for (uint32_t i = 0; i < n; i++) {
                x[i] = -0.5f * (float)i;
                gate[i] = draw() * 30;
                up[i] = draw();
                sum += exp((double)x[i] - 1);
            }
            close_to(tables[k]->exp_sum(x, 1, n), sum, 0, "a sum of exponentials");
            for (uint32_t i = 0; i < n; i++)
                close_to(x[i], exp(-0.5 * i - 1), 0, "an exponential");
            memcpy(x, gate, sizeof x);
            tables[k]->silu(gate, up, n);
            for (uint32_t i = 0; i < n; i++)
                close_to(gate[i], (double)x[i] / (1 + exp(-(double)x[i])) * (double)up[i],
                         30, "a gate");
        }
}

static int setup(void **state)
{
    find_tables();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(products, setup),
    cmocka_unit_test_setup(dequantized_weights, setup),
    cmocka_unit_test_setup(blocks_by_hand, setup),
    cmocka_unit_test_setup(attention, setup),
    cmocka_unit_test_setup(exponentials, setup),
};
TEST_MAIN(tests)
