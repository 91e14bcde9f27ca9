/* SPDX-License-Identifier: Apache-2.0 */
/* What goes between a device and the working set of its cache: what is needed, once, into the right place. */
#include "workset.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

enum {
    LAYERS = 3,
    BLOCKS = 9,
    SIZE = 5,
    HEADS = 2,
    DIM = 4,
    TOKEN = LAYERS * HEADS * DIM * 2 * 2
};

struct sides {
    segue_agent *agent;
    segue_device *device;
    struct cache cache;
    void *address;
    struct workset *set;
    uint8_t *seen; /* what is on the device */
};

static void open_sides(struct sides *s, enum cache_order order)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    const struct cache_shape shape = {LAYERS, BLOCKS,     SIZE, HEADS,
                                      DIM,    CACHE_FP16, order};
    assert_ok(segue_agent_create(&opts, &s->agent));
    assert_ok(segue_device_find(s->agent, "sim:tpu", &s->device));
    assert_int_equal(cache_plan(&s->cache, &shape), 0);
    assert_ok(segue_alloc(s->device, s->cache.size, &s->address));
    assert_int_equal(workset_open(&s->set, &s->cache, s->device, s->address), 0);
    s->seen = malloc(s->cache.size);
}

static void close_sides(struct sides *s)
{
    workset_close(s->set);
    segue_free(s->device, s->address);
    segue_agent_destroy(s->agent);
    free(s->seen);
}

static void look(struct sides *s)
{
    size_t n = s->cache.size;
    assert_ok(segue_copy(s->device, s->seen, n, s->address, n, n, 1));
}

/* How many bytes of tokens [first, end) in `blocks` are not `value` in `base`. */
static unsigned differ(const struct sides *s, const uint8_t *base, const uint32_t *blocks,
                       uint32_t first, uint32_t end, uint8_t value)
{
    unsigned n = 0;
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t h = 0; h < HEADS; h++)
            for (uint32_t t = first; t < end; t++) {
                size_t at =
                    (size_t)(cache_row(&s->cache, layer, blocks[t / SIZE], h, t % SIZE) -
                             s->cache.base);
                for (size_t i = 0; i < s->cache.row_bytes; i++)
                    n += base[at + i] != value;
            }
    return n;
}

static const uint32_t blocks[] = {7, 2, 4};

static void what_is_offered_goes_out_once(void **state)
{
    for (int order = 0; order < CACHE_ORDERS; order++) {
        struct sides s;
        uint64_t bytes = 0;
        open_sides(&s, (enum cache_order)order);
        memset(s.cache.base, 1, s.cache.size);
        assert_int_equal(workset_push(s.set, blocks, 12, &bytes), 0);
        assert_int_equal(bytes, 12 * TOKEN);
        look(&s);
        assert_int_equal(differ(&s, s.seen, blocks, 0, 12, 1), 0);
        assert_int_equal(differ(&s, s.seen, blocks, 12, 15, 0), 0); /* nothing else */
        assert_int_equal(differ(&s, s.seen, (uint32_t[]){0, 1}, 0, 10, 0), 0);

        /* Another prompt shares two blocks and has more of the third. */
        memset(s.cache.base, 2, s.cache.size);
        assert_int_equal(workset_push(s.set, blocks, 14, &bytes), 0);
        assert_int_equal(bytes, 14 * TOKEN);
        look(&s);
        assert_int_equal(differ(&s, s.seen, blocks, 0, 12, 1), 0);
        assert_int_equal(differ(&s, s.seen, blocks, 12, 14, 2), 0);

        /* A block is written anew. */
        workset_wrote(s.set, blocks[1], 3);
        workset_wrote(s.set, blocks[1], 4);
        assert_int_equal(workset_push(s.set, blocks, 14, &bytes), 0);
        assert_int_equal(bytes, 16 * TOKEN);
        look(&s);
        assert_int_equal(differ(&s, s.seen, blocks, 0, 8, 1), 0);
        assert_int_equal(differ(&s, s.seen, blocks, 8, 10, 2), 0);
        close_sides(&s);
    }
}

static void what_was_loaded_comes_in(void **state)
{
    for (int order = 0; order < CACHE_ORDERS; order++) {
        struct sides s;
        uint64_t bytes = 0;
        open_sides(&s, (enum cache_order)order);
        size_t n = s.cache.size;
        memset(s.seen, 3, n);
        assert_ok(segue_copy(s.device, s.address, n, s.seen, n, n, 1));
        assert_int_equal(workset_pull(s.set, blocks, SIZE, 12, &bytes), 0);
        assert_int_equal(bytes, 7 * TOKEN);
        assert_int_equal(differ(&s, s.cache.base, blocks, 0, SIZE, 0), 0);
        assert_int_equal(differ(&s, s.cache.base, blocks, SIZE, 12, 3), 0);
        assert_int_equal(differ(&s, s.cache.base, blocks, 12, 15, 0), 0);
        /* It is on both sides now; the first block is not. */
        assert_int_equal(workset_push(s.set, blocks, 12, &bytes), 0);
        assert_int_equal(bytes, 12 * TOKEN);
        close_sides(&s);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_offered_goes_out_once),
    cmocka_unit_test(what_was_loaded_comes_in),
};
TEST_MAIN(tests)
