/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a call ended: one enum for the whole API, what a failure cost the caller, and the
 * sentence that explains it.
 *
 * 0 is success, positive is progress, negative is an error. Whoever detects an error
 * writes one sentence about it, kept per thread; segue_error_detail() reads it right
 * after the call that failed.
 */
#ifndef SEGUE_STATUS_H
#define SEGUE_STATUS_H

#include <segue/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* name, value, text, what was lost: NOTHING, REQUEST (this call or transfer only), PEER
 * (everything held with that peer), DEVICE (memory and queues of that device), AGENT
 * (create a new one). It says what the caller has to rebuild. */
#define SEGUE_STATUS_MAP(X)                                                              \
    X(OK, 0, "ok", NOTHING)                                                              \
    X(IN_PROGRESS, 1, "in progress", NOTHING)                                            \
    X(E_INVALID, -1, "invalid argument", REQUEST)                                        \
    X(E_RANGE, -2, "outside the memory or the numbers allowed", REQUEST)                 \
    X(E_MEMORY, -3, "out of memory", REQUEST)                                            \
    X(E_LIMIT, -4, "a configured or system limit is reached", REQUEST)                   \
    X(E_NOT_FOUND, -5, "no such thing", REQUEST)                                         \
    X(E_UNSUPPORTED, -6, "not supported here", REQUEST)                                  \
    X(E_BUSY, -7, "in use", REQUEST)                                                     \
    X(E_TIMEOUT, -8, "the deadline passed", REQUEST)                                     \
    X(E_CANCELLED, -9, "cancelled", REQUEST)                                             \
    X(E_REFUSED, -10, "refused", REQUEST)                                                \
    X(E_STALE, -11, "stale", REQUEST)                                                    \
    X(E_CORRUPT, -12, "bytes differ from what was offered", REQUEST)                     \
    X(E_MISMATCH, -13, "the two sides do not fit together", REQUEST)                     \
    X(E_LOST, -20, "the peer or the link to it is gone", PEER)                           \
    X(E_PROTOCOL, -21, "the peer broke the protocol", PEER)                              \
    X(E_AUTH, -22, "the peer could not prove who it is", PEER)                           \
    X(E_DEVICE, -30, "the device failed", DEVICE)                                        \
    X(E_SYSTEM, -31, "a system call failed", REQUEST)                                    \
    X(E_INTERNAL, -40, "a bug in segue", AGENT)

enum segue_status {
#define SEGUE_STATUS_ENUM(name, value, text, lost) SEGUE_##name = (value),
    SEGUE_STATUS_MAP(SEGUE_STATUS_ENUM)
#undef SEGUE_STATUS_ENUM
};

enum segue_lost {
    SEGUE_LOST_NOTHING = 0,
    SEGUE_LOST_REQUEST,
    SEGUE_LOST_PEER,
    SEGUE_LOST_DEVICE,
    SEGUE_LOST_AGENT,
};

/* What: the constant's name without its prefix ("E_STALE"); "?" for a number that is
 * none. Static storage. Any thread. */
SEGUE_API const char *segue_status_name(enum segue_status status);

/* What: a few words for people ("the deadline passed"). Static storage. Any thread. */
SEGUE_API const char *segue_status_text(enum segue_status status);

/* What: which of the caller's objects the error made useless. Any thread. */
SEGUE_API enum segue_lost segue_status_lost(enum segue_status status);

/* What: one sentence about the last failure on this thread, naming the thing and, where
 * it helps, what to do; "" when there was none. Borrowed: valid until the next failing
 * Segue call on this thread. */
SEGUE_API const char *segue_error_detail(void);

#ifdef __cplusplus
}
#endif
#endif
