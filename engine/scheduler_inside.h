/* SPDX-License-Identifier: Apache-2.0 */
/* What the scheduler's files share. Everything belongs to the scheduler's thread but for
 * the fields under "lock". */
#ifndef ENGINE_SCHEDULER_INSIDE_H
#define ENGINE_SCHEDULER_INSIDE_H

#include "blocks.h"
#include "scheduler.h"
#include "tokenizer.h"

#include <pthread.h>

enum sequence_state { WAITING, RUNNING, LOADING, OFFERED, QUARANTINED, DRAINING };

/* The connector's answers and aborts, until the thread looks at them. */
struct news {
    bool aborted, loaded, released, offer_ended;
    enum segue_verdict verdict;
    char detail[256];
};

struct sequence {
    uint64_t id;
    struct request *request; /* NULL once it has ended */
    enum sequence_state state;
    enum request_role role;           /* REQUEST_WHOLE once a failed load is recomputed */
    struct sequence *next, *previous; /* in the queue of its state */

    uint32_t *tokens;  /* prompt and answer */
    uint32_t count;    /* of tokens */
    uint32_t limit;    /* most tokens there will be */
    uint32_t computed; /* tokens whose K and V are in the blocks */
    uint32_t cached;   /* of the prompt, found in the prefix cache at first */
    uint32_t *blocks, block_count;
    uint32_t sealed;        /* of the blocks, how many the prefix cache has looked at */
    struct block_hash hash; /* up to the end of the last sealed block */
    bool attached;          /* the connector expects load or leave, or is loading */
    bool load_open;         /* a load was started and is not released */

    /* lock */
    struct sequence *next_known, *previous_known;
    struct sequence *next_touched;
    bool touched;
    struct news news;
};

struct queue {
    struct sequence *first, *last;
    uint32_t count;
};

struct scheduler {
    struct scheduler_opts opts;
    pthread_t thread;
    struct blocks *blocks;
    struct queue waiting, running, loading;
    struct queue held; /* OFFERED, QUARANTINED, DRAINING */
    struct scheduler_stats stats;

    struct step_seq *batch; /* of the step being planned */
    struct sequence **batch_sequences;
    uint32_t batch_count, batch_tokens;
    float *logits;
    uint32_t *sampler_work;

    pthread_mutex_t
        lock; /* never held while the model, a callback or the connector runs */
    pthread_cond_t wake;
    bool stopping;
    bool idle; /* nothing can go on until there is news */
    uint64_t next_id;
    struct sequence
        *known; /* all there are, also those that have ended but hold blocks */
    struct queue incoming;
    struct sequence *touched;
    struct scheduler_stats published;
};

void queue_append(struct queue *queue, struct sequence *sequence);
void queue_prepend(struct queue *queue, struct sequence *sequence);
void queue_remove(struct queue *queue, struct sequence *sequence);
struct queue *queue_of(struct scheduler *scheduler, enum sequence_state state);
void sequence_move(struct scheduler *scheduler, struct sequence *sequence,
                   enum sequence_state state);

/* NULL: no memory. */
struct sequence *sequence_create(const struct scheduler_opts *opts,
                                 struct request *request);
void sequence_free(struct sequence *sequence);

/* Takes its blocks for all tokens there are now, those of the prefix cache first; false,
 * with nothing taken, when `spare` others would not be left. */
bool sequence_reserve(struct scheduler *scheduler, struct sequence *sequence,
                      uint32_t spare);
/* One more block when the next token needs it; false when there is none. */
bool sequence_grow(struct scheduler *scheduler, struct sequence *sequence);
/* Makes every block that is full and computed findable. */
void sequence_seal(struct scheduler *scheduler, struct sequence *sequence);
/* Gives back all blocks but the first `keep`. */
void sequence_drop(struct scheduler *scheduler, struct sequence *sequence, uint32_t keep);

/* What the connector is told of it; borrowed from the request. */
struct connector_prompt sequence_prompt(const struct sequence *sequence);

/* Ends the request: tells the connector and the submitter, gives back what can be given
 * back, frees the sequence unless blocks are still held. */
void sequence_finish(struct scheduler *scheduler, struct sequence *sequence,
                     const struct outcome *outcome);
void sequence_fail(struct scheduler *scheduler, struct sequence *sequence,
                   enum segue_verdict verdict, const char *message);
/* Back to the queue, to be computed again from the start. */
void sequence_preempt(struct scheduler *scheduler, struct sequence *sequence);
/* The last token it has was just computed: samples the next one, and ends it if due. */
void sequence_continue(struct scheduler *scheduler, struct sequence *sequence,
                       float *logits);
/* A request that has just come, or news of one. */
void sequence_arrive(struct scheduler *scheduler, struct sequence *sequence);
void sequence_hear(struct scheduler *scheduler, struct sequence *sequence,
                   const struct news *news);

/* Fills the batch; admits and preempts. Returns whether another plan, without news, may
 * find more to do although this batch is empty. */
bool schedule_plan(struct scheduler *scheduler);

/* Off the registry, then freed. */
void scheduler_forget(struct scheduler *scheduler, struct sequence *sequence);

#endif
