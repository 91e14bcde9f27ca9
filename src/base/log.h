/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines of the library: lower case, no '=', the exact cause. Areas are folder names:
 * base device transport agent kv handoff, and fault. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <segue/log.h>
#include <stdbool.h>

bool segue_log_on(enum segue_log_level level, const char *area);
void segue_log_write(enum segue_log_level level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define SEGUE_LOG(level, area, ...)                                                      \
    do {                                                                                 \
        if (segue_log_on(SEGUE_LOG_##level, area))                                       \
            segue_log_write(SEGUE_LOG_##level, area, __VA_ARGS__);                       \
    } while (0)

#endif
