/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = x W^T for a rectangle of a weight matrix, in one of two ways: many rows of x at once
 * through tiles of floats, or few rows straight from the stored weights. In each way a
 * row's result is the same to the last bit whatever the other rows are, how many they are,
 * and which rectangle was asked for.
 */
#ifndef ENGINE_LINEAR_H
#define ENGINE_LINEAR_H

#include "kernels.h"
#include "model.h"

/* Rows first_row.. and columns first_col.. of `matrix`; the columns begin at a block. */
struct weights linear_part(const struct matrix *matrix, uint32_t first_row,
                           uint32_t n_rows, uint32_t first_col, uint32_t n_cols);

/* Floats of scratch that both functions need for parts of at most `cols` columns. */
size_t linear_scratch(uint32_t cols);

/* y[t * y_stride + r] = row r of w . x[t * x_stride ..], t < n. Any thread, own scratch. */
void linear_many(const struct kernels *kernels, const struct weights *w, uint32_t n,
                 const float *x, size_t x_stride, float *y, size_t y_stride,
                 float *scratch);

/* y[t][r] = row r of w . x[t], t < n, any n. */
void linear_few(const struct kernels *kernels, const struct weights *w, uint32_t n,
                const float *const *x, float *const *y, float *scratch);

#endif
