/* SPDX-License-Identifier: Apache-2.0 */
/* A fake caller of the scheduler: submits a prompt, keeps the tokens, waits for the end. */
#ifndef FAKE_CALLER_H
#define FAKE_CALLER_H

#include "scheduler.h"

#include <pthread.h>

enum { FAKE_MOST = 512 };

struct fake_caller {
    struct request request;
    uint64_t id;
    uint32_t prompt[FAKE_MOST], tokens[FAKE_MOST];
    uint32_t count, stop_after; /* of tokens; 0: never */
    bool ended;
    struct outcome outcome; /* its texts are copies */
    char message[256], params[256];
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* A prompt of `count` tokens that `salt` decides, `max_tokens` to come, greedy. */
void fake_caller_open(struct fake_caller *caller, uint32_t salt, uint32_t count,
                      uint32_t max_tokens);
void fake_caller_submit(struct fake_caller *caller, struct scheduler *scheduler);
/* Until it has `count` tokens, or has ended. */
void fake_caller_wait(struct fake_caller *caller, uint32_t count);
/* Until it has ended; checks every token against the fake model without a cache. */
void fake_caller_finish(struct fake_caller *caller);

#endif
