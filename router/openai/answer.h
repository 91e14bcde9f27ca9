/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a router reads in the answers of engines: the hand-off parameters of a prefill and
 * the verdict of a decode engine that refused one (PROTOCOL section 5).
 *
 * Pure; spans are borrowed from the text. Any thread.
 */
#ifndef ROUTER_OPENAI_ANSWER_H
#define ROUTER_OPENAI_ANSWER_H

#include "openai/body.h"

/* id, the engine's error.code, whether a new prefill may help. */
#define SEGUE_VERDICT_MAP(X)                                                             \
    X(NONE, "", false)                                                                   \
    X(VALID, "valid", false)                                                             \
    X(STALE, "kv_stale", true)                                                           \
    X(LOST, "kv_lost", true)                                                             \
    X(CORRUPT, "kv_corrupt", true)                                                       \
    X(REFUSED, "kv_refused", false)                                                      \
    X(TIMEOUT, "kv_timeout", false)

enum segue_verdict {
#define SEGUE_VERDICT_ENUM(id, code, again) SEGUE_VERDICT_##id,
    SEGUE_VERDICT_MAP(SEGUE_VERDICT_ENUM)
#undef SEGUE_VERDICT_ENUM
        SEGUE_VERDICT_COUNT
};

/* What: the word for people and metrics, "stale"; "" for NONE. Static storage. */
const char *segue_answer_verdict_name(enum segue_verdict verdict);

/* What: whether the router prefills once more: the KV is gone and the prompt is fine. */
bool segue_verdict_again(enum segue_verdict verdict);

/* What: the verdict in an error answer {"error":{"code":...}}; NONE when there is none. */
enum segue_verdict segue_answer_verdict(const char *data, size_t len);

/* What: the text of kv_transfer_params in a prefill's answer; empty when the engine gave
 * none or null. Statuses: E_INVALID (the answer is no JSON object, or the parameters are
 * neither an object nor null). */
enum segue_status segue_answer_params(const char *data, size_t len,
                                      struct segue_slice *params);

/* What: whether this is the OpenAI error envelope, fit to be passed on as it is. */
bool segue_answer_is_error(const char *data, size_t len);

#endif
