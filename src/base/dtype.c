/* SPDX-License-Identifier: Apache-2.0 */
/* Element types: their sizes and names. */
#include <segue/layout.h>
#include "base/status.h"

#include <string.h>

static const struct {
    const char *name;
    uint32_t size;
} rows[] = {
    [SEGUE_DTYPE_BYTES] = {"bytes", 1},       [SEGUE_DTYPE_FP32] = {"fp32", 4},
    [SEGUE_DTYPE_FP16] = {"fp16", 2},         [SEGUE_DTYPE_BF16] = {"bf16", 2},
    [SEGUE_DTYPE_FP8_E4M3] = {"fp8_e4m3", 1}, [SEGUE_DTYPE_FP8_E5M2] = {"fp8_e5m2", 1},
};
#define ROWS (sizeof rows / sizeof *rows)

uint32_t segue_dtype_size(enum segue_dtype dtype)
{
    return (size_t)dtype < ROWS ? rows[dtype].size : 0;
}

const char *segue_dtype_name(enum segue_dtype dtype)
{
    return (size_t)dtype < ROWS ? rows[dtype].name : "?";
}

enum segue_status segue_dtype_find(const char *name, enum segue_dtype *out)
{
    if (name && strcmp(name, "fp8") == 0)
        name = segue_dtype_name(SEGUE_DTYPE_FP8_E4M3);
    for (size_t i = 0; name && i < ROWS; i++)
        if (strcmp(name, rows[i].name) == 0) {
            *out = (enum segue_dtype)i;
            return SEGUE_OK;
        }
    return segue_fail(SEGUE_E_INVALID,
                      "no element type is called '%s': fp32, fp16, bf16, fp8_e4m3 (fp8), "
                      "fp8_e5m2, bytes",
                      name ? name : "(null)");
}
