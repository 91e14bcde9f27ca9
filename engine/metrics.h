/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine counts about requests, and all of it as Prometheus text, under the names
 * vLLM uses where there is one. Any thread. */
#ifndef ENGINE_METRICS_H
#define ENGINE_METRICS_H

#include "scheduler.h"

#include <pthread.h>

enum { HISTOGRAM_BOUNDS = 20 };

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1];
    double sum;
};

struct metrics {
    pthread_mutex_t lock;
    struct histogram first_token, between_tokens, whole; /* seconds */
    uint64_t refused; /* requests that never reached the scheduler */
};

void metrics_open(struct metrics *metrics);
void metrics_close(struct metrics *metrics);

void metrics_observe(struct metrics *metrics, struct histogram *histogram,
                     double seconds);
void metrics_refused(struct metrics *metrics);

/* The whole page, malloc'ed; NULL: no memory. */
char *metrics_text(struct metrics *metrics, const struct scheduler_stats *stats,
                   const char *model, size_t *length);

#endif
