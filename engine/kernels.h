/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner loops of the engine, once in plain C and once for AVX2, F16C and FMA.
 *
 * Pure functions over the caller's memory, any thread. Pointers need no alignment, except
 * that element types keep their own. What a function computes for one row never depends
 * on the rows beside it, down to the last bit.
 */
#ifndef ENGINE_KERNELS_H
#define ENGINE_KERNELS_H

#include <stdbool.h>
#include "cache.h"
#include "gguf.h"

enum {
    KERNEL_ROWS = 8,   /* most rows of x that multiply_rows takes */
    KERNEL_BLOCK = 32, /* elements of a quantized block */
    KERNEL_PANEL = 16, /* columns that multiply_panel computes together */
};

/* A rectangle of a weight matrix: n_rows rows, row_bytes apart, cols elements of each. */
struct weights {
    enum tensor_type type;
    uint32_t n_rows, cols;
    size_t row_bytes;
    const uint8_t *data;
};

struct kernels {
    const char *name;

    /* n elements of one weight row to floats; n is a multiple of the type's block. */
    void (*dequantize)(enum tensor_type type, float *to, const uint8_t *from, uint32_t n);

    /* y[i][r] = row r of w . x[i], for n <= KERNEL_ROWS, reading w as it is stored.
     * scratch: kernel_scratch(w->cols) floats. */
    void (*multiply_rows)(const struct weights *w, uint32_t n, const float *const *x,
                          float *const *y, float *scratch);

    /* y[t][c] = or += sum over i < depth of x[t][i] * panel[i][c], for t < n and
     * c < cols <= KERNEL_PANEL; the strides are floats from row to row. Every panel row
     * can be read for KERNEL_PANEL floats. Sums run in the order of i. */
    void (*multiply_panel)(uint32_t n, uint32_t depth, uint32_t cols, const float *x,
                           size_t x_stride, const float *panel, size_t panel_stride,
                           float *y, size_t y_stride, bool add);

    /* panel[i][c] = rows[c][i], i < depth: KERNEL_PANEL rows `stride` floats apart. */
    void (*transpose)(float *panel, const float *rows, size_t stride, uint32_t depth);

    /* KV elements from and to floats, rounding to nearest even. */
    void (*encode)(enum cache_dtype dtype, void *to, const float *from, uint32_t n);
    void (*decode)(enum cache_dtype dtype, float *to, const void *from, uint32_t n);

    /* scores[i] = q . k[i];  out += sum of p[i] * v[i]; rows of dim floats. */
    void (*score)(float *scores, const float *q, const float *const *k, uint32_t n,
                  uint32_t dim);
    void (*mix)(float *out, const float *p, const float *const *v, uint32_t n,
                uint32_t dim);

    /* x = exp(x - most), returns their sum; gate = silu(gate) * up. */
    float (*exp_sum)(float *x, float most, uint32_t n);
    void (*silu)(float *gate, const float *up, uint32_t n);
};

static inline size_t kernel_scratch(uint32_t cols)
{
    return (size_t)KERNEL_ROWS * (cols + (cols + 3) / 4 + 16);
}

/* The fastest table this processor runs; the plain C one. Static storage. */
const struct kernels *kernels_best(void);
const struct kernels *kernels_portable(void);

/* NULL where the processor or the compiler's target has no AVX2, FMA and F16C. */
const struct kernels *kernels_avx2(void);

#endif
