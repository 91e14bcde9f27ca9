/* SPDX-License-Identifier: Apache-2.0 */
/* Picking an engine: costs, credits and turns. */
#include "policy/policy.h"

#include <string.h>

/* A request costs a prefill engine something besides its tokens: a step of its own. */
#define REQUEST_AS_TOKENS 128
/* A sequence weighs most on a decode engine; the KV it reads in each step comes second. */
#define TOKENS_AS_REQUEST 32768

static uint64_t cost_prefill_tokens(const struct segue_load *load,
                                    const struct segue_ask *ask)
{
    (void)ask;
    return load->tokens + (uint64_t)load->requests * REQUEST_AS_TOKENS;
}

static uint64_t cost_sequences(const struct segue_load *load, const struct segue_ask *ask)
{
    (void)ask;
    return (uint64_t)load->requests * TOKENS_AS_REQUEST + load->tokens;
}

static uint64_t cost_nothing(const struct segue_load *load, const struct segue_ask *ask)
{
    (void)load;
    (void)ask;
    return 0;
}

static const struct segue_policy policies[] = {
    {"prefill_tokens", cost_prefill_tokens},
    {"sequences", cost_sequences},
    {"round_robin", cost_nothing},
};

const struct segue_policy *segue_policy_find(const char *name)
{
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        if (strcmp(policies[i].name, name) == 0)
            return &policies[i];
    return NULL;
}

size_t segue_policy_pick(const struct segue_policy *policy,
                         const struct segue_load *loads, size_t count,
                         const struct segue_ask *ask, uint64_t turn,
                         enum segue_pick_why *why)
{
    size_t best = SEGUE_PICK_NONE;
    uint64_t best_cost = 0;
    enum segue_pick_why reason = SEGUE_PICK_DOWN;
    for (size_t k = 0; k < count; k++) {
        size_t i = (size_t)((turn + k) % count);
        const struct segue_load *load = &loads[i];
        if (!load->usable || load->tried)
            continue;
        if (load->limit != 0 && load->requests >= load->limit) {
            if (best == SEGUE_PICK_NONE)
                reason = SEGUE_PICK_FULL;
            continue;
        }
        uint64_t cost = policy->cost(load, ask);
        if (best == SEGUE_PICK_NONE || cost < best_cost) {
            best = i;
            best_cost = cost;
            reason = SEGUE_PICKED;
        }
    }
    if (why)
        *why = reason;
    return best;
}

uint64_t segue_policy_tokens(uint64_t body_bytes)
{
    return (body_bytes + 3) / 4;
}
