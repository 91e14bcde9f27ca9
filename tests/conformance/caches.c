/* SPDX-License-Identifier: Apache-2.0 */
/* Caches between agents: opened, told, kept; their memory imported over every transport
 * that maps it and read. */
#include "agents.h"
#include "base/bytes.h"
#include "kv/cache_wire.h"

#include <segue/sim.h>

#define BLOCKS 8

static segue_device *find(segue_agent *agent, const char *name)
{
    segue_device *device;
    assert_ok(segue_device_find(agent, name, &device));
    return device;
}

/* A cache of three layers on a device, with the memory under it. */
struct held {
    segue_device *device;
    void *memory;
    segue_region *region;
    segue_cache *cache;
};

static struct segue_cache_opts cache_opts(void)
{
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    opts.model = "tiny@1";
    opts.convention = "rope:half";
    assert_ok(
        segue_layout_named("hnd", SEGUE_DTYPE_FP16, 3, BLOCKS, 16, 2, 32, &opts.layout));
    return opts;
}

static void hold(segue_agent *agent, const char *device, struct held *held)
{
    struct segue_cache_opts opts = cache_opts();
    uint64_t bytes = segue_layout_bytes(&opts.layout);
    held->device = find(agent, device);
    assert_ok(segue_alloc(held->device, bytes, &held->memory));
    assert_ok(
        segue_region_register(agent, held->device, held->memory, bytes, &held->region));
    opts.region = held->region;
    assert_ok(segue_cache_open(agent, &opts, &held->cache));
}

static void let_go(struct held *held)
{
    segue_cache_close(held->cache);
    segue_region_deregister(held->region);
    segue_free(held->device, held->memory);
}

/* ---- asking ---- */

struct caches_question {
    struct segue_link *link;
    struct segue_caches_wait wait;
    enum segue_status status;
    sem_t done;
};

static void caches_done(struct segue_caches_wait *wait, enum segue_status status)
{
    struct caches_question *q = wait->user;
    q->status = status;
    sem_post(&q->done);
}

static enum segue_status caches_ask(struct segue_agent *agent, void *arg)
{
    struct caches_question *q = arg;
    segue_caches_get(q->link, &q->wait);
    return SEGUE_OK;
}

static enum segue_status get_caches(segue_agent *agent, struct segue_link *link,
                                    const struct segue_remote_cache **caches, size_t *n)
{
    struct caches_question q = {.link = link, .wait = {.done = caches_done}};
    q.wait.user = &q;
    sem_init(&q.done, 0, 0);
    segue_agent_call(agent, caches_ask, &q);
    if (!wait_for(&q.done))
        fail_msg("no answer about caches");
    *caches = q.wait.caches;
    *n = q.wait.n;
    return q.status < 0 ? segue_fail(q.status, "%s", q.wait.why) : q.status;
}

struct import_question {
    const struct segue_remote_cache *cache;
    struct segue_connection *connection;
    size_t row;
    struct segue_device *device;
    struct segue_import *import;
};

static enum segue_status import_ask(struct segue_agent *agent, void *arg)
{
    struct import_question *q = arg;
    return segue_cache_import(q->cache, q->connection, q->row, q->device, &q->import);
}

static size_t row_named(const char *name)
{
    size_t row = 0;
    while (strcmp(segue_transport_name(row), name) != 0)
        row++;
    return row;
}

/* ---- tests ---- */

static struct held host_held, cuda_held, gaudi_held;

static void open_caches(segue_agent *agent)
{
    void *view;
    hold(agent, "host", &host_held);
    hold(agent, "sim:cuda", &cuda_held);
    hold(agent, "sim:gaudi", &gaudi_held);
    memset(host_held.memory, 0x5a, host_held.region->len);
    assert_ok(segue_device_view(cuda_held.device, cuda_held.memory, cuda_held.region->len,
                                &view));
    memset(view, 0x6b, cuda_held.region->len);
}

static void close_caches(segue_agent *agent)
{
    let_go(&host_held);
    let_go(&cuda_held);
    let_go(&gaudi_held);
}

static void check_import(segue_agent *agent, struct segue_link *link,
                         const struct segue_remote_cache *cache, const char *row,
                         uint8_t want)
{
    struct import_question q = {.cache = cache, .row = row_named(row)};
    struct segue_import *first;
    assert_true(cache->rows & (1u << q.row));
    assert_ok(get_connection(agent, link, q.row, &q.connection));
    q.device = find(agent, strcmp(row, "ipc") == 0 ? cache->device : "host");
    assert_ok(segue_agent_call(agent, import_ask, &q));
    first = q.import;
    assert_ok(segue_agent_call(agent, import_ask, &q));
    assert_ptr_equal(q.import, first);
    assert_int_equal(first->n, 1);
    uint8_t got[256] = {0};
    if (strcmp(row, "cma") != 0) {
        assert_ok(segue_copy(q.device, got, sizeof got, first->remote[0]->base,
                             sizeof got, sizeof got, 1));
        assert_int_equal(got[0], want);
        assert_int_equal(got[255], want);
    }
}

static void caches_are_told_and_imported(void **state)
{
    struct child child;
    struct segue_link *link;
    const struct segue_remote_cache *caches, *again;
    size_t n;
    int before = open_fds();
    spawn(&child, "p0", &(struct role){.prepare = open_caches, .finish = close_caches});
    segue_agent *agent = make_agent("d0");
    assert_ok(get_link(agent, child.address, NULL, &link));
    assert_ok(get_caches(agent, link, &caches, &n));
    assert_int_equal(n, 3);
    assert_ok(get_caches(agent, link, &again, &n));
    assert_ptr_equal(again, caches);
    assert_string_equal(caches[0].device, "host");
    assert_string_equal(caches[1].device, "sim:cuda");
    assert_string_equal(caches[0].model, "tiny@1");
    assert_string_equal(caches[0].convention, "rope:half");
    assert_string_equal(segue_layout_name(&caches[0].geometry.layout), "hnd");
    assert_int_equal(caches[0].geometry.layout.blocks, BLOCKS);
    assert_int_equal(caches[0].geometry.layers_total, 3);
    assert_int_equal(caches[0].ranks, 1);
    check_import(agent, link, &caches[0], "shm", 0x5a);
    check_import(agent, link, &caches[0], "cma", 0x5a);
    check_import(agent, link, &caches[1], "ipc", 0x6b);
    assert_true(caches[0].rows & (1u << row_named("tcp")));
    assert_int_equal(caches[2].rows & (1u << row_named("ipc")), 0);
    assert_non_null(strstr(caches[2].why[row_named("ipc")], "sim:gaudi"));
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
    assert_int_equal(open_fds(), before);
}

static void an_agent_without_caches_says_nothing_in_time(void **state)
{
    struct child child;
    struct segue_link *link;
    const struct segue_remote_cache *caches;
    size_t n;
    segue_agent *agent;
    spawn(&child, "p0", NULL);
    struct segue_agent_opts opts = quick_opts("d0");
    opts.connect_ns = 200 * SEGUE_NS_PER_MS;
    assert_ok(segue_agent_create(&opts, &agent));
    assert_ok(get_link(agent, child.address, NULL, &link));
    /* No cache, no service: it does not know the question. */
    assert_status(get_caches(agent, link, &caches, &n), SEGUE_E_TIMEOUT);
    assert_ok(get_link(agent, child.address, NULL, &link));
    segue_agent_destroy(agent);
    assert_int_equal(end_child(&child), 0);
}

static void one_process_sees_its_own_and_those_to_come(void **state)
{
    struct held first, second;
    struct segue_link *link;
    const struct segue_remote_cache *caches;
    size_t n;
    segue_agent *agent = make_agent("both");
    hold(agent, "host", &first);
    assert_ok(get_link(agent, agent->address, NULL, &link));
    assert_ok(get_caches(agent, link, &caches, &n));
    assert_int_equal(n, 1);
    memset(first.memory, 0x11, first.region->len);
    check_import(agent, link, &caches[0], "shm", 0x11);
    hold(agent, "sim:cuda", &second);
    while (n < 2 || !caches[1].rows) {
        usleep(1000);
        assert_ok(get_caches(agent, link, &caches, &n));
    }
    assert_string_equal(caches[1].device, "sim:cuda");
    let_go(&first);
    let_go(&second);
    segue_agent_destroy(agent);
}

static void layers_in_regions_of_their_own(void **state)
{
    enum { LAYERS = 3 };
    struct segue_cache_opts opts = cache_opts();
    struct segue_layout one = opts.layout;
    struct segue_layer_place places[LAYERS];
    void *memory[LAYERS];
    segue_cache *cache;
    struct segue_link *link;
    const struct segue_remote_cache *caches;
    size_t n;
    segue_agent *agent = make_agent("both");
    segue_device *host = find(agent, "host");
    one.layers = 1;
    uint64_t bytes = segue_layout_bytes(&one);
    for (int i = 0; i < LAYERS; i++) {
        assert_ok(segue_alloc(host, bytes + 64, &memory[i]));
        assert_ok(
            segue_region_register(agent, host, memory[i], bytes + 64, &places[i].region));
        places[i].offset = 64;
    }
    opts.places = places;
    assert_ok(segue_cache_open(agent, &opts, &cache));
    assert_ok(get_link(agent, agent->address, NULL, &link));
    assert_ok(get_caches(agent, link, &caches, &n));
    assert_int_equal(caches[0].n_regions, LAYERS);
    assert_int_equal(caches[0].geometry.layer[2].region, 2);
    assert_int_equal(caches[0].geometry.layer[2].offset, 64);
    segue_cache_close(cache);
    places[1].offset = 65;
    assert_status(segue_cache_open(agent, &opts, &cache), SEGUE_E_RANGE);
    assert_non_null(strstr(segue_error_detail(), "layer 1"));
    for (int i = 0; i < LAYERS; i++) {
        segue_region_deregister(places[i].region);
        segue_free(host, memory[i]);
    }
    segue_agent_destroy(agent);
}

static void bad_options_are_named(void **state)
{
    struct held held;
    char long_text[129];
    segue_cache *cache;
    segue_agent *agent = make_agent("p0");
    hold(agent, "host", &held);
    memset(long_text, 'x', 128);
    long_text[128] = 0;
    for (int i = 0; i < 9; i++) {
        struct segue_cache_opts opts = cache_opts();
        struct segue_layer_place place = {held.region, 0};
        const char *word = "";
        opts.region = held.region;
        enum segue_status want = SEGUE_E_INVALID;
        if (i == 0) {
            opts.model = long_text;
            word = "model";
        } else if (i == 1) {
            opts.convention = long_text;
            word = "convention";
        } else if (i == 2) {
            opts.region = NULL;
            word = "region or places";
        } else if (i == 3) {
            opts.places = &place;
            word = "region or places";
        } else if (i == 4) {
            opts.rank = 1;
            want = SEGUE_E_RANGE;
            word = "rank 1 of 1";
        } else if (i == 5) {
            opts.layout.blocks++;
            opts.layout.k.layer += opts.layout.k.block;
            opts.layout.v.layer += opts.layout.v.block;
            want = SEGUE_E_RANGE;
            word = "bytes, the region has";
        } else if (i == 6) {
            opts.heads_total = 1;
            word = "KV heads";
        } else if (i == 7) {
            opts.layer_first = 1;
            word = "layers";
        } else {
            opts.size = 3;
            word = "size";
        }
        assert_status(segue_cache_open(agent, &opts, &cache), want);
        if (!strstr(segue_error_detail(), word))
            fail_msg("'%s' does not say '%s'", segue_error_detail(), word);
    }
    let_go(&held);
    segue_agent_destroy(agent);
}

static void regions_are_checked_against_the_device(void **state)
{
    segue_region *region;
    void *cuda_memory, *host_memory;
    segue_agent *agent = make_agent("p0");
    segue_device *host = find(agent, "host"), *cuda = find(agent, "sim:cuda");
    assert_ptr_equal(find(agent, "cpu"), host);
    assert_ok(segue_alloc(cuda, 65536, &cuda_memory));
    assert_ok(segue_alloc(host, 65536, &host_memory));
    assert_status(segue_region_register(agent, host, cuda_memory, 65536, &region),
                  SEGUE_E_MISMATCH);
    assert_non_null(strstr(segue_error_detail(), "is sim:cuda's, not host's"));
    assert_status(segue_region_register(agent, cuda, host_memory, 65536, &region),
                  SEGUE_E_MISMATCH);
    assert_true(segue_region_register(agent, cuda, cuda_memory, 65537 + 65536, &region) <
                0);
    assert_true(segue_region_register(agent, cuda, cuda_memory, 0, &region) < 0);
    /* Memory of the process that nobody exported is still read by cma and tcp. */
    static char plain[8192];
    assert_ok(segue_region_register(agent, host, plain, sizeof plain, &region));
    segue_region_deregister(region);
    segue_free(cuda, cuda_memory);
    segue_free(host, host_memory);
    segue_device *none;
    assert_status(segue_device_find(agent, "warp", &none), SEGUE_E_NOT_FOUND);
    segue_agent_destroy(agent);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(caches_are_told_and_imported),
    cmocka_unit_test(an_agent_without_caches_says_nothing_in_time),
    cmocka_unit_test(one_process_sees_its_own_and_those_to_come),
    cmocka_unit_test(layers_in_regions_of_their_own),
    cmocka_unit_test(bad_options_are_named),
    cmocka_unit_test(regions_are_checked_against_the_device),
};
TEST_MAIN_AROUND(tests, make_folder, drop_folder)
