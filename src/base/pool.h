/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded pool of worker threads for work that must not hold up a loop: copies,
 * hashes, blocking calls.
 *
 * First in, first out; nothing is allocated per task. Threads are started when there is
 * work for them, never more than asked for, and sleep when there is none. They block all
 * signals, so that signals stay the application's.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/status.h"
#include "base/task.h"

struct segue_pool;

/* What: makes a pool of at most `threads` workers (0: none, tasks run inside submit),
 * whose threads are called `name` (at most 15 bytes are kept). Owned: destroy it. Any
 * thread. Statuses: E_MEMORY. */
enum segue_status segue_pool_create(unsigned threads, const char *name,
                                    struct segue_pool **out);

/* What: how many workers there may be. Any thread. */
unsigned segue_pool_threads(const struct segue_pool *pool);

/* What: queues the task. Returns false, and does nothing, when it is queued already. When
 * no worker at all can be started the task runs inside submit, so submitted work is
 * always done. Any thread, workers included. */
bool segue_pool_submit(struct segue_pool *pool, struct segue_task *task);

/* What: whether tasks wait for a worker. A task that works in parts looks between them:
 * when somebody waits it submits itself anew and returns, otherwise going on saves the
 * hand-over from one worker to the other. Any thread. */
bool segue_pool_waiting(struct segue_pool *pool);

/* What: runs out what is queued, what that submits included, then joins the workers and
 * frees the pool; NULL is fine. Not from a worker, and after the last other submitter. */
void segue_pool_destroy(struct segue_pool *pool);

#endif
