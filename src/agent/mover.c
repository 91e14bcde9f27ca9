/* SPDX-License-Identifier: Apache-2.0 */
/* One transport operation at a time, its end brought from whichever thread saw it to the agent's. */
#include "agent/mover.h"

#include "base/status.h"

#include <stdio.h>

static void report(struct segue_task *task)
{
    struct segue_mover *m = segue_container_of(task, struct segue_mover, report);
    m->running = false;
    if (m->status < 0)
        segue_fail(m->status, "%s", m->why);
    m->done(m, m->status);
}

static void op_done(struct segue_op *op, enum segue_status status)
{
    struct segue_mover *m = segue_container_of(op, struct segue_mover, op);
    m->status = status;
    snprintf(m->why, sizeof m->why, "%s", status < 0 ? segue_error_detail() : "");
    segue_loop_post(m->agent->loop, &m->report);
}

enum segue_status segue_mover_start(struct segue_mover *m,
                                    struct segue_connection *connection)
{
    m->report.fn = report;
    m->op.done = op_done;
    m->running = true;
    enum segue_status status = segue_op_post(connection, &m->op);
    if (status < 0)
        m->running = false;
    return status;
}

void segue_mover_cancel(struct segue_mover *m)
{
    if (m->running)
        segue_op_cancel(&m->op);
}
