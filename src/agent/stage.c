/* SPDX-License-Identifier: Apache-2.0 */
/* The staging service: its messages, what feeds and intakes have in common, and how they end. */
#include "agent/stage_inside.h"

#include "base/bytes.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- lanes ---- */

struct segue_lane_slot *segue_lane_find(struct segue_stage_half *half,
                                        enum segue_lane_state state)
{
    for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++)
        if (half->lanes[i].state == state)
            return &half->lanes[i];
    return NULL;
}

void segue_lane_drop(struct segue_stage_half *half, struct segue_lane_slot *lane)
{
    int slot = lane->slot;
    lane->state = SEGUE_LANE_FREE;
    lane->slot = -1;
    if (half->feeds)
        segue_ring_give(&half->stage->out, slot);
    else if (half->connection)
        segue_ring_give(&half->stage->in, slot);
}

static void lane_report(struct segue_task *task)
{
    struct segue_lane_slot *lane = segue_container_of(task, struct segue_lane_slot,
                                                      report);
    struct segue_stage_half *half = lane->half;
    half->in_flight--;
    if (lane->status < 0 || half->stopping) {
        segue_lane_drop(half, lane);
        segue_stage_fail(half, lane->status < 0 ? lane->status : SEGUE_E_CANCELLED,
                         "the stream of slots ended early");
    } else if (half->feeds) {
        segue_feed_sent(half, lane);
    } else {
        segue_intake_received(half, lane);
    }
}

static void lane_done(struct segue_op *op, enum segue_status status)
{
    struct segue_lane_slot *lane = segue_container_of(op, struct segue_lane_slot, op);
    lane->status = status;
    segue_loop_post(lane->half->stage->agent->loop, &lane->report);
}

enum segue_status segue_lane_stream(struct segue_stage_half *half,
                                    struct segue_lane_slot *lane, enum segue_op_kind kind,
                                    struct segue_ring *ring)
{
    uint64_t at = (uint64_t)lane->slot * SEGUE_SLOT_BYTES;
    lane->move = half->now.wire;
    lane->move.src_offset += at;
    lane->move.dst_offset += at;
    lane->span = half->now.span;
    size_t row = 0;
    while (half->stage->agent->transports[row] != half->connection->transport)
        row++;
    lane->reg = ring->region->registrations[row];
    lane->half = half;
    lane->report.fn = lane_report;
    lane->op = (struct segue_op){.kind = kind,
                                 .transfer = {&lane->move, 1, &lane->span, 1},
                                 .local = &lane->reg,
                                 .n_local = 1,
                                 .tag = half->tag + lane->piece,
                                 .deadline_ns = half->deadline_ns,
                                 .done = lane_done};
    SEGUE_TRY(segue_op_post(half->connection, &lane->op));
    lane->state = SEGUE_LANE_STREAM;
    half->in_flight++;
    return SEGUE_OK;
}

/* ---- copies ---- */

static void job_report(struct segue_task *task)
{
    struct segue_stage_half *half = segue_container_of(task, struct segue_stage_half,
                                                       job_report);
    half->copying = false;
    enum segue_status status = half->job_status;
    if (status >= 0 && !half->stopping && ++half->hop < half->now.n_hops) {
        status = segue_stage_copy(half);
        if (status >= 0)
            return;
        snprintf(half->job_why, sizeof half->job_why, "%s", segue_error_detail());
    }
    if (half->scratch_slot >= 0)
        segue_ring_give(half->feeds ? &half->stage->out : &half->stage->in,
                        half->scratch_slot);
    half->scratch_slot = -1;
    if (status < 0 || half->stopping) {
        segue_lane_drop(half, half->lane);
        half->lane = NULL;
        segue_stage_fail(half, status < 0 ? status : SEGUE_E_CANCELLED, half->job_why);
    } else if (half->feeds) {
        segue_feed_copied(half);
    } else {
        segue_intake_copied(half);
    }
}

static void job_done(struct segue_copy_job *job, enum segue_status status)
{
    struct segue_stage_half *half = segue_container_of(job, struct segue_stage_half, job);
    half->job_status = status;
    if (status < 0)
        snprintf(half->job_why, sizeof half->job_why, "%s", segue_error_detail());
    segue_loop_post(half->stage->agent->loop, &half->job_report);
}

static const struct segue_extent *extents(struct segue_stage_half *half,
                                          enum segue_stage_place place, size_t *n)
{
    *n = place == SEGUE_PLACE_MEMORY ? half->pieces->n_memory : 1;
    if (place == SEGUE_PLACE_MEMORY)
        return half->pieces->memory;
    return place == SEGUE_PLACE_SLOT ? &half->slot : &half->scratch;
}

enum segue_status segue_stage_copy(struct segue_stage_half *half)
{
    const struct segue_stage_hop *hop = &half->now.hop[half->hop];
    half->job = (struct segue_copy_job){.transfer = hop->transfer, .done = job_done};
    half->job.src = extents(half, hop->from, &half->job.n_src);
    half->job.dst = extents(half, hop->to, &half->job.n_dst);
    /* Slots are read again at once, and so are kept in the caches; the memory is not. */
    if (hop->to == SEGUE_PLACE_MEMORY)
        half->job.part_of = (uint64_t)half->pieces->count * SEGUE_SLOT_BYTES;
    half->job_report.fn = job_report;
    half->copying = true;
    enum segue_status status = segue_device_copy(hop->device, &half->job);
    if (status < 0)
        half->copying = false;
    return status;
}

/* ---- end ---- */

/* Its own task, so that `done` never runs inside a call on the half. */
static void end(struct segue_task *task)
{
    struct segue_stage_half *half = segue_container_of(task, struct segue_stage_half,
                                                       end);
    half->running = half->ending = false;
    half->stage->live--;
    if (half->status < 0)
        segue_fail(half->status, "%s", half->why);
    half->done(half, half->status);
}

void segue_stage_settle(struct segue_stage_half *half)
{
    bool through = half->through == half->pieces->count;
    if (!half->running || half->ending || half->copying || half->in_flight ||
        (!through && !half->stopping))
        return;
    for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++)
        if (half->lanes[i].state != SEGUE_LANE_FREE)
            segue_lane_drop(half, &half->lanes[i]);
    if (half->scratch_slot >= 0)
        segue_ring_give(half->feeds ? &half->stage->out : &half->stage->in,
                        half->scratch_slot);
    half->scratch_slot = -1;
    segue_list_remove(&half->waiting);
    segue_list_init(&half->waiting);
    if (half->link) {
        struct segue_stage_peer *peer = half->link->state[SEGUE_SERVICE_STAGE];
        if (peer)
            segue_map_remove(half->feeds ? &peer->feeds : &peer->intakes, half->pair);
    }
    segue_peer_ring_release(half->ring);
    half->ring = NULL;
    half->ending = true;
    if (through)
        half->status = SEGUE_OK;
    half->end.fn = end;
    segue_loop_post(half->stage->agent->loop, &half->end);
}

void segue_stage_fail(struct segue_stage_half *half, enum segue_status status,
                      const char *why)
{
    if (!half->stopping) {
        half->stopping = true;
        half->status = status;
        snprintf(half->why, sizeof half->why, "%s", why);
        for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++)
            if (half->lanes[i].state == SEGUE_LANE_STREAM)
                segue_op_cancel(&half->lanes[i].op);
        if (half->copying)
            half->job.cancelled = true;
    }
    segue_stage_settle(half);
}

void segue_stage_cancel(struct segue_stage_half *half)
{
    if (half->running && !half->ending)
        segue_stage_fail(half, SEGUE_E_CANCELLED, "it was cancelled");
}

void segue_stage_pump(struct segue_stage_half *half)
{
    if (!half->running || half->stopping || half->ending)
        return;
    if (half->feeds)
        segue_feed_pump(half);
    else
        segue_intake_pump(half);
}

void segue_stage_send(struct segue_stage_half *half, enum segue_stage_frame type,
                      uint32_t piece, uint32_t slot)
{
    uint8_t body[16];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u64(&w, half->pair);
    if (type == SEGUE_FRAME_FULL)
        segue_writer_u32(&w, piece);
    segue_writer_u32(&w, slot);
    if (half->link)
        segue_link_send(half->link, SEGUE_SERVICE_STAGE, (uint8_t)type, body,
                        (uint32_t)w.len, NULL, 0);
}

/* ---- start ---- */

static struct segue_stage_peer *peer_of(struct segue_link *link)
{
    if (!link->state[SEGUE_SERVICE_STAGE])
        link->state[SEGUE_SERVICE_STAGE] = calloc(1, sizeof(struct segue_stage_peer));
    return link->state[SEGUE_SERVICE_STAGE];
}

struct segue_stage *segue_stage_of(struct segue_agent *agent)
{
    return segue_container_of(agent->services[SEGUE_SERVICE_STAGE], struct segue_stage,
                              service);
}

static enum segue_status begin(struct segue_link *link, struct segue_stage_half *half,
                               bool feeds)
{
    SEGUE_TRY(segue_stage_service(link->agent));
    struct segue_stage *stage = segue_stage_of(link->agent);
    struct segue_stage_peer *peer = peer_of(link);
    if (!half->lanes)
        half->lanes = calloc(SEGUE_STAGE_SHARE, sizeof *half->lanes);
    if (!peer || !half->lanes)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a staged hand-off");
    if (feeds || half->connection || half->pieces->scratch)
        SEGUE_TRY(segue_ring_open(feeds ? &stage->out : &stage->in));
    SEGUE_TRY(segue_map_put(feeds ? &peer->feeds : &peer->intakes, half->pair, half));
    half->stage = stage;
    half->link = link;
    half->feeds = feeds;
    half->scratch_slot = -1;
    half->next = half->coming = half->through = half->in_flight = 0;
    half->status = SEGUE_OK;
    half->copying = half->stopping = half->ending = false;
    for (uint32_t i = 0; i < SEGUE_STAGE_SHARE; i++)
        half->lanes[i] = (struct segue_lane_slot){.slot = -1, .half = half};
    half->running = true;
    segue_list_init(&half->waiting);
    stage->live++;
    segue_stage_pump(half);
    return SEGUE_OK;
}

enum segue_status segue_stage_feed(struct segue_link *link, struct segue_stage_half *half)
{
    return begin(link, half, true);
}

enum segue_status segue_stage_intake(struct segue_link *link,
                                     struct segue_stage_half *half)
{
    return begin(link, half, false);
}

/* ---- frames ---- */

static enum segue_status on_ring(struct segue_stage *stage, struct segue_link *link,
                                 struct segue_frame *frame)
{
    struct segue_stage_peer *peer = peer_of(link);
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    uint32_t slots = segue_reader_u32(&r);
    struct segue_bytes blob = segue_reader_bytes16(&r);
    if (!peer || r.failed || peer->ring || slots == 0 || slots > SEGUE_RING_SLOTS_MAX ||
        blob.len > SEGUE_BLOB_MAX || frame->n_fds > SEGUE_BLOB_FDS)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed staging ring");
    struct segue_handle handle = {.len = (uint32_t)blob.len, .n_fds = frame->n_fds};
    memcpy(handle.blob, blob.data, blob.len);
    memcpy(handle.fds, frame->fds, frame->n_fds * sizeof *handle.fds);
    uint64_t len = (uint64_t)slots * SEGUE_SLOT_BYTES;
    struct segue_peer_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a staging ring");
    void *base;
    enum segue_status status = segue_device_import(stage->agent->devices[0], &handle, len,
                                                   &base);
    if (status < 0) {
        free(ring);
        return status;
    }
    *ring = (struct segue_peer_ring){stage->agent->devices[0], base, len, 1};
    peer->ring = ring;
    return SEGUE_OK;
}

static enum segue_status on_frame(struct segue_service *service, struct segue_link *link,
                                  struct segue_frame *frame)
{
    struct segue_stage *stage = segue_container_of(service, struct segue_stage, service);
    if (frame->type == SEGUE_FRAME_RING)
        return on_ring(stage, link, frame);
    if (frame->type != SEGUE_FRAME_FULL && frame->type != SEGUE_FRAME_FREE)
        return SEGUE_OK; /* of a later version (R21) */
    struct segue_stage_peer *peer = peer_of(link);
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    uint64_t pair = segue_reader_u64(&r);
    bool full = frame->type == SEGUE_FRAME_FULL;
    uint32_t piece = full ? segue_reader_u32(&r) : 0, slot = segue_reader_u32(&r);
    if (!peer || r.failed)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed staging message");
    struct segue_stage_half *half = segue_map_get(full ? &peer->intakes : &peer->feeds,
                                                  pair);
    if (!half ||
        half->stopping) /* given up meanwhile: the feed takes its slots back by itself */
        return SEGUE_OK;
    return full ? segue_intake_full(half, piece, slot) : segue_feed_free(half, slot);
}

static void link_gone(struct segue_service *service, struct segue_link *link,
                      const char *why)
{
    struct segue_stage_peer *peer = link->state[SEGUE_SERVICE_STAGE];
    if (!peer)
        return;
    link->state[SEGUE_SERVICE_STAGE] = NULL;
    struct segue_map *maps[] = {&peer->feeds, &peer->intakes};
    for (int i = 0; i < 2; i++) {
        struct segue_map_cursor at = {0};
        struct segue_stage_half *half;
        while ((half = segue_map_next(maps[i], &at, NULL))) {
            half->link = NULL;
            segue_stage_fail(half, SEGUE_E_LOST, why);
        }
        segue_map_clear(maps[i]);
    }
    segue_peer_ring_release(peer->ring);
    free(peer);
}

static void stop(struct segue_service *service)
{
    (void)service; /* the layer above cancels its halves */
}

static bool idle(struct segue_service *service)
{
    struct segue_stage *stage = segue_container_of(service, struct segue_stage, service);
    return stage->live == 0 && !stage->out.opening && !stage->in.opening;
}

static void close_service(struct segue_service *service)
{
    struct segue_stage *stage = segue_container_of(service, struct segue_stage, service);
    segue_ring_close(&stage->out);
    segue_ring_close(&stage->in);
    free(stage);
}

enum segue_status segue_stage_service(struct segue_agent *agent)
{
    if (agent->services[SEGUE_SERVICE_STAGE])
        return SEGUE_OK;
    struct segue_stage *stage = calloc(1, sizeof *stage);
    if (!stage)
        return segue_fail(SEGUE_E_MEMORY, "no memory for the staging service");
    stage->agent = agent;
    segue_ring_init(&stage->out, agent);
    segue_ring_init(&stage->in, agent);
    stage->service = (struct segue_service){.type = SEGUE_SERVICE_STAGE,
                                            .frame = on_frame,
                                            .gone = link_gone,
                                            .stop = stop,
                                            .idle = idle,
                                            .close = close_service};
    segue_agent_service_add(agent, &stage->service);
    return SEGUE_OK;
}
