/* SPDX-License-Identifier: Apache-2.0 */
/* Leaving an engine alone that keeps failing. */
#include "policy/policy.h"

bool segue_breaker_lets(const struct segue_breaker *breaker, uint64_t now_ms)
{
    return breaker->shut_until_ms == 0 || now_ms >= breaker->shut_until_ms;
}

void segue_breaker_begin(struct segue_breaker *breaker, uint64_t now_ms)
{
    /* A trial that never reports must not shut the engine off for good. */
    if (breaker->shut_until_ms != 0 && now_ms >= breaker->shut_until_ms) {
        breaker->shut_until_ms = now_ms + breaker->pause_ms;
        breaker->trial = true;
    }
}

bool segue_breaker_report(struct segue_breaker *breaker, bool well, uint64_t now_ms)
{
    bool shut = breaker->shut_until_ms != 0;
    if (well) {
        *breaker = (struct segue_breaker){0};
        return shut;
    }
    if (shut && !breaker->trial) /* a late one from before the pause began */
        return false;
    breaker->trial = false;
    if (breaker->failures < SEGUE_BREAKER_FAILURES)
        breaker->failures++;
    if (breaker->failures < SEGUE_BREAKER_FAILURES)
        return false;
    if (breaker->pause_ms == 0)
        breaker->pause_ms = SEGUE_BREAKER_PAUSE_MS;
    else if (breaker->pause_ms * 2 <= SEGUE_BREAKER_LONGEST_MS)
        breaker->pause_ms *= 2;
    else
        breaker->pause_ms = SEGUE_BREAKER_LONGEST_MS;
    breaker->shut_until_ms = now_ms + breaker->pause_ms;
    return true;
}

bool segue_breaker_counts(unsigned http_status)
{
    return http_status == 502 || http_status == 503 || http_status == 504;
}
