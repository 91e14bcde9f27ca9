/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the library's log lines go. Silent unless asked: SEGUE_LOG=debug, or
 * SEGUE_LOG=transport:debug,handoff:info by area.
 */
#ifndef SEGUE_LOG_H
#define SEGUE_LOG_H

#include <segue/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum segue_log_level {
    SEGUE_LOG_NONE = 0,
    SEGUE_LOG_ERROR,
    SEGUE_LOG_WARN,
    SEGUE_LOG_INFO,
    SEGUE_LOG_DEBUG,
};

/* Receives one line without a line end. Called from any thread, one call at a time. */
typedef void (*segue_log_fn)(void *user, enum segue_log_level level, const char *area,
                             const char *line);

/* What: sends lines to `fn` instead of stderr (NULL: stderr again). Process wide, as
 * stderr is. Any thread. */
SEGUE_API void segue_log_set(segue_log_fn fn, void *user);

/* What: sets what is logged, in SEGUE_LOG's words ("info", "agent:debug,info"); NULL
 * reads the environment. Unknown words are ignored with one line that names them. Any
 * thread. */
SEGUE_API void segue_log_open(const char *spec);

#ifdef __cplusplus
}
#endif
#endif
