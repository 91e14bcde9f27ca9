/* SPDX-License-Identifier: Apache-2.0 */
/* An agent's options: defaults, environment, the caller's word, and what is refused. */
#include "test.h"
#include "agent/options.h"

#include <stdlib.h>
#include <string.h>

static void defaults_are_those_of_the_header(void **state)
{
    struct segue_agent_opts opts;
    unsetenv("SEGUE_IPC_DIR");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_ok(segue_agent_options_read(NULL, &opts));
    assert_int_equal(opts.mover_threads, 1);
    assert_int_equal(opts.ring_bytes, 32u << 20);
    assert_int_equal(opts.lease_ns, 20 * UINT64_C(1000000000));
    assert_int_equal(opts.renew_ns, 5 * UINT64_C(1000000000));
    assert_int_equal(opts.park_ns, 30 * UINT64_C(1000000000));
    assert_int_equal(opts.connect_ns, 2 * UINT64_C(1000000000));
    assert_int_equal(opts.claim_ns, 30 * UINT64_C(1000000000));
    assert_int_equal(opts.idle_ns, 60 * UINT64_C(1000000000));
    assert_string_equal(opts.ipc_dir, "/run/user/7/segue");
    assert_memory_equal(opts.engine_id, "segue-", 6);
    assert_null(opts.require);
    segue_agent_options_free(&opts);
}

/* R21c: one table; docs/library.md shows it. */
static void the_document_shows_the_table(void **state)
{
    static char text[1 << 20], row[512];
    char path[1024];
    const char *tests = getenv("TESTS");
    assert_non_null(tests);
    snprintf(path, sizeof path, "%s/../docs/library.md", tests);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    size_t rows = 0, shown = 0;
    for (const struct segue_opt *o = segue_agent_options; o->name; o++, rows++) {
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |\n", o->name,
                 o->initial ? o->initial : "", o->doc);
        if (!strstr(text, row))
            fail_msg("docs/library.md must have, among the agent's options:%s", row);
    }
    char *section = strstr(text, "\n## Options\n");
    assert_non_null(section);
    char *end = strstr(section + 1, "\n## ");
    if (end)
        *end = 0;
    for (const char *at = section; (at = strstr(at, "\n| `")); at++)
        shown++;
    assert_int_equal(shown, rows); /* and no others */
}

static void the_caller_beats_the_environment_beats_the_table(void **state)
{
    struct segue_agent_opts given = SEGUE_AGENT_OPTS_INIT, opts;
    setenv("SEGUE_LEASE_NS", "7s", 1);
    setenv("SEGUE_RENEW_NS", "2s", 1);
    setenv("SEGUE_IPC_DIR", "/run/x", 1);
    given.lease_ns = 5;
    given.engine_id = "p0";
    assert_ok(segue_agent_options_read(&given, &opts));
    assert_int_equal(opts.lease_ns, 5);
    assert_int_equal(opts.renew_ns, 2 * UINT64_C(1000000000));
    assert_string_equal(opts.ipc_dir, "/run/x");
    assert_string_equal(opts.engine_id, "p0");
    assert_ptr_not_equal(opts.engine_id, given.engine_id);
    segue_agent_options_free(&opts);
    setenv("SEGUE_LEASE_NS", "soon", 1);
    assert_status(segue_agent_options_read(&given, &opts), SEGUE_E_INVALID);
    assert_non_null(strstr(segue_error_detail(), "SEGUE_LEASE_NS"));
    unsetenv("SEGUE_LEASE_NS");
    unsetenv("SEGUE_RENEW_NS");
    unsetenv("SEGUE_IPC_DIR");
}

static void bad_values_are_named(void **state)
{
    char id[65];
    memset(id, 'x', 64);
    id[64] = 0;
    const struct {
        struct segue_agent_opts opts;
        enum segue_status want;
        const char *word;
    } rows[] = {
        {{.engine_id = id}, SEGUE_E_INVALID, "engine-id"},
        {{.ipc_dir = "run/x"}, SEGUE_E_INVALID, "ipc-dir"},
        {{.require = "shm,warp"}, SEGUE_E_INVALID, "require: 'warp'"},
        {{.exclude = "x"}, SEGUE_E_INVALID, "exclude"},
        {{.mover_threads = 65}, SEGUE_E_RANGE, "mover-threads"},
        {{.ring_bytes = 1}, SEGUE_E_RANGE, "ring-bytes"},
        {{.idle_ns = UINT64_MAX}, SEGUE_E_RANGE, "idle-ns"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_agent_opts given = rows[i].opts, opts;
        given.size = sizeof given;
        assert_status(segue_agent_options_read(&given, &opts), rows[i].want);
        assert_non_null(strstr(segue_error_detail(), rows[i].word));
    }
}

static void structs_of_other_versions(void **state)
{
    struct {
        struct segue_agent_opts opts;
        uint64_t later;
    } given = {.opts = {.size = sizeof given, .lease_ns = 9}};
    struct segue_agent_opts opts;
    assert_ok(segue_agent_options_read(&given.opts, &opts));
    assert_int_equal(opts.lease_ns, 9);
    segue_agent_options_free(&opts);
    given.later = 1;
    assert_status(segue_agent_options_read(&given.opts, &opts), SEGUE_E_INVALID);
    /* An older one ends before lease_ns. */
    given.opts.size = offsetof(struct segue_agent_opts, lease_ns);
    assert_ok(segue_agent_options_read(&given.opts, &opts));
    assert_int_equal(opts.lease_ns, 20 * UINT64_C(1000000000));
    segue_agent_options_free(&opts);
    given.opts.size = 0;
    assert_status(segue_agent_options_read(&given.opts, &opts), SEGUE_E_INVALID);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_are_those_of_the_header),
    cmocka_unit_test(the_document_shows_the_table),
    cmocka_unit_test(the_caller_beats_the_environment_beats_the_table),
    cmocka_unit_test(bad_values_are_named),
    cmocka_unit_test(structs_of_other_versions),
};
TEST_MAIN(tests)
