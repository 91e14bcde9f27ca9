/* SPDX-License-Identifier: Apache-2.0 */
/* The words of `segue demo`: topologies, geometries, the command line. */
#include "test.h"

#include "command.h"
#include "demo.h"

#include <string.h>

static char why[384];

static void topologies(void **state)
{
    static const struct {
        const char *text;
        uint32_t prefill, decode; /* 0: refused */
    } cases[] = {
        {"1p1d", 1, 1},  {"2p1d", 2, 1},  {"8P8D", 8, 8},  {"0p1d", 0, 0},
        {"1p0d", 0, 0},  {"9p1d", 0, 0},  {"1p9d", 0, 0},  {"10p1d", 0, 0},
        {"1p10d", 0, 0}, {"1p1dd", 0, 0}, {"1p1", 0, 0},   {"1d1p", 0, 0},
        {"", 0, 0},      {" 1p1d", 0, 0}, {"1p 1d", 0, 0}, {"-1p1d", 0, 0},
        {"1p+1d", 0, 0}, {"1p1d ", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct demo_topology out = {7, 7};
        bool taken = demo_topology_parse(cases[i].text, &out, why, sizeof why);
        if (taken != (cases[i].prefill > 0))
            fail_msg("'%s' was %s", cases[i].text, taken ? "taken" : "refused");
        assert_int_equal(out.prefill, taken ? cases[i].prefill : 7);
        assert_int_equal(out.decode, taken ? cases[i].decode : 7);
    }
}

static void a_geometry_changes_what_it_names(void **state)
{
    struct demo_geometry g = {128, 1, CACHE_LBNHC, CACHE_FP16, "sim:gaudi"};
    assert_true(demo_geometry_parse("block=16,layout=hnd,tp=3", &g, why, sizeof why));
    assert_int_equal(g.block, 16);
    assert_int_equal(g.order, CACHE_LBHNC);
    assert_int_equal(g.tp, 3);
    assert_int_equal(g.dtype, CACHE_FP16);
    assert_string_equal(g.device, "sim:gaudi");
    assert_true(demo_geometry_parse("device=host,dtype=bf16", &g, why, sizeof why));
    assert_int_equal(g.dtype, CACHE_BF16);
    assert_string_equal(g.device, "host");
    assert_int_equal(g.block, 16);
}

static void bad_geometries(void **state)
{
    static const char *const cases[] = {
        "",          "block",          "block=",     "block=0",
        "block=-1",  "block=4097",     "block=1x",   "tp=0",
        "tp=999",    "layout=",        "layout=abc", "dtype=int8",
        "device=",   "device=foo",     "colour=red", "block=16,",
        ",block=16", "block=16,,tp=1", "block==1",   "tp=99999999999999999999",
    };
    const struct demo_geometry before = {128, 1, CACHE_LBNHC, CACHE_FP16, "host"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct demo_geometry g = before;
        why[0] = '\0';
        if (demo_geometry_parse(cases[i], &g, why, sizeof why))
            fail_msg("'%s' was taken", cases[i]);
        assert_true(why[0] != '\0');
        assert_memory_equal(&g, &before, sizeof g);
    }
}

static int parse(struct demo_options *options, char **argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    return demo_parse(argc, argv, options);
}

static void built_in_or_custom(void **state)
{
    struct demo_options o;
    assert_int_equal(parse(&o, (char *[]){"demo", "--json", "--max-tokens=7", NULL}), 0);
    assert_false(o.custom);
    assert_true(o.json);
    assert_int_equal(o.max_tokens, 7);
    assert_int_equal(o.digest, DEMO_DIGEST_FULL);
    demo_options_free(&o);

    assert_int_equal(parse(&o, (char *[]){"demo", "--topology", "2p1d", NULL}), 0);
    assert_true(o.custom);
    demo_options_free(&o);

    assert_int_equal(parse(&o, (char *[]){"demo", "--prompt", "a=b", NULL}), 0);
    assert_true(o.custom);
    assert_string_equal(o.prompt, "a=b");
    demo_options_free(&o);
}

static void wrong_command_lines(void **state)
{
    static char *const cases[][4] = {
        {"demo", "--colour", "red"},   {"demo", "--topology"},
        {"demo", "--max-tokens", "0"}, {"demo", "--digest", "half"},
        {"demo", "--corrupt", "burn"}, {"demo", "--prompt", ""},
        {"demo", "--prompt", "\xff"},  {"demo", "--prompt-file", "/nonexistent"},
        {"demo", "--json=1"},          {"demo", "2p1d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct demo_options o;
        int status = parse(&o, (char **)cases[i]);
        if (status != EXIT_USAGE)
            fail_msg("%s gave %d", cases[i][1], status);
        demo_options_free(&o);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(topologies),
    cmocka_unit_test(a_geometry_changes_what_it_names),
    cmocka_unit_test(bad_geometries),
    cmocka_unit_test(built_in_or_custom),
    cmocka_unit_test(wrong_command_lines),
};
TEST_MAIN(tests)
