/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's half of the packed way: scatters pieces out of slots, in order, and gives the slots back. */
#include "agent/stage_inside.h"

#include "agent/fault.h"
#include "base/status.h"

uint32_t segue_stage_credits(uint32_t pieces)
{
    return pieces < SEGUE_STAGE_SHARE ? pieces : SEGUE_STAGE_SHARE;
}

/* Over a stream the slots are ours: each free lane waits for the next piece. */
static void receive(struct segue_stage_half *half)
{
    struct segue_lane_slot *lane;
    while (half->connection && half->coming < half->pieces->count &&
           (lane = segue_lane_find(half, SEGUE_LANE_FREE))) {
        if (!segue_ring_take(&half->stage->in, half, &lane->slot, NULL))
            return;
        uint32_t piece = half->coming++;
        lane->piece = piece;
        lane->state = SEGUE_LANE_COPYING;
        half->pieces->piece(half->pieces, piece, &half->now);
        enum segue_status status = segue_lane_stream(half, lane, SEGUE_OP_RECV,
                                                     &half->stage->in);
        if (status < 0) {
            segue_stage_fail(half, status, segue_error_detail());
            return;
        }
        /* The first credits went with the claim, whose receives stand before it is sent. */
        if (piece >= segue_stage_credits(half->pieces->count))
            segue_stage_send(half, SEGUE_FRAME_FREE, 0, 0);
    }
}

void segue_intake_pump(struct segue_stage_half *half)
{
    if (half->copying)
        return;
    for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++) {
        struct segue_lane_slot *lane = &half->lanes[i];
        if (lane->state != SEGUE_LANE_FULL || lane->piece != half->next)
            continue;
        half->scratch_slot = -1;
        if (half->pieces->scratch) {
            if (!segue_ring_take(&half->stage->in, half, &half->scratch_slot, NULL))
                return;
            half->scratch = (struct segue_extent){
                segue_ring_slot(&half->stage->in, (uint32_t)half->scratch_slot),
                SEGUE_SLOT_BYTES};
        }
        lane->state = SEGUE_LANE_COPYING;
        half->lane = lane;
        char *base = half->connection
                         ? segue_ring_slot(&half->stage->in, (uint32_t)lane->slot)
                         : half->ring->base + (uint64_t)lane->slot * SEGUE_SLOT_BYTES;
        half->slot = (struct segue_extent){base, SEGUE_SLOT_BYTES};
        half->pieces->piece(half->pieces, lane->piece, &half->now);
        half->next++;
        half->hop = 0;
        enum segue_status status = segue_stage_copy(half);
        if (status < 0)
            segue_stage_fail(half, status, segue_error_detail());
        return;
    }
    receive(half);
}

void segue_intake_copied(struct segue_stage_half *half)
{
    struct segue_lane_slot *lane = half->lane;
    half->lane = NULL;
    if (!half->connection)
        segue_link_fault_piece(half->link, lane->piece + 1, half->pieces->count);
    if (!half->connection)
        segue_stage_send(half, SEGUE_FRAME_FREE, lane->piece, (uint32_t)lane->slot);
    segue_lane_drop(half, lane);
    half->through++;
    segue_stage_pump(half);
    segue_stage_settle(half);
}

void segue_intake_received(struct segue_stage_half *half, struct segue_lane_slot *lane)
{
    lane->state = SEGUE_LANE_FULL;
    segue_stage_pump(half);
}

enum segue_status segue_intake_full(struct segue_stage_half *half, uint32_t piece,
                                    uint32_t slot)
{
    struct segue_stage_peer *peer = half->link->state[SEGUE_SERVICE_STAGE];
    struct segue_lane_slot *lane = segue_lane_find(half, SEGUE_LANE_FREE);
    if (half->connection || !peer->ring || slot >= peer->ring->len / SEGUE_SLOT_BYTES)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "the peer filled slot %u of a ring we do not know", slot);
    if (!lane || piece != half->coming)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent piece %u out of turn", piece);
    if (!half->ring) {
        half->ring = peer->ring;
        half->ring->users++;
    }
    half->coming++;
    lane->piece = piece;
    lane->slot = (int)slot;
    lane->state = SEGUE_LANE_FULL;
    segue_stage_pump(half);
    return SEGUE_OK;
}
