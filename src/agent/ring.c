/* SPDX-License-Identifier: Apache-2.0 */
/* Staging slots: one piece of exportable host memory, cut into equal slots, made on the pool when first needed. */
#include "agent/stage_inside.h"

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>

void segue_ring_init(struct segue_ring *ring, struct segue_agent *agent)
{
    *ring = (struct segue_ring){.agent = agent};
    segue_list_init(&ring->waiting);
    segue_list_init(&ring->waits);
}

/* ---- making: allocating and populating takes as long as copying the ring ---- */

static uint64_t ring_bytes(const struct segue_ring *ring)
{
    return (uint64_t)ring->slots * SEGUE_SLOT_BYTES;
}

static void make(struct segue_task *task)
{
    struct segue_ring *ring = task->user;
    ring->status = segue_alloc(ring->agent->devices[0], ring_bytes(ring), &ring->memory);
    if (ring->status < 0)
        snprintf(ring->why, sizeof ring->why, "%s", segue_error_detail());
    segue_loop_post(ring->agent->loop, &ring->made);
}

static enum segue_status take_over(struct segue_ring *ring)
{
    struct segue_device *host = ring->agent->devices[0];
    enum segue_status status = segue_region_register(ring->agent, host, ring->memory,
                                                     ring_bytes(ring), &ring->region);
    if (status < 0) {
        snprintf(ring->why, sizeof ring->why, "%s", segue_error_detail());
        segue_free(host, ring->memory);
        return status;
    }
    ring->base = ring->memory;
    for (uint32_t i = 0; i < ring->slots; i++)
        ring->free[ring->n_free++] = ring->slots - 1 - i;
    return SEGUE_OK;
}

static void take_all(struct segue_list *to, struct segue_list *from)
{
    segue_list_init(to);
    for (struct segue_list *l; (l = segue_list_pop_front(from));)
        segue_list_push_back(to, l);
}

/* Everyone goes on, or ends; who needs more than there is, or tries again, waits anew. */
static void tell(struct segue_ring *ring, enum segue_status status)
{
    struct segue_list waiting, waits, *l;
    take_all(&waiting, &ring->waiting);
    take_all(&waits, &ring->waits);
    while ((l = segue_list_pop_front(&waiting))) {
        struct segue_stage_half *half = segue_container_of(l, struct segue_stage_half,
                                                           waiting);
        if (status < 0)
            segue_stage_fail(half, status, ring->why);
        else
            segue_stage_pump(half);
    }
    while ((l = segue_list_pop_front(&waits))) {
        struct segue_stage_wait *wait = segue_container_of(l, struct segue_stage_wait,
                                                           list);
        snprintf(wait->why, sizeof wait->why, "%s", ring->why);
        wait->done(wait, status);
    }
}

static void made(struct segue_task *task)
{
    struct segue_ring *ring = task->user;
    enum segue_status status = ring->status < 0 ? ring->status : take_over(ring);
    ring->opening = false;
    if (status < 0) { /* the next one tries again */
        free(ring->free);
        ring->free = NULL;
    }
    tell(ring, status);
}

enum segue_status segue_ring_open(struct segue_ring *ring)
{
    if (ring->base || ring->opening)
        return SEGUE_OK;
    uint64_t slots = ring->agent->opts.ring_bytes / SEGUE_SLOT_BYTES;
    if (slots < 2 * SEGUE_STAGE_SHARE)
        slots = 2 * SEGUE_STAGE_SHARE;
    ring->free = calloc(slots, sizeof *ring->free);
    if (!ring->free)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a staging ring of %llu slots",
                          (unsigned long long)slots);
    ring->slots = (uint32_t)slots;
    ring->opening = true;
    ring->why[0] = 0;
    ring->make = (struct segue_task){.fn = make, .user = ring};
    ring->made = (struct segue_task){.fn = made, .user = ring};
    segue_pool_submit(ring->agent->pool, &ring->make);
    return SEGUE_OK;
}

void segue_ring_close(struct segue_ring *ring)
{
    while (ring->opening) /* the pool ends it in its own time */
        segue_loop_turn(ring->agent->loop, -1);
    if (!ring->base)
        return;
    segue_region_deregister(ring->region);
    segue_free(ring->agent->devices[0], ring->base);
    free(ring->free);
}

void segue_stage_prepare(struct segue_agent *agent, struct segue_stage_wait *wait)
{
    segue_list_init(&wait->list);
    wait->why[0] = 0;
    enum segue_status status = segue_stage_service(agent);
    struct segue_ring *ring = status < 0 ? NULL : &segue_stage_of(agent)->in;
    if (status >= 0)
        status = segue_ring_open(ring);
    if (status < 0)
        snprintf(wait->why, sizeof wait->why, "%s", segue_error_detail());
    if (status < 0 || ring->base)
        wait->done(wait, status);
    else
        segue_list_push_back(&ring->waits, &wait->list);
}

void segue_stage_wait_cancel(struct segue_stage_wait *wait)
{
    segue_list_remove(&wait->list);
}

/* ---- slots ---- */

bool segue_ring_take(struct segue_ring *ring, struct segue_stage_half *half, int *slot,
                     int *scratch)
{
    if (ring->n_free < (scratch ? 2u : 1u)) {
        if (segue_list_empty(&half->waiting))
            segue_list_push_back(&ring->waiting, &half->waiting);
        return false;
    }
    *slot = (int)ring->free[--ring->n_free];
    if (scratch)
        *scratch = (int)ring->free[--ring->n_free];
    return true;
}

void segue_ring_give(struct segue_ring *ring, int slot)
{
    ring->free[ring->n_free++] = (uint32_t)slot;
    if (segue_list_empty(&ring->waiting))
        return;
    struct segue_list *l = segue_list_pop_front(&ring->waiting);
    segue_list_init(l);
    segue_stage_pump(segue_container_of(l, struct segue_stage_half, waiting));
}

char *segue_ring_slot(const struct segue_ring *ring, uint32_t slot)
{
    return ring->base + (uint64_t)slot * SEGUE_SLOT_BYTES;
}

void segue_peer_ring_release(struct segue_peer_ring *ring)
{
    if (!ring || --ring->users)
        return;
    segue_device_drop(ring->host, ring->base, ring->len);
    free(ring);
}
