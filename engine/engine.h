/* SPDX-License-Identifier: Apache-2.0 */
/* A whole engine: model, KV cache, runner, scheduler and API, opened and closed in order. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "cache.h"
#include "handoff.h"

#include <stdbool.h>

struct engine;

enum engine_role { ENGINE_BOTH, ENGINE_PREFILL, ENGINE_DECODE };

struct engine_opts {
    const char *model;       /* path of the GGUF file */
    const char *served_name; /* NULL: the file's name without .gguf */
    const char *host;
    uint16_t port; /* 0: one that is free */
    enum engine_role role;
    uint32_t block_tokens, tp;
    enum cache_order order;
    enum cache_dtype dtype;
    const char *device;
    uint32_t blocks;      /* 0: as many as fit `cache_bytes` */
    uint64_t cache_bytes; /* of all ranks together */
    uint32_t threads;     /* per rank; 0: the processors, divided by tp */
    uint32_t max_tokens, max_seqs;
    uint32_t context; /* 0: the model's, or what the cache holds */
    bool no_prefix_caching, recompute;
    int round; /* an enum cache_dtype the prompt's K and V go through; -1: none */
    uint64_t body_most;
    const char *engine_id, *ipc_dir; /* NULL: chosen by the library */
    const char *require, *exclude;   /* paths of hand-offs; NULL: any */
    struct handoff_network network;
    enum segue_digest digest;     /* what claims ask for */
    enum handoff_corrupt corrupt; /* a negative control */
    const char *fault;            /* text of a fault schedule, for tests; NULL: none */
};

/* What an engine that runs says about itself; borrowed from it. */
struct engine_facts {
    const char *model;
    uint16_t port;
    uint32_t context, blocks, threads;
    uint64_t cache_bytes;
    const char *kv_address; /* for engines on other hosts; "": none */
};

/* The defaults of every option; model stays NULL. */
void engine_defaults(struct engine_opts *opts);

/* Opens everything; the API answers when it returns. Strings of `opts` are borrowed until
 * engine_close. -1: the sentence says what does not fit or is missing; *missing is then
 * whether it is something this machine or build lacks. */
int engine_open(struct engine **out, const struct engine_opts *opts, bool *missing);
void engine_facts(const struct engine *engine, struct engine_facts *out);

/* Ends every request, then everything else. */
void engine_close(struct engine *engine); /* NULL is allowed */

#endif
