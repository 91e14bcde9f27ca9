/* SPDX-License-Identifier: Apache-2.0 */
/* The transports there are, the quickest first. */
#include "transport/transport.h"

static const struct {
    const char *name;
    const struct segue_transport_ops *ops;
} rows[] = {
    {"shm", &segue_transport_mapped},
    {"ipc", &segue_transport_mapped},
    {"cma", &segue_transport_cma},
    {"tcp", &segue_transport_tcp},
};

const char *segue_transport_name(size_t row)
{
    return row < sizeof rows / sizeof *rows ? rows[row].name : NULL;
}

enum segue_status segue_transport_open(size_t row, struct segue_loop *loop,
                                       struct segue_pool *pool,
                                       struct segue_transport **out)
{
    if (row >= sizeof rows / sizeof *rows)
        return segue_fail(SEGUE_E_NOT_FOUND, "there is no transport number %zu", row);
    struct segue_transport_args args = {rows[row].name, loop, pool};
    return rows[row].ops->open(&args, out);
}
