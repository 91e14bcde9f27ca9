/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile peer and a live agent: the input is a program of what the peer does and says, as consumer of the agent's offer
 * and as producer of a ticket that the agent believes. Most of what it says is right but for a few bytes, so that it gets
 * far. Whatever it was, in the end every claim has had one VERDICT and one RELEASED, the offer has ended once, the agent
 * holds no link and no descriptor more than before, and nothing wrote outside the claimed block.
 */
#include "agent/link.h"
#include "agent/stage_inside.h"
#include "base/bytes.h"
#include "fuzz/hostile_peer.h"
#include "handoff/handoff.h"

#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the input ---- */

struct program {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct program *p)
{
    if (!p->left)
        return 0;
    p->left--;
    return *p->at++;
}

static uint16_t next16(struct program *p)
{
    uint8_t low = next(p);
    return (uint16_t)(low | next(p) << 8);
}

/* ---- what the peer says ---- */

static uint8_t body[SEGUE_FRAME_MAX];

/* Spoils up to three bytes, and perhaps the length, of a body that was right. */
static uint32_t spoil(struct program *p, uint32_t len)
{
    uint8_t how = next(p);
    for (int i = how & 3; i > 0 && len; i--) {
        uint16_t where = next16(p);
        body[where % len] = next(p);
    }
    if (how & 4)
        len = len ? next16(p) % (len + 1) : 0;
    return len;
}

static void say(struct peer *peer, int fd, uint8_t service, uint8_t type, uint32_t len,
                int carried)
{
    uint8_t bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head = {len, service, type, carried >= 0};
    segue_frame_head_write(bytes, &head);
    peer_send(peer, fd, bytes, sizeof bytes, carried);
    if (len)
        peer_send(peer, fd, body, len, -1);
}

static uint32_t claim_body(const struct prey *prey, struct program *p)
{
    uint8_t way = next(p), pair = next(p);
    struct segue_msg_claim m = {
        .pair = pair % 4,
        .tag = 100 + pair % 4 * 16u,
        .offer = prey->ticket.id,
        .hash = prey->ticket.hash,
        .tokens = prey->ticket.tokens,
        .cache = prey->cache->id,
        .digest = way >> 6 & 1 ? SEGUE_DIGEST_FULL : SEGUE_DIGEST_OFF,
        .row = way & 3,
        .way = (way >> 2 & 3) % 3,
        .wire_tokens = 16,
        .credits = 1,
        .model = "m",
        .convention = "c",
        .geometry = prey->cache->geometry,
        .use = 9,
        .counts = 1,
        .from = pair % 4u,
    };
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_claim_write(&w, &m);
    return (uint32_t)w.len;
}

static uint32_t tell_body(const struct prey *prey)
{
    struct segue_remote_cache cache = {.id = 1, .geometry = prey->cache->geometry};
    strcpy(cache.model, "m");
    strcpy(cache.convention, "c");
    strcpy(cache.device, "host");
    cache.ranks = 1;
    cache.device_caps = prey->cache->device->caps;
    cache.n_regions = 1;
    cache.region_len[0] = PREY_BYTES;
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_cache_tell_write(&w, &cache);
    return (uint32_t)w.len;
}

/* The handle of a memfd of the right size: `fd` says which of ours, not all are what they ought to be. */
static uint32_t handles_body(const char *transport, uint64_t len)
{
    struct segue_handle handle = {.n_fds = 1};
    struct segue_writer b = segue_writer_make(handle.blob, sizeof handle.blob);
    static const char kind[16] = "host";
    segue_writer_bytes(&b, kind, sizeof kind);
    segue_writer_u64(&b, 1);
    segue_writer_u64(&b, 0);
    segue_writer_u64(&b, len);
    handle.len = (uint32_t)b.len;
    struct segue_writer w = segue_writer_make(body, sizeof body);
    if (transport) {
        segue_cache_handles_write(&w, 1, transport, &handle, 1);
    } else {
        segue_writer_u32(&w, 1); /* RING: one slot */
        segue_writer_bytes16(&w, handle.blob, handle.len);
    }
    return (uint32_t)w.len;
}

static uint32_t accept_body(struct peer *peer, struct program *p)
{
    uint32_t blocks[2] = {next(p) % 4u, next(p) % 4u};
    struct segue_writer w = segue_writer_make(body, sizeof body);
    if (segue_accept_write(&w, peer->claimed, 1000000000, blocks, 2) < 0)
        return 0;
    return (uint32_t)w.len;
}

static uint32_t small_body(struct peer *peer, const struct prey *prey, struct program *p,
                           uint8_t type)
{
    uint64_t pair = next(p) & 1 ? peer->claimed : next(p) % 4u;
    struct segue_writer w = segue_writer_make(body, sizeof body);
    struct segue_msg_commit commit = {pair, PREY_BYTES / 2, peer->digest};
    struct segue_msg_verdict verdict = {pair, 1 + next(p) % 7u, 0, "said so"};
    struct segue_msg_end end = {prey->ticket.id, 9, next(p) % 8u, prey->ticket.hash, 1};
    if (type == SEGUE_FRAME_COMMIT)
        segue_commit_write(&w, &commit);
    else if (type == SEGUE_FRAME_VERDICT)
        segue_verdict_write(&w, &verdict);
    else if (type == SEGUE_FRAME_END)
        segue_end_write(&w, &end);
    else if (type == SEGUE_FRAME_HOLD)
        segue_offer_id_write(&w, &prey->ticket.id);
    else
        segue_writer_u64(&w, pair);
    return (uint32_t)w.len;
}

static uint32_t slot_body(struct peer *peer, struct program *p, uint8_t type)
{
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u64(&w, next(p) & 1 ? peer->claimed : next(p) % 4u);
    if (type == SEGUE_FRAME_FULL)
        segue_writer_u32(&w, next(p) % 4u);
    segue_writer_u32(&w, next(p) % 4u);
    return (uint32_t)w.len;
}

static uint32_t stream_body(struct program *p, uint8_t type)
{
    struct segue_stream_message m = {.transport = "tcp"};
    if (type == SEGUE_LINK_STREAM_GRANT) {
        m.port = next16(p);
        strcpy(m.why, "no");
    }
    return segue_stream_message_write(type, &m, body);
}

static uint32_t raw_body(struct program *p)
{
    uint32_t len = next(p);
    for (uint32_t i = 0; i < len; i++)
        body[i] = next(p);
    return len;
}

enum word {
    W_RAW,
    W_CLAIM,
    W_SMALL,
    W_TELL,
    W_HANDLES,
    W_ACCEPT,
    W_RING,
    W_SLOT,
    W_STREAM,
    W_TOLD,
    W_SYNC,
    W_LOAD,
    W_CANCEL,
    W_REVOKE,
    W_LEAVE,
    W_AWAIT,
    W_COUNT,
};

static void speak(struct peer *peer, struct prey *prey, struct program *p, enum word word,
                  bool producer)
{
    static const char *const rows[] = {"shm", "ipc", "cma", "tcp"};
    uint8_t service = SEGUE_SERVICE_HANDOFF, type = 0, which = next(p);
    uint32_t len = 0;
    int carried = -1;
    switch (word) {
    case W_CLAIM:
        type = SEGUE_FRAME_CLAIM;
        len = claim_body(prey, p);
        break;
    case W_SMALL:
        type = SEGUE_FRAME_COMMIT + which % 6u;
        len = small_body(peer, prey, p, type);
        break;
    case W_TELL:
        service = SEGUE_SERVICE_CACHE;
        type = SEGUE_CACHE_TELL;
        len = tell_body(prey);
        break;
    case W_HANDLES:
        service = SEGUE_SERVICE_CACHE;
        type = SEGUE_CACHE_HANDLES;
        len = handles_body(rows[which & 3], PREY_BYTES);
        carried = peer->carried[which >> 2 & 3];
        break;
    case W_TOLD:
        service = SEGUE_SERVICE_CACHE;
        type = which % 6u;
        break;
    case W_ACCEPT:
        type = SEGUE_FRAME_ACCEPT;
        len = accept_body(peer, p);
        break;
    case W_RING:
        service = SEGUE_SERVICE_STAGE;
        type = SEGUE_FRAME_RING;
        len = handles_body(NULL, SEGUE_SLOT_BYTES);
        carried = peer->carried[which & 3];
        break;
    case W_SLOT:
        service = SEGUE_SERVICE_STAGE;
        type = which & 1 ? SEGUE_FRAME_FULL : SEGUE_FRAME_FREE;
        len = slot_body(peer, p, type);
        break;
    case W_STREAM:
        service = SEGUE_SERVICE_LINK;
        type = SEGUE_LINK_STREAM_ASK + which % 3u;
        len = stream_body(p, type);
        break;
    default:
        service = which % 5u;
        type = next(p) % 10u;
        len = raw_body(p);
    }
    say(peer, peer->fd[producer], service, type, spoil(p, len), carried);
}

static void step(struct peer *peer, struct prey *prey, struct program *p)
{
    uint8_t what = next(p);
    enum word word = (enum word)((what & 0x7f) % W_COUNT);
    bool producer = what & 0x80;
    switch (word) {
    case W_SYNC:
        peer_sync(peer, producer);
        break;
    case W_LOAD:
        prey_load(prey, peer, next(p));
        break;
    case W_CANCEL:
        prey_cancel(prey);
        break;
    case W_REVOKE:
        prey_revoke(prey);
        break;
    case W_AWAIT:
        peer_await_commit(peer, producer);
        break;
    case W_LEAVE:
        peer_leave(peer, producer);
        break;
    default:
        if (peer->fd[producer] >= 0)
            speak(peer, prey, p, word, producer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct prey prey;
    struct peer peer;
    struct program p = {data, size};
    if (!prey.agent)
        prey_open(&prey);
    prey_offer(&prey);
    peer_open(&peer, &prey);
    for (int i = 0; i < 40 && p.left; i++)
        step(&peer, &prey, &p);
    peer_sync(&peer, 0);
    peer_sync(&peer, 1);
    peer_leave(&peer, 0);
    peer_leave(&peer, 1);
    prey_settled(&prey);
    return 0;
}
