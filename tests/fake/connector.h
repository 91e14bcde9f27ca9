/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake connector between two schedulers over fake models, both block sizes free. It
 * moves nothing until the test says so, so that a test can look at every state between.
 */
#ifndef FAKE_CONNECTOR_H
#define FAKE_CONNECTOR_H

#include "fake/model.h"
#include "scheduler.h"

struct fake_connector {
    struct fake_model *from, *to;
    struct scheduler *producer, *consumer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_mutex_t gate; /* locked by a test to hold the scheduler inside arrive */
    /* one hand-off at a time */
    uint64_t offered, arrived, loading, left; /* the requests' numbers; 0: none */
    uint32_t tokens, first;
    uint32_t from_blocks[64], to_blocks[64];
    int refuse_arrive, refuse_load, refuse_offer;
};

extern const struct connector_ops fake_connector_ops;

void fake_connector_open(struct fake_connector *connector, struct fake_model *from,
                         struct fake_model *to);

/* Wait until the scheduler has made that call. */
void fake_connector_wait_arrived(struct fake_connector *connector);
void fake_connector_wait_load(struct fake_connector *connector);
void fake_connector_wait_left(struct fake_connector *connector);

/* Copies the tokens' words, as if it were a transfer. */
void fake_connector_copy(struct fake_connector *connector);

#endif
