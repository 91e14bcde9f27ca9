/* SPDX-License-Identifier: Apache-2.0 */
/* See hostile_peer.h. Waits have a deadline that only a hang can meet; then the run aborts, which is a finding. */
#include "agent/link.h"
#include "base/clock.h"
#include "base/stream.h"
#include "fuzz/hostile_peer.h"
#include "handoff/handoff.h"

#include <segue/device.h>

#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HANG_MS   30000
#define MOMENT_MS 5
#define RINGS_FDS 8 /* what the agent opens once and keeps: its staging rings */

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "hostile peer: %s (%s)\n", what, segue_error_detail());
    abort();
}

static uint64_t now_ms(void)
{
    return segue_now_ns() / SEGUE_NS_PER_MS;
}

/* ---- the agent ---- */

static char folder[] = "/tmp/segue-fuzz-XXXXXX";
static struct { /* what clean_up ends */
    segue_agent *agent;
    segue_device *host;
    segue_region *region;
    segue_cache *cache;
    void *memory;
} all;

static void clean_up(void)
{
    char path[64];
    segue_cache_close(all.cache);
    segue_region_deregister(all.region);
    segue_free(all.host, all.memory);
    segue_agent_destroy(all.agent);
    snprintf(path, sizeof path, "%s/mallory.sock", folder);
    unlink(path);
    char key[128]; /* of tickets: the user's, it stays */
    snprintf(key, sizeof key, "%s/ticket.key", folder);
    unlink(key);
    must(rmdir(folder) == 0, "the agent has left something in its folder");
}

static int free_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    must(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
             listen(fd, 64) == 0,
         "cannot listen");
    return fd;
}

static void open_cache(struct prey *prey)
{
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    all.agent = prey->agent;
    must(segue_device_find(prey->agent, "host", &all.host) == 0, "no device");
    must(segue_alloc(all.host, PREY_BYTES, &all.memory) == 0, "no memory");
    must(segue_region_register(prey->agent, all.host, all.memory, PREY_BYTES,
                               &all.region) == 0,
         "no region");
    must(segue_layout_named("hnd", SEGUE_DTYPE_FP16, 1, 4, 16, 1, 32, &opts.layout) == 0,
         "no layout");
    opts.model = "m";
    opts.convention = "c";
    opts.region = all.region;
    must(segue_cache_open(prey->agent, &opts, &all.cache) == 0, "no cache");
    prey->cache = all.cache;
    prey->memory = all.memory;
    memset(prey->memory, 0x5a, PREY_BYTES);
}

void prey_open(struct prey *prey)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    char path[64];
    must(mkdtemp(folder) != NULL, "no folder");
    /* On this thread, so that nothing of its set-up is left to one that ends; and its clean-up comes after ours. */
    OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
    atexit(clean_up);
    opts.ipc_dir = folder;
    opts.engine_id = "prey";
    opts.ring_bytes = 1 << 20;
    must(segue_agent_create(&opts, &prey->agent) == 0, "no agent");
    open_cache(prey);
    snprintf(path, sizeof path, "%s/mallory.sock", folder);
    prey->listener = listen_at(path);
    prey->bait = (struct segue_ticket){.tokens = PREY_TOKENS, .uses = 1};
    prey->bait.id.incarnation[0] = 7;
    prey->bait.id.sequence = 1;
    strcpy(prey->bait.engine_id, "mallory");
    snprintf(prey->bait.address, sizeof prey->bait.address, "unix:%s", path);
    prey->fds = -1;
}

void prey_offer(struct prey *prey)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    struct segue_offer_id id;
    uint32_t blocks[] = {0, 1};
    opts.tokens = PREY_TOKENS;
    must(segue_offer_mint(prey->agent, &opts, &id) == 0 &&
             segue_offer_create(prey->cache, &id, blocks, 2, NULL) == 0 &&
             segue_offer_ticket(prey->agent, &id, &prey->ticket) == 0,
         "no offer");
    prey->groups = prey->claims = 0;
    prey->claim = 0;
}

void prey_revoke(struct prey *prey)
{
    segue_offer_revoke(prey->agent, &prey->ticket.id); /* it may have ended */
}

static void meet(struct prey *prey, struct peer *peer);

void prey_load(struct prey *prey, struct peer *peer, uint8_t how)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    uint32_t blocks[] = {2, 3};
    uint64_t group;
    opts.tokens = PREY_TOKENS;
    opts.digest = how & 1 ? SEGUE_DIGEST_FULL : SEGUE_DIGEST_OFF;
    if (segue_group_open(prey->agent, &prey->bait, &opts, &group) < 0)
        return;
    prey->groups++;
    claim.blocks = blocks;
    claim.n_blocks = 2;
    claim.first = how & 2 ? 16 : 0;
    if (segue_claim_post(prey->agent, group, prey->cache, &claim, &prey->claim) == 0)
        prey->claims++;
    else
        segue_group_close(prey->agent, group);
    meet(prey, peer);
}

void prey_cancel(struct prey *prey)
{
    segue_claim_cancel(prey->agent, prey->claim); /* it may have ended, or never been */
}

static enum segue_status count_links(struct segue_agent *agent, void *arg)
{
    *(uint32_t *)arg = agent->n_links;
    return SEGUE_OK;
}

static void no_links(struct prey *prey)
{
    uint32_t links = 1;
    uint64_t end = now_ms() + HANG_MS;
    while (links && now_ms() < end)
        segue_agent_call(prey->agent, count_links, &links);
    must(links == 0, "a link of the peer's is left");
}

void prey_settled(struct prey *prey)
{
    unsigned ended = 0, verdicts = 0, released = 0, groups = 0;
    uint64_t end = now_ms() + HANG_MS;
    prey_revoke(prey);
    no_links(prey);
    while (ended < 1 || verdicts < prey->claims || released < prey->claims ||
           groups < prey->groups) {
        struct segue_event event;
        if (segue_event_next(prey->agent, &event) != SEGUE_OK) {
            poll(&(struct pollfd){segue_agent_fd(prey->agent), POLLIN, 0}, 1, 1000);
            must(now_ms() < end, "an event never came");
            continue;
        }
        ended += event.type == SEGUE_EVENT_OFFER_ENDED;
        verdicts += event.type == SEGUE_EVENT_VERDICT;
        released += event.type == SEGUE_EVENT_RELEASED;
        groups += event.type == SEGUE_EVENT_GROUP;
    }
    struct segue_event event;
    must(segue_event_next(prey->agent, &event) != SEGUE_OK, "an event too many");
    must(ended == 1 && verdicts == prey->claims && released == prey->claims &&
             groups == prey->groups,
         "an event came twice");
    for (int i = 0; i < PREY_BYTES / 2; i++) /* blocks 0 and 1: offered, never claimed */
        must(prey->memory[i] == 0x5a, "an offered block was written");
    if (prey->fds < 0)
        prey->fds = free_fd();
    must(free_fd() <= prey->fds + RINGS_FDS, "descriptors are left");
}

/* ---- the peer ---- */

static void memfds(struct peer *peer)
{
    static int kept[4] = {-1};
    static const uint64_t sizes[3] = {1 << 20, 1 << 20, 4096};
    for (int i = 0; kept[3] <= 0 && i < 3; i++) {
        kept[i] = memfd_create("mallory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        must(kept[i] >= 0 && ftruncate(kept[i], (off_t)sizes[i]) == 0, "no memfd");
        if (i != 1)
            must(fcntl(kept[i], F_ADD_SEALS, F_SEAL_SHRINK) == 0, "no seal");
    }
    if (kept[3] <= 0)
        kept[3] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    memcpy(peer->carried, kept, sizeof kept);
}

static void greet(struct peer *peer, const struct prey *prey, int fd)
{
    uint8_t out[SEGUE_FRAME_HEAD + SEGUE_HELLO_ROOM];
    struct segue_hello hello = {.version = SEGUE_WIRE_VERSION,
                                .version_min = SEGUE_WIRE_VERSION};
    memcpy(hello.incarnation, prey->bait.id.incarnation, sizeof hello.incarnation);
    strcpy(hello.engine_id, "mallory");
    struct segue_frame_head head = {.service = SEGUE_SERVICE_LINK,
                                    .type = SEGUE_LINK_HELLO};
    head.len = segue_hello_write(&hello, out + SEGUE_FRAME_HEAD);
    segue_frame_head_write(out, &head);
    peer_send(peer, fd, out, SEGUE_FRAME_HEAD + head.len, -1);
}

void peer_open(struct peer *peer, struct prey *prey)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *peer = (struct peer){.fd = {-1, -1}};
    memfds(peer);
    strcpy(address.sun_path, segue_agent_address(prey->agent) + strlen("unix:"));
    peer->fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(peer->fd[0], (struct sockaddr *)&address, sizeof address) == 0,
         "cannot connect");
    greet(peer, prey, peer->fd[0]);
}

/* The agent has dialled where the bait leads, or had done so before. */
static void meet(struct prey *prey, struct peer *peer)
{
    int fd;
    while ((fd = accept4(prey->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        peer_leave(peer, true);
        peer->fd[1] = fd;
        greet(peer, prey, fd);
    }
}

void peer_send(struct peer *peer, int fd, const void *data, size_t len, int carried)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (carried >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof carried),
                              .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(c), &carried, sizeof carried);
    }
    (void)peer;
    (void)!sendmsg(fd, &m, MSG_NOSIGNAL); /* it may have closed */
}

/* Reads all of `len`; false when the agent has closed. */
static bool hear(int fd, void *data, size_t len)
{
    struct pollfd p = {fd, POLLIN, 0};
    for (size_t got = 0; got < len;) {
        must(poll(&p, 1, HANG_MS) == 1, "the agent does not answer");
        ssize_t n = recv(fd, (char *)data + got, len - got, 0);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* The next frame's head, its body dropped; false, and the socket closed, when the agent has closed. */
static bool frame(struct peer *peer, bool producer, struct segue_frame_head *head)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    uint8_t bytes[SEGUE_FRAME_HEAD];
    int fd = peer->fd[producer];
    if (!hear(fd, bytes, sizeof bytes)) {
        peer_leave(peer, producer);
        return false;
    }
    must(segue_frame_head_read(bytes, head) >= 0, "the agent sends no frames");
    if (head->len && !hear(fd, body, head->len)) {
        peer_leave(peer, producer);
        return false;
    }
    struct segue_reader r = segue_reader_make(body, head->len);
    if (head->service == SEGUE_SERVICE_HANDOFF && head->type == SEGUE_FRAME_CLAIM)
        peer->claimed = segue_reader_u64(&r);
    return true;
}

void peer_sync(struct peer *peer, bool producer)
{
    uint8_t bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head = {.service = SEGUE_SERVICE_LINK,
                                    .type = SEGUE_LINK_PING};
    if (peer->fd[producer] < 0)
        return;
    segue_frame_head_write(bytes, &head);
    peer_send(peer, peer->fd[producer], bytes, sizeof bytes, -1);
    while (frame(peer, producer, &head))
        if (head.service == SEGUE_SERVICE_LINK && head.type == SEGUE_LINK_PONG)
            return;
}

void peer_await_commit(struct peer *peer, bool producer)
{
    struct segue_frame_head head;
    while (peer->fd[producer] >= 0 &&
           poll(&(struct pollfd){peer->fd[producer], POLLIN, 0}, 1, MOMENT_MS) == 1)
        if (frame(peer, producer, &head) && head.service == SEGUE_SERVICE_HANDOFF &&
            head.type == SEGUE_FRAME_COMMIT)
            return;
}

void peer_leave(struct peer *peer, bool producer)
{
    segue_fd_close(&peer->fd[producer]);
}
