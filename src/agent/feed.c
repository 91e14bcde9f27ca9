/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's half of the packed way: gathers pieces into slots, as many ahead as it has credits. */
#include "agent/stage_inside.h"

#include "agent/fault.h"
#include "base/bytes.h"
#include "base/status.h"

/* Before the first slot is filled. */
static enum segue_status tell_ring(struct segue_stage_half *half)
{
    struct segue_stage *stage = half->stage;
    struct segue_link *link = half->link;
    struct segue_stage_peer *peer = link ? link->state[SEGUE_SERVICE_STAGE] : NULL;
    if (half->connection || !peer || peer->told || !stage->out.base)
        return SEGUE_OK;
    struct segue_handle handle;
    struct segue_ring *ring = &stage->out;
    SEGUE_TRY(segue_device_export(stage->agent->devices[0], ring->base,
                                  (uint64_t)ring->slots * SEGUE_SLOT_BYTES, &handle));
    uint8_t body[SEGUE_BLOB_MAX + 16];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u32(&w, ring->slots);
    segue_writer_bytes16(&w, handle.blob, handle.len);
    enum segue_status status = segue_link_send(link, SEGUE_SERVICE_STAGE,
                                               SEGUE_FRAME_RING, body, (uint32_t)w.len,
                                               handle.fds, handle.n_fds);
    segue_handle_close(&handle);
    peer->told = status >= 0;
    return status;
}

void segue_feed_pump(struct segue_stage_half *half)
{
    if (half->copying || half->next == half->pieces->count || half->credits == 0)
        return;
    enum segue_status status = tell_ring(half);
    if (status < 0) {
        segue_stage_fail(half, status, segue_error_detail());
        return;
    }
    struct segue_lane_slot *lane = segue_lane_find(half, SEGUE_LANE_FREE);
    struct segue_ring *ring = &half->stage->out;
    half->scratch_slot = -1;
    if (!lane || !segue_ring_take(ring, half, &lane->slot,
                                  half->pieces->scratch ? &half->scratch_slot : NULL))
        return;
    lane->state = SEGUE_LANE_COPYING;
    lane->piece = half->next;
    half->lane = lane;
    half->slot = (struct segue_extent){segue_ring_slot(ring, (uint32_t)lane->slot),
                                       SEGUE_SLOT_BYTES};
    if (half->scratch_slot >= 0)
        half->scratch = (struct segue_extent){
            segue_ring_slot(ring, (uint32_t)half->scratch_slot), SEGUE_SLOT_BYTES};
    half->pieces->piece(half->pieces, half->next, &half->now);
    half->next++;
    half->credits--;
    half->hop = 0;
    status = segue_stage_copy(half);
    if (status < 0)
        segue_stage_fail(half, status, segue_error_detail());
}

void segue_feed_copied(struct segue_stage_half *half)
{
    struct segue_lane_slot *lane = half->lane;
    half->lane = NULL;
    if (!half->connection) {
        lane->state = SEGUE_LANE_FULL;
        segue_link_fault_piece(half->link, lane->piece + 1, half->pieces->count);
        segue_stage_send(half, SEGUE_FRAME_FULL, lane->piece, (uint32_t)lane->slot);
    } else {
        enum segue_status status = segue_lane_stream(half, lane, SEGUE_OP_SEND,
                                                     &half->stage->out);
        if (status < 0) {
            segue_stage_fail(half, status, segue_error_detail());
            return;
        }
    }
    segue_stage_pump(half);
}

void segue_feed_sent(struct segue_stage_half *half, struct segue_lane_slot *lane)
{
    segue_lane_drop(half, lane);
    half->through++;
    segue_stage_pump(half);
    segue_stage_settle(half);
}

enum segue_status segue_feed_free(struct segue_stage_half *half, uint32_t slot)
{
    if (half->connection) { /* a credit: its slot is the intake's business */
        if (half->credits >= half->pieces->count)
            return segue_fail(SEGUE_E_PROTOCOL,
                              "the peer gave more credits than there are pieces");
        half->credits++;
        segue_stage_pump(half);
        return SEGUE_OK;
    }
    for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++) {
        struct segue_lane_slot *lane = &half->lanes[i];
        if (lane->state != SEGUE_LANE_FULL || (uint32_t)lane->slot != slot)
            continue;
        segue_lane_drop(half, lane);
        half->credits++;
        half->through++;
        segue_stage_pump(half);
        segue_stage_settle(half);
        return SEGUE_OK;
    }
    return segue_fail(SEGUE_E_PROTOCOL,
                      "the peer gave back slot %u, which it did not have", slot);
}
