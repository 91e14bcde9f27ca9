/* SPDX-License-Identifier: Apache-2.0 */
/* Cache descriptions: there and back, golden bytes, every way to be cut, and geometries
 * that lie. */
#include "test.h"
#include "kv/cache_wire.h"

#include <stdlib.h>
#include <string.h>

static struct segue_remote_cache sample(void)
{
    struct segue_remote_cache cache = {.id = 7, .rank = 1, .ranks = 2, .n_regions = 1};
    strcpy(cache.model, "smollm2@1");
    strcpy(cache.convention, "rope:half");
    strcpy(cache.device, "sim:cuda");
    cache.device_caps = 0x15;
    assert_ok(segue_layout_named("hnd", SEGUE_DTYPE_FP16, 3, 10, 16, 2, 64,
                                 &cache.geometry.layout));
    cache.geometry.layers_total = 6;
    cache.geometry.layer_first = 3;
    cache.geometry.heads_total = 4;
    cache.geometry.head_first = 2;
    cache.region_len[0] = segue_layout_bytes(&cache.geometry.layout);
    strcpy(cache.why[2], "memory of sim:cuda is not ordinary process memory");
    return cache;
}

static uint32_t written(const struct segue_remote_cache *cache, uint8_t out[4096])
{
    struct segue_writer w = segue_writer_make(out, 4096);
    segue_cache_tell_write(&w, cache);
    assert_false(w.failed);
    return (uint32_t)w.len;
}

static void descriptions_come_back(void **state)
{
    uint8_t bytes[4096];
    struct segue_remote_cache cache = sample(), back;
    uint32_t len = written(&cache, bytes);
    assert_ok(segue_cache_tell_read(bytes, len, &back));
    assert_int_equal(back.id, 7);
    assert_int_equal(back.rank, 1);
    assert_int_equal(back.ranks, 2);
    assert_string_equal(back.model, cache.model);
    assert_string_equal(back.convention, cache.convention);
    assert_string_equal(back.device, cache.device);
    assert_int_equal(back.device_caps, 0x15);
    assert_int_equal(back.n_regions, 1);
    assert_int_equal(back.region_len[0], cache.region_len[0]);
    assert_string_equal(back.why[2], cache.why[2]);
    assert_string_equal(segue_layout_name(&back.geometry.layout), "hnd");
    assert_int_equal(back.geometry.layout.blocks, 10);
    assert_int_equal(back.geometry.layer_first, 3);
    assert_int_equal(back.geometry.layers_total, 6);
    assert_int_equal(back.geometry.head_first, 2);
    assert_int_equal(back.geometry.heads_total, 4);
    assert_null(back.geometry.layer);
    segue_remote_cache_free(&back);
    for (uint32_t cut = 0; cut < len; cut++)
        assert_true(segue_cache_tell_read(bytes, cut, &back) < 0);
    /* A field of a later version (rule R21). */
    memset(bytes + len, 0xee, 20);
    assert_ok(segue_cache_tell_read(bytes, len + 20, &back));
    segue_remote_cache_free(&back);
}

static void layers_may_have_places(void **state)
{
    uint8_t bytes[4096];
    struct segue_remote_cache cache = sample(), back;
    struct segue_layer places[3] = {{1, 0}, {0, 4096}, {1, 40960}};
    struct segue_layout one = cache.geometry.layout;
    one.layers = 1;
    cache.geometry.layer = places;
    cache.n_regions = 2;
    cache.region_len[0] = 4096 + segue_layout_bytes(&one);
    cache.region_len[1] = 40960 + segue_layout_bytes(&one);
    uint32_t len = written(&cache, bytes);
    assert_ok(segue_cache_tell_read(bytes, len, &back));
    assert_int_equal(back.geometry.layer[2].region, 1);
    assert_int_equal(back.geometry.layer[2].offset, 40960);
    segue_remote_cache_free(&back);

    const struct {
        struct segue_layer last;
        enum segue_status want;
    } lies[] = {
        {{1, 40961}, SEGUE_E_RANGE},
        {{0, 40960}, SEGUE_E_RANGE},
        {{2, 0}, SEGUE_E_RANGE},
        {{SEGUE_CACHE_REGIONS_MAX, 0}, SEGUE_E_RANGE},
        {{UINT32_MAX, 0}, SEGUE_E_RANGE},
        {{1, UINT64_MAX}, SEGUE_E_RANGE},
        {{1, (uint64_t)INT64_MAX}, SEGUE_E_RANGE},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        places[2] = lies[i].last;
        len = written(&cache, bytes);
        assert_status(segue_cache_tell_read(bytes, len, &back), lies[i].want);
        assert_null(back.geometry.layer);
    }
}

/* One field is changed by number, so that each lie stands alone. */
static const char *lie(struct segue_remote_cache *cache, int which)
{
    struct segue_geometry *g = &cache->geometry;
    switch (which) {
    case 0:
        g->layout.layers = 4;
        return "layers";
    case 1:
        g->layout.blocks = 11;
        return "one block too many";
    case 2:
        g->layout.blocks = UINT32_MAX;
        return "blocks without end";
    case 3:
        g->layout.k.block = UINT64_MAX;
        return "a stride that overflows";
    case 4:
        g->layout.v.offset = UINT64_MAX - 8;
        return "an offset that overflows";
    case 5:
        g->layout.layers = UINT32_MAX;
        return "layers without end";
    case 6:
        g->layout.dtype = 99;
        return "no such element type";
    case 7:
        g->layout.k.bytes = 0;
        return "keys of no bytes";
    case 8:
        g->head_first = 3;
        return "heads beyond the model";
    case 9:
        g->layers_total = UINT32_MAX;
        return "a model without end";
    case 10:
        cache->region_len[0]--;
        return "a region one byte short";
    case 11:
        cache->region_len[0] = UINT64_MAX;
        return "a region without end";
    case 12:
        cache->rank = 2;
        return "a rank too high";
    case 13:
        cache->ranks = 0;
        return "no ranks";
    default:
        return NULL;
    }
}

static void geometries_that_lie_are_refused(void **state)
{
    uint8_t bytes[4096];
    struct segue_remote_cache cache = sample(), back;
    const char *what;
    for (int which = 0; (what = lie(&cache, which)); which++) {
        uint32_t len = written(&cache, bytes);
        if (segue_cache_tell_read(bytes, len, &back) >= 0)
            fail_msg("believed: %s", what);
        assert_null(back.geometry.layer);
        cache = sample();
    }
}

static void region_counts_have_limits(void **state)
{
    uint8_t bytes[4096];
    struct segue_remote_cache cache = sample(), back;
    cache.n_regions = 0;
    assert_true(segue_cache_tell_read(bytes, written(&cache, bytes), &back) < 0);
    /* Two regions and no word on which layer lies in which. */
    cache.n_regions = 2;
    cache.region_len[1] = 4096;
    assert_true(segue_cache_tell_read(bytes, written(&cache, bytes), &back) < 0);
}

static void handles_take_their_descriptors(void **state)
{
    uint8_t bytes[4096];
    struct segue_handle handles[2] = {{.len = 3, .blob = "abc", .n_fds = 2},
                                      {.len = 0, .n_fds = 1}};
    int fds[] = {101, 102, 103, 104};
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    struct segue_cache_handles back;
    segue_cache_handles_write(&w, 9, "shm", handles, 2);
    struct segue_frame frame = {
        .body = bytes, .len = (uint32_t)w.len, .fds = fds, .n_fds = 3};
    assert_ok(segue_cache_handles_read(&frame, &back));
    assert_int_equal(back.cache, 9);
    assert_string_equal(back.transport, "shm");
    assert_int_equal(back.n_regions, 2);
    assert_int_equal(back.handle[0].fds[1], 102);
    assert_int_equal(back.handle[1].fds[0], 103);
    assert_memory_equal(back.handle[0].blob, "abc", 3);
    for (uint32_t cut = 0; cut < w.len; cut++) {
        frame.len = cut;
        assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);
    }
    frame.len = (uint32_t)w.len;
    frame.n_fds = 2; /* one too few */
    assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);
    frame.n_fds = 4; /* one that nothing owns */
    assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);
}

static void handles_have_limits(void **state)
{
    uint8_t bytes[4096];
    struct segue_cache_handles back;
    struct segue_frame frame = {.body = bytes};
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    struct segue_handle none = {0};
    segue_cache_handles_write(&w, 1, "shm", &none, 1);
    frame.len = (uint32_t)w.len;
    assert_ok(segue_cache_handles_read(&frame, &back));
    bytes[9] = SEGUE_CACHE_REGIONS_MAX + 1; /* regions */
    assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);
    bytes[9] = 1;
    bytes[15] = SEGUE_BLOB_FDS + 1; /* descriptors of the first */
    assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);

    uint8_t blob[SEGUE_BLOB_MAX + 1] = {0};
    w = segue_writer_make(bytes, sizeof bytes);
    segue_writer_u32(&w, 1);
    segue_writer_str16(&w, "shm");
    segue_writer_u32(&w, 1);
    segue_writer_bytes16(&w, blob, sizeof blob);
    segue_writer_u32(&w, 0);
    frame.len = (uint32_t)w.len;
    assert_status(segue_cache_handles_read(&frame, &back), SEGUE_E_PROTOCOL);
}

static void golden_geometry(void **state)
{
    static const char want[] =
        "80000000" /* bytes that follow */
        "02000000" /* fp16 */
        "01000000" /* layers */
        "02000000" /* blocks */
        "04000000" /* tokens a block */
        "01000000" /* heads */
        /* K: bytes, offset; strides of layer, block, head, token */
        "10000000"
        "0000000000000000"
        "0001000000000000"
        "8000000000000000"
        "2000000000000000"
        "2000000000000000"
        "10000000" /* V */
        "1000000000000000"
        "0001000000000000"
        "8000000000000000"
        "2000000000000000"
        "2000000000000000"
        "00000000" /* first layer */
        "01000000" /* of so many */
        "00000000" /* first head */
        "01000000"
        "00000000"; /* places */
    struct segue_geometry g = {.layers_total = 1, .heads_total = 1};
    uint8_t bytes[512];
    char hex[1024];
    assert_ok(segue_layout_named("nhd", SEGUE_DTYPE_FP16, 1, 2, 4, 1, 8, &g.layout));
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    segue_geometry_write(&w, &g);
    for (size_t i = 0; i < w.len; i++)
        sprintf(hex + 2 * i, "%02x", bytes[i]);
    assert_string_equal(hex, want);
}

/* What most caches do not have comes last: a group, V's places, scales. */
static void the_rest_comes_back(void **state)
{
    uint8_t bytes[4096];
    struct segue_remote_cache cache = sample(), back;
    struct segue_layer k[3] = {{0, 0}, {0, 4096}, {1, 0}},
                       v[3] = {{1, 8}, {0, 8}, {1, 16}};
    float scale[6] = {0.5F, 1, 2, 4, 8, 0.125F};
    cache.geometry.group = 2;
    cache.geometry.kind = SEGUE_STATE_WINDOW;
    cache.geometry.window = 512;
    cache.geometry.layer = k;
    cache.geometry.v_layer = v;
    cache.geometry.scale = scale;
    cache.n_regions = 2;
    cache.region_len[0] = cache.region_len[1] = 1 << 20;
    uint32_t len = written(&cache, bytes);
    assert_ok(segue_cache_tell_read(bytes, len, &back));
    assert_true(segue_geometry_equal(&cache.geometry, &back.geometry));
    segue_remote_cache_free(&back);
    for (uint32_t cut = 0; cut < len; cut++)
        assert_true(segue_cache_tell_read(bytes, cut, &back) < 0);
    v[2].offset = (1 << 20) - 64;
    len = written(&cache, bytes);
    assert_status(segue_cache_tell_read(bytes, len, &back), SEGUE_E_RANGE);
    v[2].offset = 0;
    scale[3] = -1;
    len = written(&cache, bytes);
    assert_status(segue_cache_tell_read(bytes, len, &back), SEGUE_E_INVALID);
    scale[3] = 1;
    cache.geometry.kind = 9;
    len = written(&cache, bytes);
    assert_status(segue_cache_tell_read(bytes, len, &back), SEGUE_E_INVALID);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(descriptions_come_back),
    cmocka_unit_test(layers_may_have_places),
    cmocka_unit_test(geometries_that_lie_are_refused),
    cmocka_unit_test(region_counts_have_limits),
    cmocka_unit_test(handles_take_their_descriptors),
    cmocka_unit_test(handles_have_limits),
    cmocka_unit_test(golden_geometry),
    cmocka_unit_test(the_rest_comes_back),
};
TEST_MAIN(tests)
