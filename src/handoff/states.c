/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of states.h as arrays, and the one step that changes a state. */
#include "handoff/states.h"

#include "base/log.h"
#include "base/status.h"

#include <assert.h>

#define TEXT(name, text) text,
#define RULE_OFFER(from, event, to)                                                      \
    [SEGUE_OFFER_##from][SEGUE_OFFER_ON_##event] = 1 + SEGUE_OFFER_##to,
#define RULE_LEASE(from, event, to)                                                      \
    [SEGUE_LEASE_##from][SEGUE_LEASE_ON_##event] = 1 + SEGUE_LEASE_##to,
#define RULE_USE(from, event, to)                                                        \
    [SEGUE_USE_##from][SEGUE_USE_ON_##event] = 1 + SEGUE_USE_##to,
#define RULE_SERVE(from, event, to)                                                      \
    [SEGUE_SERVE_##from][SEGUE_SERVE_ON_##event] = 1 + SEGUE_SERVE_##to,
#define RULE_CLAIM(from, event, to)                                                      \
    [SEGUE_CLAIM_##from][SEGUE_CLAIM_ON_##event] = 1 + SEGUE_CLAIM_##to,
#define RULE_PAIR(from, event, to)                                                       \
    [SEGUE_PAIR_##from][SEGUE_PAIR_ON_##event] = 1 + SEGUE_PAIR_##to,
#define RULE_GROUP(from, event, to)                                                      \
    [SEGUE_GROUP_##from][SEGUE_GROUP_ON_##event] = 1 + SEGUE_GROUP_##to,

#define MACHINE(NAME, name)                                                              \
    static const char *const name##_states[] = {SEGUE_##NAME##_STATES(TEXT)};            \
    static const char *const name##_events[] = {SEGUE_##NAME##_EVENTS(TEXT)};            \
    static const uint8_t name##_next[SEGUE_##NAME##_STATES_N][SEGUE_##NAME##_EVENTS_N] = \
        {SEGUE_##NAME##_RULES(RULE_##NAME)};                                             \
    const struct segue_machine segue_##name##_machine = {#name,                          \
                                                         name##_states,                  \
                                                         name##_events,                  \
                                                         SEGUE_##NAME##_STATES_N,        \
                                                         SEGUE_##NAME##_EVENTS_N,        \
                                                         &name##_next[0][0]};
SEGUE_MACHINES(MACHINE)

static uint8_t next_of(const struct segue_machine *machine, uint8_t state, unsigned event)
{
    assert(state < machine->n_states && event < machine->n_events);
    return machine->next[state * machine->n_events + event];
}

bool segue_may(const struct segue_machine *machine, uint8_t state, unsigned event)
{
    return next_of(machine, state, event) != 0;
}

bool segue_step(const struct segue_machine *machine, uint8_t *state, unsigned event)
{
    uint8_t next = next_of(machine, *state, event);
    assert(next);
    if (!next) {
        segue_fail(SEGUE_E_INTERNAL, "%s: '%s' cannot be while '%s'", machine->name,
                   machine->events[event], machine->states[*state]);
        SEGUE_LOG(ERROR, "handoff", "%s", segue_error_detail());
        return false;
    }
    *state = (uint8_t)(next - 1);
    return true;
}
