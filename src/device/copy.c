/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job is cut into chunks, taken in turn by its lanes, one task of the pool each. A lane
 * walks the whole transfer by itself and steps over the chunks of the others, which costs
 * a few instructions a box, so that lanes share one counter and no lock.
 */
#include "device/copy.h"

#include "base/status.h"
#include "device/relayout.h"

#define CHUNK (UINT64_C(1) << 20)
#define LANES 4

struct lane {
    struct segue_task task;
    struct segue_relayout_at at;
    uint64_t chunk; /* the one `at` stands on */
};

struct work {
    struct segue_ram *ram;
    struct segue_pool *pool;
    void (*end)(struct segue_copy_job *job, enum segue_status status);
    atomic_uint_fast64_t next; /* chunk nobody has taken */
    atomic_uint running;       /* lanes */
    bool stream;
    struct lane lane[LANES];
};
_Static_assert(sizeof(struct work) <= SEGUE_COPY_ROOM - SEGUE_COPY_OWN,
               "a copy's state fits its job");

static struct work *work_of(struct segue_copy_job *job)
{
    return (struct work *)(void *)&job->impl;
}

static char *reach(void *user, char *base)
{
    return segue_ram_reach(user, base);
}

/* Takes a chunk and copies it; true when there may be another. */
static bool copy_chunk(struct segue_copy_job *job, struct lane *lane)
{
    struct work *work = work_of(job);
    if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
        return false;
    struct segue_relayout relayout = {.transfer = &job->transfer,
                                      .src = job->src,
                                      .dst = job->dst,
                                      .reach = reach,
                                      .user = work->ram,
                                      .stream = work->stream};
    uint64_t chunk = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
    for (; lane->chunk < chunk; lane->chunk++)
        if (!segue_relayout_skip(&relayout, &lane->at, CHUNK))
            return false;
    lane->chunk++;
    return segue_relayout_copy(&relayout, &lane->at, CHUNK);
}

static void run_lane(struct segue_task *task)
{
    struct segue_copy_job *job = task->user;
    struct work *work = work_of(job);
    struct lane *lane = segue_container_of(task, struct lane, task);
    while (copy_chunk(job, lane))
        if (segue_pool_waiting(work->pool)) {
            segue_pool_submit(work->pool, task);
            return;
        }
    if (atomic_fetch_sub(&work->running, 1) != 1)
        return;
    segue_ram_release(work->ram, job->src, job->n_src);
    segue_ram_release(work->ram, job->dst, job->n_dst);
    bool cancelled = atomic_load(&job->cancelled);
    work->end(job, cancelled ? segue_fail(SEGUE_E_CANCELLED, "the copy was cancelled")
                             : SEGUE_OK);
}

enum segue_status
segue_ram_copy(struct segue_ram *ram, struct segue_pool *pool, struct segue_copy_job *job,
               void (*end)(struct segue_copy_job *job, enum segue_status status))
{
    SEGUE_TRY(segue_ram_hold(ram, job->src, job->n_src));
    enum segue_status status = segue_ram_hold(ram, job->dst, job->n_dst);
    if (status < 0) {
        segue_ram_release(ram, job->src, job->n_src);
        return status;
    }
    uint64_t bytes = segue_transfer_bytes(&job->transfer);
    uint64_t chunks = bytes / CHUNK + (bytes % CHUNK != 0);
    unsigned threads = segue_pool_threads(pool);
    unsigned lanes = threads < 1 ? 1 : threads > LANES ? LANES : threads;
    if (lanes > chunks)
        lanes = chunks > 0 ? (unsigned)chunks : 1;
    struct work *work = work_of(job);
    *work = (struct work){
        .ram = ram,
        .pool = pool,
        .end = end,
        .stream = segue_relayout_streams(job->part_of > bytes ? job->part_of : bytes)};
    atomic_init(&work->running, lanes);
    for (unsigned i = 0; i < lanes; i++) {
        work->lane[i].task.fn = run_lane;
        work->lane[i].task.user = job;
    }
    for (unsigned i = 0; i < lanes; i++)
        segue_pool_submit(pool, &work->lane[i].task);
    return SEGUE_OK;
}
