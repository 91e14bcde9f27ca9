/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault decorator: any transport, with a schedule's faults on the way of its bytes. It lays its own verbs over the
 * transport's table and leaves the rest as it is.
 *
 *     first-byte   an operation is about to move its first byte
 *     mid-copy     half of its bytes are there
 *     last-byte    all of them are; nobody has been told
 *
 * One-sided operations (COPY, READ) are carried out in two halves. A stream goes through a pump that knows where in which
 * transfer each byte is. An operation held by a delay ends as soon as it is cancelled.
 */
#ifndef TRANSPORT_FAULT_H
#define TRANSPORT_FAULT_H

#include "base/fault.h"
#include "transport/transport.h"

#define SEGUE_FAULT_BYTES_STEPS                                                          \
    {"first-byte", SEGUE_FAULT_STEP | SEGUE_FAULT_STREAM | SEGUE_FAULT_BYTES},           \
        {"mid-copy", SEGUE_FAULT_STEP | SEGUE_FAULT_STREAM | SEGUE_FAULT_BYTES},         \
    {                                                                                    \
        "last-byte", SEGUE_FAULT_STEP | SEGUE_FAULT_STREAM | SEGUE_FAULT_BYTES           \
    }

/* What: lays the decorator over `t`, unless no rule is about bytes. The schedule is retained until `t` closes.
 * E_MEMORY, and `t` is as before. The agent's thread, before `t` is used. */
enum segue_status segue_transport_add_faults(struct segue_transport *t,
                                             struct segue_faults *faults);

/* ---- between fault.c and fault_pump.c ---- */

struct segue_pump;

/* What: a socket to be used in place of `stream`, and the pump between the two, which owns `stream` on success. */
enum segue_status segue_pump_open(struct segue_faults *faults, int stream,
                                  struct segue_pump **pump, int *in_place);
/* What: transfer `tag` carries `total` bytes; `sends`: from here to there. */
void segue_pump_expect(struct segue_pump *pump, bool sends, uint64_t tag, uint64_t total);
/* What: the connection is gone; the pump ends by itself when both sockets have. */
void segue_pump_release(struct segue_pump *pump);

#endif
