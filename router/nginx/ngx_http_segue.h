/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the nginx module share: its configuration, a request and its two
 * legs, the engines of an upstream, and the counters in shared memory.
 *
 * A hand-off is one client request with two legs. Leg 1, prefill, is an in-memory
 * subrequest; leg 2, decode, is the client request's own upstream. Where a request stands
 * is in its phase, never in which handler happens to be set:
 *
 *   phase     what runs            the client leaves                 how it goes on
 *   BODY      nginx reads          nginx ends it                     PREFILL, DECODE
 *   PREFILL   leg 1                half-close the engine; an answer  DECODE, or an error
 *                                  already on its way is still taken
 *   DECODE    leg 2, no byte yet   noted: the engine must take the   STREAM, PREFILL again
 *                                  blocks over or let go of them     (KV verdict), error
 *   STREAM    leg 2, bytes flow    closes the engine's connection    DONE
 */
#ifndef NGX_HTTP_SEGUE_H
#define NGX_HTTP_SEGUE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "openai/answer.h"
#include "openai/body.h"
#include "policy/policy.h"

#define NGX_HTTP_SEGUE_ENGINES_MAX   64 /* of one upstream{}: the tried ones are bits */
#define NGX_HTTP_SEGUE_ENGINES_TOTAL 256

/* ---- shared memory: ngx_http_segue_zone.c ---- */

/* name in the metrics, help */
#define NGX_HTTP_SEGUE_COUNTERS(X)                                                       \
    X(REQUESTS, "requests_total", "requests that came in")                               \
    X(HANDOFFS, "handoffs_total",                                                        \
      "requests prefilled on one engine, decoded on another")                            \
    X(LOCAL, "local_total", "requests that one decode engine served alone")              \
    X(PREFILL_AGAIN, "prefill_again_total", "second prefills after a KV verdict")        \
    X(PREFILL_FAILED, "prefill_failed_total", "requests that ended at prefill")          \
    X(DECODE_FAILED, "decode_failed_total", "requests that no decode engine answered")   \
    X(DECODE_DIED, "decode_died_total", "answers broken off by the decode engine")       \
    X(LEFT_PREFILL, "clients_left_in_prefill_total",                                     \
      "clients gone before prefill ended")                                               \
    X(LEFT_DECODE, "clients_left_in_decode_total",                                       \
      "clients gone before decode's first byte")                                         \
    X(LEFT_STREAM, "clients_left_in_stream_total", "clients gone while reading")         \
    X(STRANDED, "stranded_total",                                                        \
      "hand-offs no decode engine took: blocks wait for the lease")                      \
    X(REJECTED, "rejected_total", "requests refused by the router itself")               \
    X(CONNECT_FAILED, "connect_failed_total", "engine connections that failed")          \
    X(BREAKER_CHANGED, "breaker_changes_total", "engines shut off or let back in")       \
    X(VERDICT_STALE, "verdict_stale_total", "decode said kv_stale")                      \
    X(VERDICT_LOST, "verdict_lost_total", "decode said kv_lost")                         \
    X(VERDICT_CORRUPT, "verdict_corrupt_total", "decode said kv_corrupt")                \
    X(VERDICT_REFUSED, "verdict_refused_total", "decode said kv_refused")                \
    X(VERDICT_TIMEOUT, "verdict_timeout_total", "decode said kv_timeout")                \
    X(PREFILL_MS, "prefill_milliseconds_total", "time from prefill sent to its answer")  \
    X(FIRST_BYTE_MS, "first_byte_milliseconds_total",                                    \
      "time from decode sent to its first byte")                                         \
    X(CHUNKS, "chunks_total", "pieces of answers passed on")

enum ngx_http_segue_counter_e {
#define NGX_HTTP_SEGUE_COUNTER_ENUM(id, name, help) NGX_HTTP_SEGUE_##id,
    NGX_HTTP_SEGUE_COUNTERS(NGX_HTTP_SEGUE_COUNTER_ENUM)
#undef NGX_HTTP_SEGUE_COUNTER_ENUM
        NGX_HTTP_SEGUE_COUNTER_COUNT
};

/* What one worker has on one engine. */
typedef struct {
    ngx_atomic_t requests;
    ngx_atomic_t tokens;
} ngx_http_segue_gauge_t;

/* ---- configuration ---- */

typedef enum {
    NGX_HTTP_SEGUE_PREFILL = 0,
    NGX_HTTP_SEGUE_DECODE,
} ngx_http_segue_role_e;

typedef struct {
    ngx_str_t name;
    struct sockaddr *sockaddr;
    socklen_t socklen;
} ngx_http_segue_engine_t;

typedef struct {
    ngx_shm_zone_t *zone;
    ngx_uint_t engines; /* of all upstreams: how many gauges a row has */
    ngx_array_t roles;  /* of ngx_http_segue_srv_conf_t *, for the metrics */
    ngx_str_t runtime_dir;
} ngx_http_segue_main_conf_t;

typedef struct { /* of an upstream{} block */
    ngx_http_segue_role_e role;
    const struct segue_policy *policy; /* NULL: the block is none of ours */
    ngx_uint_t limit;
    ngx_http_segue_engine_t *engines;
    ngx_uint_t count;
    ngx_uint_t first; /* its engines' gauges begin here in a row */
    ngx_uint_t turn;  /* this worker's */
    ngx_http_segue_main_conf_t *main;
} ngx_http_segue_srv_conf_t;

typedef enum {
    NGX_HTTP_SEGUE_OFF = 0,
    NGX_HTTP_SEGUE_HANDOFF,
    NGX_HTTP_SEGUE_PASS,
} ngx_http_segue_mode_e;

typedef struct {
    ngx_uint_t mode;
    ngx_http_upstream_srv_conf_t *prefill, *decode;
    ngx_http_upstream_conf_t upstream; /* copied for each leg */
    ngx_msec_t prefill_timeout, first_byte_timeout, idle_timeout, total_timeout;
    ngx_msec_t leave_timeout; /* how long a half-closed prefill may still answer */
    size_t answer_size;       /* the longest answer of a prefill engine */
} ngx_http_segue_loc_conf_t;

/* ---- a request ---- */

typedef enum {
    NGX_HTTP_SEGUE_PHASE_BODY = 0,
    NGX_HTTP_SEGUE_PHASE_PREFILL,
    NGX_HTTP_SEGUE_PHASE_DECODE,
    NGX_HTTP_SEGUE_PHASE_STREAM,
    NGX_HTTP_SEGUE_PHASE_DONE,
} ngx_http_segue_phase_e;

typedef struct {
    ngx_http_upstream_conf_t conf; /* this leg's own: timeouts change with the phase */
    ngx_http_status_t status;
    ngx_http_chunked_t chunked;
    ngx_str_t engine; /* the last one asked */
    ngx_uint_t engine_index;
    ngx_uint_t code; /* its status; 0: no answer */
    ngx_uint_t tries;
    ngx_msec_t sent, first_byte, ended; /* ngx_current_msec; 0: not yet */
    const char *failure; /* what went wrong with the engine; NULL: nothing */
    ngx_int_t (*ready)(ngx_http_request_t *r); /* the header is whole, the body follows */
    unsigned complete : 1;                     /* the whole answer came */
    unsigned timed_out : 1;
} ngx_http_segue_leg_t;

typedef struct {
    ngx_http_request_t *request; /* the client's */
    ngx_http_segue_loc_conf_t *conf;
    ngx_http_segue_phase_e phase;
    ngx_msec_t started, deadline;
    ngx_str_t id; /* X-Request-Id */

    ngx_str_t text; /* the client's body */
    struct segue_body body;
    struct segue_rewrite rewrite;
    uint64_t tokens;  /* estimate */
    const char *mode; /* handoff, pass, or why one engine serves it alone */

    ngx_http_segue_leg_t prefill, decode;
    ngx_http_request_t *subrequest;
    u_char *answer; /* of the prefill engine */
    size_t answer_len, answer_cap;
    off_t answer_length; /* what its Content-Length says; -1: nothing */
    struct segue_slice params;
    ngx_uint_t prefills;
    uint64_t prefill_tried;                    /* engines whose hand-off failed: bits */
    enum segue_verdict verdict, again_verdict; /* the last; why it was prefilled again */
    ngx_event_t again;                         /* starts the second prefill */

    u_char tail[2];       /* the last bytes passed on: where a server-sent event ends */
    unsigned scanned : 1; /* body is read: there is something to strip */
    unsigned prefill_done : 1;
    unsigned client_left : 1;
    unsigned decode_answered : 1; /* some decode engine took the request */
    unsigned stranded : 1;
    unsigned events : 1; /* the answer is a stream of server-sent events */
} ngx_http_segue_ctx_t;

extern ngx_module_t ngx_http_segue_module;

/* handler.c: the request's way from leg to leg */
ngx_int_t ngx_http_segue_handler(ngx_http_request_t *r);
void ngx_http_segue_after_prefill(ngx_http_request_t *r);
void ngx_http_segue_prefill_again(ngx_event_t *ev);
ngx_http_segue_leg_t *ngx_http_segue_leg(ngx_http_request_t *r);

/* prefill.c, decode.c: the legs */
ngx_int_t ngx_http_segue_prefill_start(ngx_http_segue_ctx_t *ctx);
ngx_int_t ngx_http_segue_prefill_run(ngx_http_request_t *sr);
void ngx_http_segue_decode_start(ngx_http_segue_ctx_t *ctx);

/* leg.c: what both legs do */
ngx_http_upstream_t *ngx_http_segue_leg_create(ngx_http_request_t *r,
                                               ngx_http_upstream_srv_conf_t *upstream,
                                               ngx_msec_t answer_timeout,
                                               ngx_int_t (*ready)(ngx_http_request_t *));
ngx_int_t ngx_http_segue_leg_request(ngx_http_request_t *r,
                                     const struct segue_rewrite *body);
ngx_msec_t ngx_http_segue_within(ngx_http_segue_ctx_t *ctx, ngx_msec_t timeout);

/* body.c: the client's body in one piece */
ngx_int_t ngx_http_segue_body_gather(ngx_http_request_t *r, ngx_str_t *text);

/* abort.c: a client that leaves */
void ngx_http_segue_watch_client(ngx_http_request_t *r);
void ngx_http_segue_client_leaves(ngx_http_request_t *r);

/* error.c: answers of our own */
ngx_int_t ngx_http_segue_send_json(ngx_http_request_t *r, ngx_uint_t status, u_char *data,
                                   size_t len);
ngx_int_t ngx_http_segue_send_error(ngx_http_request_t *r, ngx_uint_t status,
                                    const char *code, const char *message);
void ngx_http_segue_send_event(ngx_http_segue_ctx_t *ctx, const char *code,
                               const char *message);
ngx_int_t ngx_http_segue_error_handler(ngx_http_request_t *r);

/* peer.c: the balancer */
char *ngx_http_segue_engines(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* zone.c: counters and gauges, a row a worker */
ngx_int_t ngx_http_segue_zone_init(ngx_shm_zone_t *zone, void *data);
ngx_int_t ngx_http_segue_zone_worker(ngx_cycle_t *cycle);
void ngx_http_segue_count(ngx_uint_t counter, ngx_atomic_int_t by);
ngx_uint_t ngx_http_segue_zone_pick(ngx_http_segue_srv_conf_t *conf, uint64_t tokens,
                                    uint64_t tried, enum segue_pick_why *why);
void ngx_http_segue_zone_done(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                              uint64_t tokens);
void ngx_http_segue_zone_report(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                                ngx_uint_t well);
void ngx_http_segue_in_flight(ngx_atomic_int_t by);

typedef struct {
    ngx_atomic_uint_t counters[NGX_HTTP_SEGUE_COUNTER_COUNT];
    ngx_atomic_int_t in_flight;
    ngx_uint_t workers;
} ngx_http_segue_sums_t;

void ngx_http_segue_zone_sum(ngx_http_segue_main_conf_t *conf,
                             ngx_http_segue_sums_t *sums);
void ngx_http_segue_zone_engine(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                                struct segue_load *load);

/* runtime.c */
void ngx_http_segue_remove_tree(const char *path, ngx_log_t *log);

/* metrics.c, variables.c */
ngx_int_t ngx_http_segue_metrics_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_segue_add_variables(ngx_conf_t *cf);

#endif
