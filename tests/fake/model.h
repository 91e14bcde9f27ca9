/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake model for scheduler tests. Its "KV" of a token is one word that depends on the
 * token and on the word before it, read from the cache; its next token depends on the last
 * word. So a block that is not what it should be changes every token that follows.
 */
#ifndef FAKE_MODEL_H
#define FAKE_MODEL_H

#include "runner.h"

#include <pthread.h>

#define FAKE_VOCAB 97

struct fake_model {
    uint32_t block_tokens, blocks;
    uint32_t *kv;                    /* blocks x block_tokens */
    uint32_t most_seqs, most_tokens; /* seen in one step */
    int fail;                        /* the next step fails */
    pthread_mutex_t gate;            /* locked by a test to hold the model back */
};

void fake_model_open(struct fake_model *model, uint32_t block_tokens, uint32_t blocks);
void fake_model_close(struct fake_model *model);

/* scheduler_opts.step */
int fake_model_step(void *model, const struct step_seq *seqs, uint32_t count);

/* What a model without a cache would say follows these tokens. */
uint32_t fake_model_next(const uint32_t *tokens, uint32_t count);

#endif
