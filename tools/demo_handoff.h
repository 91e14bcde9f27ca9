/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine tells of a hand-off at GET /segue/handoffs. Pure. */
#ifndef TOOLS_DEMO_HANDOFF_H
#define TOOLS_DEMO_HANDOFF_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { HANDOFF_PATHS = 16 };

struct handoff {
    bool found;
    char verdict[16], detail[256], path[64];
    uint32_t tokens; /* claimed: the prompt without what was cached already */
    uint64_t moved, staged_host, engine, digest;              /* bytes */
    char producer[20], consumer[20];                          /* digests, hex; "" none */
    double claim_wait_ms, copy_ms, commit_ms, first_token_ms; /* below 0: not told */
    struct {
        char path[24], why[224];
    } explained[HANDOFF_PATHS]; /* the transcript of the choice */
    size_t explained_count;
};

/* What: the last entry of `list` (an array of reports) with this role and request id;
 * borrowed, NULL when there is none. */
const json_t *handoff_find(const json_t *list, const char *role, const char *id);

/* What: a decode entry, with whatever it lacks left empty. */
void handoff_read(const json_t *entry, struct handoff *out);

/* What: a number of the entry's `ms`; below 0 when it is not there. */
double handoff_ms(const json_t *entry, const char *name);

/* What: bytes that the engine of the entry, prefill or decode, copied itself. */
uint64_t handoff_engine_bytes(const json_t *entry);

/* What: were digests asked for and equal? `digests_off`: not asked for is well too. */
bool handoff_digests_equal(const struct handoff *handoff);

#endif
