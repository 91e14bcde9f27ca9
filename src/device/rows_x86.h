/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables for x86-64 share. */
#ifndef DEVICE_ROWS_X86_H
#define DEVICE_ROWS_X86_H

#include "device/rows.h"

extern const struct segue_rows_ops segue_rows_avx2, segue_rows_avx512;

void segue_avx2_half_to_float(void *dst, const void *src, size_t n);
void segue_avx2_float_to_half(void *dst, const void *src, size_t n);
void segue_avx2_brain_to_float(void *dst, const void *src, size_t n);
void segue_avx2_float_to_brain(void *dst, const void *src, size_t n);

#endif
