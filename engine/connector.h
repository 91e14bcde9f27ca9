/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between the scheduler and whatever moves KV between engines. The scheduler
 * calls these verbs on its own thread, none may block; answers come back from any thread
 * through scheduler_loaded, _released and _offer_ended (scheduler.h).
 *
 * Decode side of one request:  arrive -> (load | leave);  after a load that was started:
 * exactly one _loaded, then exactly one _released, also when it was left meanwhile.
 * Prefill side:  offer -> exactly one _offer_ended.
 */
#ifndef ENGINE_CONNECTOR_H
#define ENGINE_CONNECTOR_H

#include <stdint.h>

struct connector_prompt {
    const uint32_t *tokens; /* borrowed for the call, as everything here */
    uint32_t count;
    const char *salt;   /* cache salt, NULL: none */
    const char *params; /* the request's kv_transfer_params, JSON text */
    const char *name;   /* what the client calls the request, for reports only */
    uint32_t
        answers; /* that will be decoded from it: uses to offer, siblings that share a load */
};

/* Return values: 0, or -1 with a sentence in engine_error(). `request` is the scheduler's
 * number for it, never used twice. */
struct connector_ops {
    /* A request whose KV is elsewhere waits here: keep it there until load or leave. -1:
     * these params can never be loaded; nothing more is called for it. */
    int (*arrive)(void *connector, uint64_t request,
                  const struct connector_prompt *prompt);

    /* Bring tokens [first, count) into these blocks, which hold the whole prompt in token
     * order; the tokens before `first`, a multiple of the block size, are in them already
     * and stay untouched. -1: not started, no answer comes; then leave is called. */
    int (*load)(void *connector, uint64_t request, const struct connector_prompt *prompt,
                const uint32_t *blocks, uint32_t block_count, uint32_t first);

    /* The request needs nothing (more): it is over, or has all of its tokens. Once at most.
     * A load under way is cancelled. */
    void (*leave)(void *connector, uint64_t request);

    /* A request with these params was refused before it came to the scheduler: nobody will
     * load them. Any thread; no answer comes. */
    void (*drop)(void *connector, const char *params);

    /* The prompt's KV is complete in these blocks and stays so until _offer_ended. *params
     * gets the kv_transfer_params for whoever decodes, JSON text for the caller to free.
     * -1: no offer, nothing more is called for it. */
    int (*offer)(void *connector, uint64_t request, const struct connector_prompt *prompt,
                 const uint32_t *blocks, uint32_t block_count, char **params);
};

#endif
