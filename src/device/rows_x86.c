/* SPDX-License-Identifier: Apache-2.0 */
/* Which table this CPU gets. */
#include "device/rows_x86.h"

/* Every CPU with AVX2 has F16C; asking for that by name would cost a cpuid each time, which
 * a virtual machine has to emulate. */
const struct segue_rows_ops *segue_rows_table(unsigned i, bool *runs)
{
    switch (i) {
    case 0:
        *runs = true;
        return &segue_rows_portable;
    case 1:
        *runs = __builtin_cpu_supports("avx2");
        return &segue_rows_avx2;
    case 2:
        *runs = __builtin_cpu_supports("avx512f");
        return &segue_rows_avx512;
    default:
        return NULL;
    }
}

const struct segue_rows_ops *segue_rows_pick(void)
{
    if (__builtin_cpu_supports("avx512f"))
        return &segue_rows_avx512;
    return __builtin_cpu_supports("avx2") ? &segue_rows_avx2 : &segue_rows_portable;
}
