/* SPDX-License-Identifier: Apache-2.0 */
/* Words chained through a paged cache. */
#include "fake/model.h"
#include "fail.h"

#include <assert.h>
#include <stdlib.h>

static uint32_t word(uint32_t before, uint32_t token)
{
    uint64_t x = ((uint64_t)before << 32 | (token + 1)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(x >> 29);
}

void fake_model_open(struct fake_model *model, uint32_t block_tokens, uint32_t blocks)
{
    *model = (struct fake_model){.block_tokens = block_tokens, .blocks = blocks};
    model->kv = calloc((size_t)blocks * block_tokens, sizeof *model->kv);
    assert(model->kv != NULL);
    pthread_mutex_init(&model->gate, NULL);
}

void fake_model_close(struct fake_model *model)
{
    free(model->kv);
    pthread_mutex_destroy(&model->gate);
}

static uint32_t *at(struct fake_model *model, const struct step_seq *seq,
                    uint32_t position)
{
    uint32_t block = position / model->block_tokens;
    assert(block < seq->n_blocks && seq->blocks[block] < model->blocks);
    return &model->kv[seq->blocks[block] * model->block_tokens +
                      position % model->block_tokens];
}

int fake_model_step(void *user, const struct step_seq *seqs, uint32_t count)
{
    struct fake_model *model = user;
    pthread_mutex_lock(&model->gate);
    int failed = model->fail;
    model->fail = 0;
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < count && !failed; i++) {
        const struct step_seq *seq = &seqs[i];
        assert(seq->n_tokens > 0);
        tokens += seq->n_tokens;
        uint32_t last = seq->past == 0 ? 0 : *at(model, seq, seq->past - 1);
        for (uint32_t k = 0; k < seq->n_tokens; k++)
            *at(model, seq, seq->past + k) = last = word(last, seq->tokens[k]);
        for (uint32_t id = 0; seq->want != STEP_NO_LOGITS && id < FAKE_VOCAB; id++)
            seq->logits[id] = id == last % FAKE_VOCAB ? 5 : (float)id / FAKE_VOCAB;
    }
    model->most_seqs = count > model->most_seqs ? count : model->most_seqs;
    model->most_tokens = tokens > model->most_tokens ? tokens : model->most_tokens;
    pthread_mutex_unlock(&model->gate);
    return failed ? engine_fail("the fake model was told to fail") : 0;
}

uint32_t fake_model_next(const uint32_t *tokens, uint32_t count)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < count; i++)
        last = word(last, tokens[i]);
    return last % FAKE_VOCAB;
}
