/* SPDX-License-Identifier: Apache-2.0 */
/* Where there is no table of instructions of our own: portable C. */
#include "device/rows.h"

const struct segue_rows_ops *segue_rows_table(unsigned i, bool *runs)
{
    *runs = true;
    return i == 0 ? &segue_rows_portable : NULL;
}

const struct segue_rows_ops *segue_rows_pick(void)
{
    return &segue_rows_portable;
}
