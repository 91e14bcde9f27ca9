/* SPDX-License-Identifier: Apache-2.0 */
/* The cache service among peers that ask without end, tell what nobody asked for, and lie
 * about their memory. */
#include "raw_peer.h"
#include "base/bytes.h"
#include "kv/cache_wire.h"

static void cache_frames_that_nobody_asked_for(void **state)
{
    uint8_t bytes[1024];
    size_t len = hello_frame(bytes, 1);
    const struct {
        uint8_t type;
        const char *want;
    } rows[] = {
        {SEGUE_CACHE_TELL, "nobody asked"},
        {SEGUE_CACHE_HANDLES, "list of handles"},
        {SEGUE_CACHE_TOLD, "nobody asked"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = connect_raw();
        send_all(fd, bytes, len);
        send_frame(fd, SEGUE_SERVICE_CACHE, rows[i].type, NULL, 0);
        expect_end(fd, rows[i].want);
    }
    /* Asking again and again is answered once. */
    int fd = connect_raw();
    send_all(fd, bytes, len);
    for (int i = 0; i < 10000; i++)
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_ASK, NULL, 0);
    send_frame(fd, SEGUE_SERVICE_LINK, SEGUE_LINK_HELLO, NULL, 0);
    expect_end(fd, "second hello");
}

/* A peer that the victim dials and asks for its caches; the test answers for it. */
static int listen_raw(char address[128])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address, 128, "%s%s/liar", SEGUE_UNIX_PREFIX, test_folder);
    strcpy(at.sun_path, address + strlen(SEGUE_UNIX_PREFIX));
    unlink(at.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

struct told {
    struct segue_link_wait link;
    struct segue_caches_wait caches;
    const char *address;
    enum segue_status status;
    size_t n;
    sem_t done;
};

static void on_caches(struct segue_caches_wait *wait, enum segue_status status)
{
    struct told *told = wait->user;
    told->status = status;
    told->n = wait->n;
    sem_post(&told->done);
}

static void on_link(struct segue_link_wait *wait, enum segue_status status)
{
    struct told *told = wait->user;
    if (status < 0)
        on_caches(&told->caches, status);
    else
        segue_caches_get(wait->link, &told->caches);
}

static enum segue_status ask_liar(struct segue_agent *agent, void *arg)
{
    struct told *told = arg;
    segue_link_get(agent, told->address, NULL, &told->link);
    return SEGUE_OK;
}

static uint32_t description(uint8_t *out, uint32_t id, uint64_t region_len)
{
    struct segue_remote_cache told = {.id = id,
                                      .ranks = 1,
                                      .n_regions = 1,
                                      .device = "host",
                                      .region_len = {region_len}};
    struct segue_writer w = segue_writer_make(out, 1024);
    assert_ok(segue_layout_named("hnd", SEGUE_DTYPE_FP16, 1, 1, 16, 1, 32,
                                 &told.geometry.layout));
    told.geometry.layers_total = told.geometry.heads_total = 1;
    segue_cache_tell_write(&w, &told);
    return (uint32_t)w.len;
}

/* What the liar says; the victim either believes n caches or ends the link. */
static void lie(int fd, int which)
{
    uint8_t body[1024];
    uint32_t len = description(body, 1, 2048);
    struct segue_handle handle = {.len = 4, .blob = "liar"};
    struct segue_writer w = segue_writer_make(body + 512, 512);
    switch (which) {
    case 0: /* no lie */
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body, len);
        segue_cache_handles_write(&w, 1, "shm", &handle, 1);
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_HANDLES, w.data, (uint32_t)w.len);
        break;
    case 1: /* a region that ends before its layers do */
        len = description(body, 1, 2047);
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body, len);
        break;
    case 2:
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body, len);
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body, len);
        break;
    case 3: /* handles of a cache that was not told */
        segue_cache_handles_write(&w, 9, "shm", &handle, 1);
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_HANDLES, w.data, (uint32_t)w.len);
        break;
    case 4: /* more caches than anybody has */
        for (uint32_t id = 1; id <= SEGUE_CACHES_MAX + 1; id++)
            send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body,
                       description(body, id, 2048));
        break;
    case 5:
        send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, body, len / 2);
        break;
    }
    send_frame(fd, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TOLD, NULL, 0);
}

static void peers_that_lie_about_their_caches(void **state)
{
    char address[128];
    uint8_t bytes[1024];
    int listener = listen_raw(address);
    for (int which = 0; which <= 5; which++) {
        struct told told = {
            .link = {.done = on_link}, .caches = {.done = on_caches}, .address = address};
        told.link.user = told.caches.user = &told;
        sem_init(&told.done, 0, 0);
        segue_agent_call(victim, ask_liar, &told);
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        send_all(fd, bytes, hello_frame(bytes, 1));
        /* Its hello and its question. */
        for (size_t got = 0;
             got < 16 || memcmp(bytes + got - 8, "\0\0\0\0\1\1\0\0", 8) != 0;) {
            ssize_t n = recv(fd, bytes + got, sizeof bytes - got, 0);
            assert_true(n > 0);
            got += (size_t)n;
        }
        lie(fd, which);
        if (!wait_for(&told.done))
            fail_msg("lie %d was not answered", which);
        if (which == 0) {
            assert_int_equal(told.status, SEGUE_OK);
            assert_int_equal(told.n, 1);
        } else {
            assert_int_equal(told.status, SEGUE_E_LOST);
            assert_true(told.caches.why[0] != 0);
        }
        close(fd);
        uint32_t links = 1;
        for (int i = 0; i < 2000 && links; i++) {
            segue_agent_call(victim, count_links, &links);
            usleep(1000);
        }
        assert_int_equal(links, 0);
    }
    close(listener);
    unlink(address + strlen(SEGUE_UNIX_PREFIX));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(cache_frames_that_nobody_asked_for, fixture_open,
                                    fixture_close),
    cmocka_unit_test_setup_teardown(peers_that_lie_about_their_caches, fixture_open,
                                    fixture_close),
};
TEST_MAIN_AROUND(tests, make_folder, drop_folder)
