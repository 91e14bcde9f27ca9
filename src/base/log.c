/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: a level per area, parsed once from SEGUE_LOG, and one sink. The sink and the
 * levels are process wide because stderr is; both are set before use or under one lock,
 * and nothing else in the library is global.
 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const areas[] = {"base",    "device", "transport", "agent", "kv",
                                    "handoff", "engine", "router",    "fault"};
static const char *const levels[] = {"none", "error", "warn", "info", "debug"};
#define AREAS  (sizeof areas / sizeof *areas)
#define LEVELS (sizeof levels / sizeof *levels)

static atomic_int level_of[AREAS];
static atomic_int level_max;
static pthread_once_t opened = PTHREAD_ONCE_INIT;
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static segue_log_fn sink;
static void *sink_user;

static int find(const char *const *table, size_t n, const char *word, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i]) == len && memcmp(table[i], word, len) == 0)
            return (int)i;
    return -1;
}

static void emit(enum segue_log_level level, const char *area, const char *line)
{
    pthread_mutex_lock(&sink_lock);
    if (sink)
        sink(sink_user, level, area, line);
    else
        fprintf(stderr, "segue %s %s: %s\n", levels[level], area, line);
    pthread_mutex_unlock(&sink_lock);
}

static void parse(const char *spec)
{
    int at[AREAS] = {0}, max = 0;
    for (const char *p = spec; *p;) {
        size_t len = strcspn(p, ",");
        const char *colon = memchr(p, ':', len);
        const char *word = colon ? colon + 1 : p;
        int area = colon ? find(areas, AREAS, p, (size_t)(colon - p)) : -1;
        int level = find(levels, LEVELS, word, len - (size_t)(word - p));
        if (level < 0 || (colon && area < 0)) {
            char line[160];
            snprintf(line, sizeof line,
                     "SEGUE_LOG: '%.*s' is not [area:]none|error|warn|info|debug",
                     (int)(len > 64 ? 64 : len), p);
            emit(SEGUE_LOG_WARN, "base", line);
        } else {
            for (size_t i = 0; i < AREAS; i++)
                if (!colon || (int)i == area)
                    at[i] = level;
        }
        p += len;
        p += *p == ',';
    }
    for (size_t i = 0; i < AREAS; i++) {
        atomic_store_explicit(&level_of[i], at[i], memory_order_relaxed);
        max = at[i] > max ? at[i] : max;
    }
    atomic_store_explicit(&level_max, max, memory_order_relaxed);
}

static void open_from_environment(void)
{
    const char *spec = getenv("SEGUE_LOG");
    parse(spec ? spec : "");
}

void segue_log_open(const char *spec)
{
    pthread_once(&opened, open_from_environment);
    if (spec)
        parse(spec);
    else
        open_from_environment();
}

void segue_log_set(segue_log_fn fn, void *user)
{
    pthread_mutex_lock(&sink_lock);
    sink = fn;
    sink_user = user;
    pthread_mutex_unlock(&sink_lock);
}

bool segue_log_on(enum segue_log_level level, const char *area)
{
    pthread_once(&opened, open_from_environment);
    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return false;
    int i = find(areas, AREAS, area, strlen(area));
    return i >= 0 &&
           (int)level <= atomic_load_explicit(&level_of[i], memory_order_relaxed);
}

void segue_log_write(enum segue_log_level level, const char *area, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    emit(level, area, line);
}
