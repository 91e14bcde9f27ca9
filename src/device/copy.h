/* SPDX-License-Identifier: Apache-2.0 */
/* Copy jobs carried out by the CPU, on the mover threads. */
#ifndef DEVICE_COPY_H
#define DEVICE_COPY_H

#include "device/ram.h"

/* The last bytes of job->impl are the caller's; while no copy runs, all of it is. */
#define SEGUE_COPY_OWN 8

/* What: starts the job on up to four threads of the pool, in chunks of 1 MiB, so that
 * others get their turn and a cancel ends it soon. Calls `end` on one of those threads,
 * exactly once, when no thread touches the job any more. Allocates nothing. */
enum segue_status
segue_ram_copy(struct segue_ram *ram, struct segue_pool *pool, struct segue_copy_job *job,
               void (*end)(struct segue_copy_job *job, enum segue_status status));

#endif
