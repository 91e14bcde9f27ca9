/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of activations and weights. Many rows: a tile of weight rows becomes floats in
 * panels [panel][column][KERNEL_PANEL], which stay in the second-level cache while all
 * rows of x pass over them, a few at a time in the first. This is the engine's own and no
 * BLAS's because Debian's serial OpenBLAS takes its buffers without a lock: two ranks that
 * multiply at once can get the same one, and wrong numbers.
 */
#include "linear.h"
#include <string.h>

enum {
    TILE_FLOATS = 64 * 1024,
    TOGETHER = 12, /* rows of x that stay in the first-level cache across the panels */
};

static size_t bytes_before(enum tensor_type type, uint32_t col)
{
    switch (type) {
    case TENSOR_F32:
        return (size_t)col * 4;
    case TENSOR_F16:
        return (size_t)col * 2;
    case TENSOR_Q4_1:
        return (size_t)col / KERNEL_BLOCK * 20;
    case TENSOR_Q8_0:
        return (size_t)col / KERNEL_BLOCK * 34;
    }
    return 0;
}

struct weights linear_part(const struct matrix *matrix, uint32_t first_row,
                           uint32_t n_rows, uint32_t first_col, uint32_t n_cols)
{
    return (struct weights){
        .type = matrix->type,
        .n_rows = n_rows,
        .cols = n_cols,
        .row_bytes = matrix->row_bytes,
        .data = matrix->data + first_row * matrix->row_bytes +
                bytes_before(matrix->type, first_col),
    };
}

static uint32_t tile_rows(uint32_t cols)
{
    uint32_t panels = TILE_FLOATS / cols / KERNEL_PANEL;
    return (panels ? panels : 1) * KERNEL_PANEL;
}

size_t linear_scratch(uint32_t cols)
{
    size_t many = ((size_t)tile_rows(cols) + KERNEL_PANEL) * cols;
    size_t few = kernel_scratch(cols);
    return many > few ? many : few;
}

/* Rows r .. r + rows - 1 of w as panels; the last one is filled up with zeros. */
static void make_panels(const struct kernels *kernels, const struct weights *w,
                        uint32_t r, uint32_t rows, float *panels, float *floats)
{
    for (uint32_t i = 0; i < rows; i += KERNEL_PANEL) {
        for (uint32_t j = 0; j < KERNEL_PANEL; j++) {
            float *to = floats + (size_t)j * w->cols;
            if (i + j < rows)
                kernels->dequantize(w->type, to, w->data + (r + i + j) * w->row_bytes,
                                    w->cols);
            else
                memset(to, 0, w->cols * sizeof *to);
        }
        kernels->transpose(panels + (size_t)i * w->cols, floats, w->cols, w->cols);
    }
}

void linear_many(const struct kernels *kernels, const struct weights *w, uint32_t n,
                 const float *x, size_t x_stride, float *y, size_t y_stride,
                 float *scratch)
{
    uint32_t step = tile_rows(w->cols);
    float *floats = scratch + (size_t)step * w->cols;
    for (uint32_t r = 0; r < w->n_rows; r += step) {
        uint32_t rows = w->n_rows - r < step ? w->n_rows - r : step;
        make_panels(kernels, w, r, rows, scratch, floats);
        for (uint32_t t = 0; t < n; t += TOGETHER)
            for (uint32_t i = 0; i < rows; i += KERNEL_PANEL)
                kernels->multiply_panel(n - t < TOGETHER ? n - t : TOGETHER, w->cols,
                                        rows - i < KERNEL_PANEL ? rows - i : KERNEL_PANEL,
                                        x + t * x_stride, x_stride,
                                        scratch + (size_t)i * w->cols, KERNEL_PANEL,
                                        y + t * y_stride + r + i, y_stride, false);
    }
}

void linear_few(const struct kernels *kernels, const struct weights *w, uint32_t n,
                const float *const *x, float *const *y, float *scratch)
{
    for (uint32_t t = 0; t < n; t += KERNEL_ROWS) {
        uint32_t some = n - t < KERNEL_ROWS ? n - t : KERNEL_ROWS;
        kernels->multiply_rows(w, some, x + t, y + t, scratch);
    }
}
