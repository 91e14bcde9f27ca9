/* SPDX-License-Identifier: Apache-2.0 */
/* The state tables: docs/wire.md section 6 shows what the code has, every state can be come to, and a step that is in no
 * table is not taken. */
#include "test.h"
#include "handoff/states.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MACHINE(NAME, name) &segue_##name##_machine,
static const struct segue_machine *const machines[] = {SEGUE_MACHINES(MACHINE)};
#define N (sizeof machines / sizeof *machines)

static char *document(void)
{
    char path[1024];
    const char *tests = getenv("TESTS");
    assert_non_null(tests);
    snprintf(path, sizeof path, "%s/../docs/wire.md", tests);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("no %s", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

/* The rows of one machine as the document has them. */
static void rows(const struct segue_machine *m, char *out, size_t cap)
{
    size_t len = (size_t)snprintf(out, cap, "| %s | on -> becomes |\n|---|---|\n",
                                  m->name);
    for (uint8_t s = 0; s < m->n_states; s++) {
        const char *comma = " ";
        len += (size_t)snprintf(out + len, cap - len, "| %s |", m->states[s]);
        for (uint8_t e = 0; e < m->n_events; e++) {
            uint8_t next = m->next[s * m->n_events + e];
            if (!next)
                continue;
            len += (size_t)snprintf(out + len, cap - len, "%s%s -> %s", comma,
                                    m->events[e], m->states[next - 1]);
            comma = ", ";
        }
        len += (size_t)snprintf(out + len, cap - len, " |\n");
    }
}

static void the_document_shows_the_tables(void **state)
{
    char *text = document(), want[4096];
    for (size_t i = 0; i < N; i++) {
        rows(machines[i], want, sizeof want);
        if (!strstr(text, want))
            fail_msg("docs/wire.md section 6 must have, for the %s:\n%s",
                     machines[i]->name, want);
    }
    free(text);
}

static void every_state_can_be_come_to(void **state)
{
    for (size_t i = 0; i < N; i++) {
        const struct segue_machine *m = machines[i];
        bool seen[32] = {true}, grew = true;
        while (grew) {
            grew = false;
            for (uint8_t s = 0; s < m->n_states; s++)
                for (uint8_t e = 0; seen[s] && e < m->n_events; e++)
                    if (segue_may(m, s, e)) {
                        uint8_t next = s;
                        assert_true(segue_step(m, &next, e));
                        grew |= !seen[next];
                        seen[next] = true;
                    }
        }
        for (uint8_t s = 0; s < m->n_states; s++)
            if (!seen[s])
                fail_msg("nothing leads to '%s' of the %s", m->states[s], m->name);
        for (uint8_t e = 0; e < m->n_events; e++) {
            bool used = false;
            for (uint8_t s = 0; s < m->n_states; s++)
                used |= segue_may(m, s, e);
            if (!used)
                fail_msg("no rule of the %s is for '%s'", m->name, m->events[e]);
        }
    }
}

/* What the rules say in words, said once more of the tables. */
static void the_rules_hold_of_the_tables(void **state)
{
    /* R6: nothing brings an ended offer back. */
    for (uint8_t e = 0; e < SEGUE_OFFER_EVENTS_N; e++)
        assert_false(segue_may(&segue_offer_machine, SEGUE_OFFER_ENDED, e));
    assert_false(
        segue_may(&segue_offer_machine, SEGUE_OFFER_ENDING, SEGUE_OFFER_ON_READY));
    /* R14: what is parked cannot commit; R7: a commit is judged once. */
    assert_false(
        segue_may(&segue_serve_machine, SEGUE_SERVE_PARKED, SEGUE_SERVE_ON_COMMIT));
    assert_false(
        segue_may(&segue_serve_machine, SEGUE_SERVE_COMMITTED, SEGUE_SERVE_ON_COMMIT));
    /* R7b: a claim is judged once, and released only then. */
    for (uint8_t s = 0; s < SEGUE_CLAIM_STATES_N; s++)
        assert_int_equal(segue_may(&segue_claim_machine, s, SEGUE_CLAIM_ON_QUIET),
                         s == SEGUE_CLAIM_JUDGED);
    assert_false(
        segue_may(&segue_claim_machine, SEGUE_CLAIM_JUDGED, SEGUE_CLAIM_ON_JUDGE));
    /* R9: a use is spent or given back, not both. */
    for (uint8_t e = 0; e < SEGUE_USE_EVENTS_N; e++) {
        assert_false(segue_may(&segue_use_machine, SEGUE_USE_SPENT, e));
        assert_false(segue_may(&segue_use_machine, SEGUE_USE_BACK, e));
    }
}

static void a_step_without_a_rule_is_not_taken(void **state)
{
#ifdef NDEBUG
    uint8_t at = SEGUE_CLAIM_JUDGED;
    assert_false(segue_step(&segue_claim_machine, &at, SEGUE_CLAIM_ON_JUDGE));
    assert_int_equal(at, SEGUE_CLAIM_JUDGED);
    assert_string_equal(segue_error_detail(), "claim: 'judge' cannot be while 'judged'");
#else
    pid_t child = fork();
    if (child == 0) {
        uint8_t at = SEGUE_CLAIM_JUDGED;
        assert_non_null(freopen("/dev/null", "w", stderr));
        segue_step(&segue_claim_machine, &at, SEGUE_CLAIM_ON_JUDGE);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_document_shows_the_tables),
    cmocka_unit_test(every_state_can_be_come_to),
    cmocka_unit_test(the_rules_hold_of_the_tables),
    cmocka_unit_test(a_step_without_a_rule_is_not_taken),
};
TEST_MAIN(tests)
