/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `segue demo` share: what to run (options, geometries, requests) and
 * what came of it (answers, hand-offs, parity).
 */
#ifndef TOOLS_DEMO_H
#define TOOLS_DEMO_H

#include "cache.h"
#include "demo_answer.h"
#include "demo_handoff.h"
#include "model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    DEMO_ENGINES = 8, /* most of one role */
    DEMO_REQUESTS = 8,
    DEMO_RUNS = 3,
    DEMO_ENGINE_NAME = 24,
};

/* The KV cache of one engine. */
struct demo_geometry {
    uint32_t block, tp;
    enum cache_order order;
    enum cache_dtype dtype;
    char device[24];
};

struct demo_topology {
    uint32_t prefill, decode;
};

enum demo_digest { DEMO_DIGEST_OFF, DEMO_DIGEST_SAMPLE, DEMO_DIGEST_FULL };

struct demo_options {
    bool custom; /* a topology, geometry or prompt was given: one run, not the built-in */
    struct demo_topology topology;
    struct demo_geometry prefill, decode;
    char *prompt; /* owned; NULL: the guide's */
    uint32_t max_tokens;
    const char *model; /* NULL: the fetched one */
    enum demo_digest digest;
    const char *corrupt; /* "flip", "swap", "cross" or NULL */
    const char *fake_drivers;
    bool keep, json, help;
};

struct demo_model {
    char path[512];
    const char *name; /* the last part of path */
    struct model_config config;
};

struct demo_path {
    char text[512];
};

struct demo_request {
    const char *name; /* for people */
    char *prompt;     /* owned */
    bool chat;        /* a question, streamed, to /v1/chat/completions; else as it is */
    uint32_t max_tokens;
    char id[48]; /* X-Request-Id */

    long status; /* HTTP; 0: no answer */
    struct answer answer;
    struct handoff handoff;                       /* as the decode engine tells it */
    double prefill_ms, ticket_ms, first_token_ms; /* below 0: not known */
    char prefill[DEMO_ENGINE_NAME], decode[DEMO_ENGINE_NAME]; /* who served; "" unknown */
    uint64_t prefill_engine; /* bytes the prefill engine copied itself */
    uint64_t expected;       /* bytes that geometry predicts for the tokens claimed */
    double copy_gbps;        /* of a plain copy of the same bytes; 0: not measured */
    struct answer reference;
    bool parity;
    char why[384]; /* why there is no parity */
};

struct demo_run {
    const char *name;
    const struct demo_model *model;
    struct demo_topology topology;
    struct demo_geometry prefill, decode;
    struct demo_request requests[DEMO_REQUESTS];
    size_t count;
    bool parity;
};

/* demo_options.c */

/* What: reads the command line. Returns an exit status other than 0 after it has said on
 * stderr what is wrong. The caller frees with demo_options_free either way. */
int demo_parse(int argc, char **argv, struct demo_options *options);
void demo_options_free(struct demo_options *options);
void demo_help(FILE *out);

/* What: "2p1d"; "block=16,layout=hnd,tp=3,device=sim:cuda,dtype=fp16" onto what is there.
 * false with the reason in `why`. Pure. */
bool demo_topology_parse(const char *text, struct demo_topology *out, char *why,
                         size_t size);
bool demo_geometry_parse(const char *text, struct demo_geometry *out, char *why,
                         size_t size);
const char *demo_layout_name(enum cache_order order); /* "nhd" and "hnd" for these two */

/* demo_plan.c */

/* What: where the fetched model is, or will be; where the tiny one is that comes with this
 * program. */
struct demo_path demo_model_path(void);
struct demo_path demo_tiny_path(void);

/* What: opens the model to learn its sizes. Returns an exit status other than 0 after it
 * has said on stderr what is wrong; `advice` ends the sentence for a missing file. */
int demo_model_read(struct demo_model *out, const char *path, const char *advice);

/* What: the built-in runs, or the one run asked for, with their requests. Returns how many;
 * each is freed with demo_run_free. `runs` has room for DEMO_RUNS. */
size_t demo_plan(struct demo_run *runs, const struct demo_options *options,
                 const struct demo_model *model, const struct demo_model *tiny);
void demo_run_free(struct demo_run *run);

/* What: whether both engines' TP fits the model; if not, says so on stderr. */
bool demo_tp_fits(const struct demo_run *run);

/* What: the body of a request; `alone` asks the reference for the same, whole and with the
 * gaps between logits. The caller frees. */
char *demo_body(const struct demo_request *request, const char *model, bool alone);

/* What: blocks each engine needs so that no request of the run has to wait for room. */
uint32_t demo_blocks(const struct demo_run *run, const struct demo_geometry *geometry);

/* What: bytes that `tokens` tokens have in the producer's cache. */
uint64_t demo_expected(const struct demo_run *run, uint32_t tokens);

/* demo_run.c */

/* What: starts the run's engines and router, sends its requests, asks the reference, and
 * fills the results in. Returns 0 also where parity is missing, else the exit status after
 * it has said on stderr what could not be done. */
int demo_run(struct demo_run *run, const struct demo_options *options);

/* demo_text.c, demo_json.c */
void demo_text_run(FILE *out, const struct demo_run *run, size_t number, size_t of);
void demo_text_end(FILE *out, const struct demo_run *runs, size_t count,
                   const struct demo_options *options);
void demo_json(FILE *out, const struct demo_run *runs, size_t count,
               const struct demo_options *options);

#endif
