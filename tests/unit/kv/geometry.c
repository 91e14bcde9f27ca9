/* SPDX-License-Identifier: Apache-2.0 */
/* Geometries by themselves: kinds, scales, places, shares, copies. */
#include "test.h"
#include "kv/geometry.h"

#include <math.h>
#include <string.h>

static struct segue_geometry side(void)
{
    struct segue_geometry g = {.layers_total = 3, .heads_total = 4};
    assert_ok(
        segue_layout_named("hnd", SEGUE_DTYPE_FP8_E4M3, 3, 10, 16, 4, 64, &g.layout));
    return g;
}

static void refused(const struct segue_geometry *g, const char *word)
{
    assert_status(segue_geometry_check(g, "producer"), SEGUE_E_INVALID);
    if (!strstr(segue_error_detail(), word))
        fail_msg("'%s' does not say '%s'", segue_error_detail(), word);
}

static void kinds_have_what_they_need(void **state)
{
    struct segue_geometry g = side();
    g.kind = 3;
    refused(&g, "kind 3");
    g.kind = SEGUE_STATE_WINDOW;
    refused(&g, "window");
    g.window = 128;
    assert_ok(segue_geometry_check(&g, "producer"));
    g.kind = SEGUE_STATE_ALL;
    refused(&g, "128 tokens");
    g.window = 0;
    g.kind = SEGUE_STATE_PAGES;
    refused(&g, "pages");
    assert_ok(segue_layout_pages(3, 10, 4096, &g.layout));
    g.heads_total = 1;
    assert_ok(segue_geometry_check(&g, "producer"));
    assert_int_equal(segue_layout_bytes(&g.layout), 3 * 10 * 4096);
}

static void scales_are_positive_numbers(void **state)
{
    float scale[6] = {1, 1, 0.5F, 1, 2, 1};
    struct segue_geometry g = side();
    g.scale = scale;
    assert_ok(segue_geometry_check(&g, "producer"));
    const float bad[] = {0, -1, INFINITY, NAN};
    for (int i = 0; i < 4; i++) {
        scale[5] = bad[i];
        refused(&g, "layer 2");
    }
    scale[5] = 1;
    assert_ok(segue_layout_pages(3, 10, 4096, &g.layout));
    g.heads_total = 1;
    refused(&g, "opaque");
}

static void v_may_lie_apart(void **state)
{
    struct segue_layer k[3] = {{0, 0}, {0, 1 << 20}, {1, 0}};
    struct segue_layer v[3] = {{2, 0}, {2, 1 << 20}, {2, 2 << 20}};
    struct segue_geometry g = side();
    g.v_layer = v;
    refused(&g, "places for V");
    g.layer = k;
    assert_ok(segue_geometry_check(&g, "producer"));
    /* In memory of its own V may say K's offsets. */
    g.layout.v = g.layout.k;
    assert_ok(segue_geometry_check(&g, "producer"));
    g.v_layer = NULL;
    refused(&g, "share bytes");
    g = side();
    g.layer = k;
    g.v_layer = v;
    assert_int_equal(segue_geometry_layer(&g, 1, false).offset, 1 << 20);
    assert_int_equal(segue_geometry_layer(&g, 2, true).region, 2);
    g.v_layer = NULL;
    assert_int_equal(segue_geometry_layer(&g, 2, true).region, 1);
    g.layer = NULL;
    assert_int_equal(segue_geometry_layer(&g, 2, true).offset, 2 * g.layout.v.layer);
}

static void copies_are_equal_and_their_own(void **state)
{
    float scale[6] = {1, 2, 3, 4, 5, 6};
    struct segue_layer k[3] = {{0, 0}, {0, 8}, {1, 16}}, v[3] = {{2, 0}, {2, 8}, {2, 16}};
    struct segue_geometry g = side(), copy;
    for (int with = 0; with < 8; with++) {
        g.layer = with & 1 ? k : NULL;
        g.v_layer = (with & 3) == 3 ? v : NULL;
        g.scale = with & 4 ? scale : NULL;
        assert_ok(segue_geometry_copy(&g, &copy));
        assert_true(segue_geometry_equal(&g, &copy));
        if (g.scale) {
            scale[5]++;
            assert_false(segue_geometry_equal(&g, &copy));
        }
        if (g.v_layer) {
            segue_geometry_drop(&copy);
            assert_ok(segue_geometry_copy(&g, &copy));
            v[2].offset++;
            assert_false(segue_geometry_equal(&g, &copy));
        }
        segue_geometry_drop(&copy);
        assert_null(copy.layer);
        assert_null(copy.scale);
    }
}

static void windows_clip_what_is_handed_over(void **state)
{
    struct segue_geometry g = side();
    assert_int_equal(segue_geometry_first(&g, 1000, 0), 0);
    assert_int_equal(segue_geometry_first(&g, 1000, 48), 48);
    g.kind = SEGUE_STATE_WINDOW;
    g.window = 128;
    assert_int_equal(segue_geometry_first(&g, 1000, 0), 872);
    assert_int_equal(segue_geometry_first(&g, 1000, 900), 900);
    assert_int_equal(segue_geometry_first(&g, 100, 0), 0);
    g.kind = SEGUE_STATE_PAGES;
    assert_int_equal(segue_geometry_first(&g, 100, 64), 0);
}

/* Who holds which heads: slices, and replicas where there are more ranks than heads. */
static void ranks_share_heads(void **state)
{
    static const struct {
        uint32_t heads, rank, ranks, first, count;
    } rows[] = {
        {8, 0, 1, 0, 8}, {8, 1, 2, 4, 4}, {8, 7, 8, 7, 1}, {2, 0, 8, 0, 1},
        {2, 3, 8, 0, 1}, {2, 4, 8, 1, 1}, {1, 5, 8, 0, 1}, {3, 2, 3, 2, 1},
    };
    struct segue_share share;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_ok(segue_share_heads(rows[i].heads, rows[i].rank, rows[i].ranks, &share));
        assert_int_equal(share.first, rows[i].first);
        assert_int_equal(share.count, rows[i].count);
    }
    assert_status(segue_share_heads(8, 0, 3, &share), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "TP 3 and 8"));
    assert_status(segue_share_heads(8, 2, 2, &share), SEGUE_E_INVALID);
    assert_status(segue_share_heads(0, 0, 1, &share), SEGUE_E_INVALID);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kinds_have_what_they_need),
    cmocka_unit_test(scales_are_positive_numbers),
    cmocka_unit_test(v_may_lie_apart),
    cmocka_unit_test(copies_are_equal_and_their_own),
    cmocka_unit_test(windows_clip_what_is_handed_over),
    cmocka_unit_test(ranks_share_heads),
};
TEST_MAIN(tests)
