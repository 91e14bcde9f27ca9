/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A producer that lies: it describes the cache of a real one, then answers a claim with what it should not. The claim
 * ends as lost, once, its blocks come back, nothing is kept, and the next hand-off with another works.
 */
#include "raw_peer.h"
#include "agent/stage_inside.h"
#include "base/stream.h"
#include "conformance/handoff_pair.h"
#include "handoff/wire.h"
#include "kv/cache_wire.h"

#define TOKENS 100
#define SALT   3

static const struct geometry hnd16 = {"hnd", "host", 16, 1, SEGUE_DTYPE_FP16};
static struct engine honest, prey;
static char liar_path[100];
static uint8_t incarnation[16] = "the liar's start";
static uint32_t from[32], to[32];

static int listen_liar(const char *dir)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(liar_path, sizeof liar_path, "%s/liar", dir);
    strcpy(at.sun_path, liar_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void send_with_fds(int fd, uint8_t service, uint8_t type,
                          const struct segue_writer *body, const int *fds, uint32_t n)
{
    uint8_t bytes[2048];
    struct segue_frame_head head = {(uint32_t)body->len, service, type, (uint16_t)n};
    size_t sent, len = SEGUE_FRAME_HEAD + body->len;
    assert_true(len <= sizeof bytes);
    segue_frame_head_write(bytes, &head);
    memcpy(bytes + SEGUE_FRAME_HEAD, body->data, body->len);
    struct iovec iov = {bytes, len};
    enum segue_status status = segue_stream_send(fd, &iov, 1, fds, n, &sent);
    if (status == SEGUE_E_LOST) /* the honest engine has shut the liar out already */
        return;
    assert_ok(status);
    assert_int_equal(sent, len);
}

static void say_hello(int fd)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_hello hello = {.version = SEGUE_WIRE_VERSION,
                                .version_min = SEGUE_WIRE_VERSION};
    memcpy(hello.incarnation, incarnation, sizeof hello.incarnation);
    strcpy(hello.engine_id, "liar");
    send_frame(fd, SEGUE_SERVICE_LINK, SEGUE_LINK_HELLO, bytes,
               segue_hello_write(&hello, bytes));
}

/* The honest engine's cache, memory and all, as if it were the liar's. */
static void describe(int fd)
{
    struct segue_cache *real = honest.cache[0];
    struct segue_remote_cache told = {.id = 1,
                                      .ranks = 1,
                                      .geometry = real->geometry,
                                      .model = "test-model",
                                      .convention = "rope:half",
                                      .device = "host",
                                      .device_caps = real->device->caps,
                                      .n_regions = 1,
                                      .region_len = {real->regions[0]->len}};
    uint8_t body[1024];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_cache_tell_write(&w, &told);
    send_with_fds(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, &w, NULL, 0);
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++) {
        struct segue_handle handle;
        if (strcmp(segue_transport_name(row), "shm") != 0)
            continue;
        assert_ok(
            segue_registration_export(real->regions[0]->registrations[row], &handle));
        w = segue_writer_make(body, sizeof body);
        segue_cache_handles_write(&w, 1, "shm", &handle, 1);
        send_with_fds(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_HANDLES, &w, handle.fds,
                      handle.n_fds);
        segue_handle_close(&handle);
    }
    send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TOLD, NULL, 0);
}

/* Plays the producer until a claim comes; its pair. */
static uint64_t hear_claim(int fd)
{
    static uint8_t body[SEGUE_FRAME_MAX];
    uint8_t bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head;
    say_hello(fd);
    for (;;) {
        assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
        assert_ok(segue_frame_head_read(bytes, &head));
        if (head.len)
            assert_int_equal(recv(fd, body, head.len, MSG_WAITALL), head.len);
        if (head.service == SEGUE_SERVICE_CACHE && head.type == SEGUE_CACHE_ASK)
            describe(fd);
        if (head.service == SEGUE_SERVICE_HANDOFF && head.type == SEGUE_FRAME_CLAIM) {
            struct segue_reader r = segue_reader_make(body, head.len);
            return segue_reader_u64(&r);
        }
    }
}

static void accept_with(int fd, uint64_t pair, uint32_t start, uint32_t count)
{
    uint8_t body[64];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u64(&w, pair);
    segue_writer_u64(&w, UINT64_MAX);
    segue_writer_u32(&w, 1);
    segue_writer_u32(&w, start);
    segue_writer_u32(&w, count);
    send_with_fds(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_ACCEPT, &w, NULL, 0);
}

static void say_verdict(int fd, uint64_t pair, enum segue_verdict verdict)
{
    uint8_t body[512];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    struct segue_msg_verdict m = {.pair = pair, .verdict = (uint8_t)verdict};
    segue_verdict_write(&w, &m);
    send_with_fds(fd, SEGUE_SERVICE_HANDOFF, SEGUE_FRAME_VERDICT, &w, NULL, 0);
}

static void say_full(int fd, uint64_t pair, uint32_t piece, uint32_t slot)
{
    uint8_t body[16];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u64(&w, pair);
    segue_writer_u32(&w, piece);
    segue_writer_u32(&w, slot);
    send_with_fds(fd, SEGUE_SERVICE_STAGE, SEGUE_FRAME_FULL, &w, NULL, 0);
}

/* A ring of `slots` over memory of `real` slots. */
static void say_ring(int fd, uint32_t slots, uint32_t real)
{
    void *slot;
    struct segue_handle handle;
    uint8_t body[512];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_device *host;
    assert_ok(segue_device_find(honest.agent, "host", &host));
    assert_ok(segue_alloc(host, (uint64_t)real * SEGUE_SLOT_BYTES, &slot));
    assert_ok(
        segue_device_export(host, slot, (uint64_t)real * SEGUE_SLOT_BYTES, &handle));
    segue_writer_u32(&w, slots);
    segue_writer_bytes16(&w, handle.blob, handle.len);
    send_with_fds(fd, SEGUE_SERVICE_STAGE, SEGUE_FRAME_RING, &w, handle.fds,
                  handle.n_fds);
    segue_handle_close(&handle);
    segue_free(host, slot);
}

static const struct lie {
    const char *path, *name, *want; /* want: in the claim's sentence */
} lies[] = {
    {"shm/mapped", "valid before the accept", "before it was asked"},
    {"shm/packed", "valid before the bytes", "before it was asked"},
    {"shm/mapped", "block 4,294,967,295", "named blocks"},
    {"shm/mapped", "more blocks than there are", "named blocks"},
    {"shm/mapped", "runs that wrap around", "named blocks"},
    {"shm/mapped", "too few blocks", "of 7 blocks"},
    {"shm/mapped", "no such verdict", "malformed verdict"},
    {"shm/packed", "slots of no ring", "a ring we do not know"},
    {"shm/packed", "a slot beyond the ring", "a ring we do not know"},
    {"shm/packed", "a piece out of turn", "out of turn"},
    {"shm/packed", "more pieces than slots", "out of turn"},
    {"shm/packed", "a ring larger than its memory", "bytes"},
    {"shm/packed", "two rings", "malformed staging ring"},
    {"shm/packed", "a ring of no slots", "malformed staging ring"},
    {"shm/mapped", "others' claims, then goes", ""},
};

static void lie(int fd, size_t which, uint64_t pair)
{
    switch (which) {
    case 0:
        say_verdict(fd, pair, SEGUE_VERDICT_VALID);
        break;
    case 1:
        accept_with(fd, pair, 0, 7);
        say_verdict(fd, pair, SEGUE_VERDICT_VALID);
        break;
    case 2:
        accept_with(fd, pair, UINT32_MAX, 7);
        break;
    case 3:
        accept_with(fd, pair, 20, 7);
        break;
    case 4:
        accept_with(fd, pair, 4, UINT32_MAX);
        break;
    case 5:
        accept_with(fd, pair, 0, 3);
        break;
    case 6:
        say_verdict(fd, pair, (enum segue_verdict)200);
        break;
    case 7:
        say_full(fd, pair, 0, 0);
        break;
    case 8:
        say_ring(fd, 2, 2);
        say_full(fd, pair, 0, 2);
        break;
    case 9:
        say_ring(fd, 2, 2);
        say_full(fd, pair, 1, 0);
        break;
    case 10:
        say_ring(fd, 2, 2);
        for (uint32_t i = 0; i < 1000; i++)
            say_full(fd, pair, i < 2 ? i : 7, i % 2); /* never all three */
        break;
    case 11:
        say_ring(fd, 64, 1);
        break;
    case 12:
        say_ring(fd, 2, 2);
        say_ring(fd, 2, 2);
        break;
    case 13:
        say_ring(fd, 0, 1);
        break;
    default:
        for (uint64_t other = pair - 3; other <= pair + 3;
             other += 1 + (other + 1 == pair)) {
            accept_with(fd, other, 0, 7);
            say_verdict(fd, other, SEGUE_VERDICT_VALID);
            say_full(fd, other, 0, 0);
        }
    }
}

static void one_lie(int listening, size_t which)
{
    struct segue_ticket ticket = {
        .hash = prompt_of(SALT), .tokens = TOKENS, .uses = 1, .engine_id = "liar"};
    memcpy(ticket.id.incarnation, incarnation, sizeof incarnation);
    ticket.id.sequence = 1;
    snprintf(ticket.address, sizeof ticket.address, "%s%s", SEGUE_UNIX_PREFIX, liar_path);
    engine_prove(&prey, &ticket);
    engine_claim(&prey, &ticket, to, 0, SALT, SEGUE_DIGEST_FULL, NULL);
    int fd = accept(listening, NULL, NULL);
    uint64_t pair = hear_claim(fd);
    lie(fd, which, pair);
    if (which + 1 == sizeof lies / sizeof *lies)
        close(fd);
    struct segue_event e = engine_settled(&prey, SEGUE_VERDICT_LOST, PATIENCE_S);
    if (!strstr(e.detail, lies[which].want))
        fail_msg("%s: %s", lies[which].name, e.detail);
    if (which + 1 < sizeof lies / sizeof *lies)
        close(fd);
}

static void next_is_served(void)
{
    engine_blocks(&honest, 1, from, engine_needs(&honest, TOKENS));
    engine_fill(&honest, from, 0, TOKENS, 11);
    struct segue_ticket ticket = engine_offer(&honest, from, TOKENS, 11);
    engine_claim(&prey, &ticket, to, 0, 11, SEGUE_DIGEST_FULL, NULL);
    engine_settled(&prey, SEGUE_VERDICT_VALID, PATIENCE_S);
    assert_int_equal(engine_differs(&prey, to, 0, TOKENS, 11), 0);
    engine_event(&honest, SEGUE_EVENT_OFFER_ENDED, PATIENCE_S);
}

static void liars_are_lost(void **state)
{
    const char *dir = *state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        static struct engine blank;
        struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
        opts.require = lies[i].path;
        honest = prey = blank;
        engine_open(&honest, &hnd16, &opts, NULL);
        engine_open(&prey, &hnd16, &opts, NULL);
        engine_blocks(&prey, 2, to, engine_needs(&prey, TOKENS));
        next_is_served();
        int before = open_fds(), listening = listen_liar(dir);
        one_lie(listening, i);
        close(listening);
        unlink(liar_path);
        next_is_served();
        for (int tries = 0; tries < 2000 && open_fds() > before; tries++)
            usleep(5000);
        assert_true(open_fds() <= before);
        engine_close(&prey);
        engine_close(&honest);
    }
    printf("cells: %zu\n", sizeof lies / sizeof *lies);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(liars_are_lost)};

static int before(void **state)
{
    *state = (void *)(uintptr_t)engines_setup();
    return 0;
}

static int after(void **state)
{
    engines_cleanup();
    return 0;
}

TEST_MAIN_AROUND(tests, before, after)
