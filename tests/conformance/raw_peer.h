/* SPDX-License-Identifier: Apache-2.0 */
/* A victim, a friend of it, and raw sockets to say to the victim what no agent would
 * say. */
#ifndef TESTS_CONFORMANCE_RAW_PEER_H
#define TESTS_CONFORMANCE_RAW_PEER_H

#include "agents.h"
#include "agent/control.h"
#include "base/random.h"
#include "kv/cache.h"

#include <sys/socket.h>
#include <sys/un.h>

/* Each test runs against this agent, and checks it at its end with a link of good
 * manners. */
static segue_agent *victim, *friend_;
static int fds_before;
static segue_region *region;
static segue_cache *cache;
static char memory[1 << 16];

static inline void open_cache(void)
{
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    segue_device *host;
    assert_ok(segue_device_find(victim, "host", &host));
    assert_ok(segue_region_register(victim, host, memory, sizeof memory, &region));
    assert_ok(segue_layout_named("hnd", SEGUE_DTYPE_FP16, 1, 4, 16, 1, 32, &opts.layout));
    opts.region = region;
    assert_ok(segue_cache_open(victim, &opts, &cache));
}

static inline int fixture_open(void **state)
{
    struct segue_agent_opts opts = quick_opts("victim");
    opts.connect_ns = 300 * SEGUE_NS_PER_MS;
    if (segue_agent_create(&opts, &victim) < 0)
        return -1;
    open_cache();
    fds_before = open_fds();
    friend_ = make_agent("friend");
    return 0;
}

static inline enum segue_status count_links(struct segue_agent *agent, void *arg)
{
    *(uint32_t *)arg = agent->n_links;
    return SEGUE_OK;
}

static inline int fixture_close(void **state)
{
    struct segue_link *link;
    assert_ok(get_link(friend_, victim->address, victim->incarnation, &link));
    segue_agent_destroy(friend_);
    /* Whoever said no hello is given up after its deadline; nothing of them stays. */
    uint32_t links = 1;
    for (int i = 0; i < 2000 && links; i++) {
        segue_agent_call(victim, count_links, &links);
        usleep(5000);
    }
    assert_int_equal(links, 0);
    assert_int_equal(open_fds(), fds_before);
    segue_cache_close(cache);
    segue_region_deregister(region);
    segue_agent_destroy(victim);
    return 0;
}

static inline int connect_raw(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, victim->address + strlen(SEGUE_UNIX_PREFIX));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline size_t hello_frame(uint8_t *out, uint16_t version)
{
    struct segue_hello hello = {.version = version, .version_min = version};
    segue_random_fill(hello.incarnation, sizeof hello.incarnation);
    strcpy(hello.engine_id, "mallory");
    struct segue_frame_head head = {.service = SEGUE_SERVICE_LINK,
                                    .type = SEGUE_LINK_HELLO};
    head.len = segue_hello_write(&hello, out + SEGUE_FRAME_HEAD);
    segue_frame_head_write(out, &head);
    return SEGUE_FRAME_HEAD + head.len;
}

static inline void send_all(int fd, const void *data, size_t len)
{
    /* The other side may have closed already: that is not this call's business. */
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        sent += (size_t)n;
    }
}

/* Reads frames until the agent closes; the sentence of its ERROR frame, or "". */
static inline void read_end(int fd, char why[200])
{
    static uint8_t bytes[1 << 16];
    size_t len = 0;
    struct pollfd p = {fd, POLLIN, 0};
    why[0] = 0;
    for (;;) {
        if (poll(&p, 1, PATIENCE_S * 1000) != 1)
            fail_msg("the agent did not close the connection");
        ssize_t n = recv(fd, bytes + len, sizeof bytes - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    struct segue_frame_head head;
    for (size_t at = 0; len - at >= SEGUE_FRAME_HEAD; at += SEGUE_FRAME_HEAD + head.len) {
        assert_ok(segue_frame_head_read(bytes + at, &head));
        struct segue_link_error error;
        if (head.service == SEGUE_SERVICE_LINK && head.type == SEGUE_LINK_ERROR) {
            assert_ok(
                segue_link_error_read(bytes + at + SEGUE_FRAME_HEAD, head.len, &error));
            memcpy(why, error.why, sizeof error.why);
        }
    }
}

static inline void expect_end(int fd, const char *want)
{
    char why[200];
    read_end(fd, why);
    if (!strstr(why, want))
        fail_msg("told '%s', expected '%s'", why, want);
    close(fd);
}

static inline void send_frame(int fd, uint8_t service, uint8_t type, const void *body,
                              uint32_t len)
{
    uint8_t bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head = {len, service, type, 0};
    segue_frame_head_write(bytes, &head);
    send_all(fd, bytes, sizeof bytes);
    send_all(fd, body, len);
}

#endif
