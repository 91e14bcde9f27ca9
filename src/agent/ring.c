/* SPDX-License-Identifier: Apache-2.0 */
/* Staging slots: one piece of exportable host memory, cut into equal slots, made when first needed. */
#include "agent/stage_inside.h"

#include "base/status.h"

#include <stdlib.h>

enum segue_status segue_ring_open(struct segue_ring *ring, struct segue_agent *agent)
{
    if (ring->base)
        return SEGUE_OK;
    uint64_t slots = agent->opts.ring_bytes / SEGUE_SLOT_BYTES;
    if (slots < 2 * SEGUE_STAGE_SHARE)
        slots = 2 * SEGUE_STAGE_SHARE;
    struct segue_device *host = agent->devices[0];
    void *base;
    ring->free = calloc(slots, sizeof *ring->free);
    if (!ring->free)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a staging ring of %llu slots",
                          (unsigned long long)slots);
    enum segue_status status = segue_alloc(host, slots * SEGUE_SLOT_BYTES, &base);
    if (status >= 0 &&
        (status = segue_region_register(agent, host, base, slots * SEGUE_SLOT_BYTES,
                                        &ring->region)) < 0)
        segue_free(host, base);
    if (status < 0) {
        free(ring->free);
        ring->free = NULL;
        return status;
    }
    ring->agent = agent;
    ring->base = base;
    ring->slots = (uint32_t)slots;
    for (uint32_t i = 0; i < ring->slots; i++)
        ring->free[ring->n_free++] = ring->slots - 1 - i;
    return SEGUE_OK;
}

void segue_ring_close(struct segue_ring *ring)
{
    if (!ring->base)
        return;
    segue_region_deregister(ring->region);
    segue_free(ring->agent->devices[0], ring->base);
    free(ring->free);
}

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
