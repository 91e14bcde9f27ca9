/* SPDX-License-Identifier: Apache-2.0 */
/* A request's way: read and judged, prefill, decode, and the one place where it ends. */
#include "ngx_http_segue.h"

ngx_http_segue_leg_t *ngx_http_segue_leg(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    return r == r->main ? &ctx->decode : &ctx->prefill;
}

/* nginx runs this on every way a request can end, before it writes the log. */
static void request_ended(void *data)
{
    ngx_http_segue_ctx_t *ctx = data;
    if (ctx->again.posted) { /* the macro is two statements */
        ngx_delete_posted_event(&ctx->again);
    }
    if (ctx->params.len && !ctx->decode_answered) {
        ctx->stranded = 1;
        ngx_http_segue_count(NGX_HTTP_SEGUE_STRANDED, 1);
    }
    ngx_http_segue_in_flight(-1);
}

/* The client's id when it is one line of a reasonable length, else a new one. */
static ngx_int_t set_id(ngx_http_segue_ctx_t *ctx)
{
    static const char name[] = "x-request-id";
    ngx_http_request_t *r = ctx->request;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (h[i].key.len == sizeof name - 1 && h[i].value.len >= 1 &&
                h[i].value.len <= 256 &&
                ngx_memcmp(h[i].lowcase_key, name, sizeof name - 1) == 0) {
                ctx->id = h[i].value;
                return NGX_OK;
            }
    }
    ctx->id.data = ngx_pnalloc(r->pool, 32);
    if (ctx->id.data == NULL)
        return NGX_ERROR;
    ctx->id.len = (size_t)(ngx_sprintf(ctx->id.data, "%08xD%08xD%08xD%08xD",
                                       (uint32_t)ngx_random(), (uint32_t)ngx_random(),
                                       (uint32_t)ngx_random(), (uint32_t)ngx_random()) -
                           ctx->id.data);
    return NGX_OK;
}

static ngx_http_segue_ctx_t *ctx_create(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_pcalloc(r->pool, sizeof *ctx);
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);
    if (ctx == NULL || cleanup == NULL)
        return NULL;
    ctx->request = r;
    ctx->conf = ngx_http_get_module_loc_conf(r, ngx_http_segue_module);
    ctx->started = ngx_current_msec;
    ctx->deadline = ctx->started + ctx->conf->total_timeout;
    ctx->again.handler = ngx_http_segue_prefill_again;
    ctx->again.data = r;
    ctx->again.log = r->connection->log;
    ctx->mode = ctx->conf->mode == NGX_HTTP_SEGUE_HANDOFF ? "handoff" : "pass";
    if (set_id(ctx) != NGX_OK)
        return NULL;
    cleanup->handler = request_ended;
    cleanup->data = ctx;
    ngx_http_set_ctx(r, ctx, ngx_http_segue_module);
    ngx_http_segue_in_flight(1);
    ngx_http_segue_count(NGX_HTTP_SEGUE_REQUESTS, 1);
    return ctx;
}

static void reject(ngx_http_request_t *r, ngx_uint_t status, const char *code,
                   const char *message)
{
    ngx_http_segue_count(NGX_HTTP_SEGUE_REJECTED, 1);
    ngx_http_finalize_request(r, ngx_http_segue_send_error(r, status, code, message));
}

static ngx_int_t type_starts(ngx_http_request_t *r, const char *text)
{
    ngx_table_elt_t *type = r->headers_in.content_type;
    size_t len = ngx_strlen(text);
    return type && type->value.len >= len &&
           ngx_strncasecmp(type->value.data, (u_char *)text, len) == 0;
}

/* Outside the two hand-off paths a body is looked into only when an engine might take it
 * for JSON: nobody may smuggle in hand-off parameters of his own. */
static ngx_int_t may_be_json(ngx_http_request_t *r)
{
    return !type_starts(r, "multipart/") && !type_starts(r, "application/octet-stream") &&
           !type_starts(r, "audio/") && !type_starts(r, "image/");
}

static ngx_int_t looks_like_object(ngx_str_t text)
{
    size_t i = 0;
    while (i < text.len && (text.data[i] == ' ' || text.data[i] == '\t' ||
                            text.data[i] == '\r' || text.data[i] == '\n'))
        i++;
    return i < text.len && text.data[i] == '{';
}

/* A coded body can't be looked into, and only looking keeps hand-off parameters out. */
static ngx_int_t is_coded(ngx_http_request_t *r)
{
    static const char name[] = "content-encoding", none[] = "identity";
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (h[i].key.len == sizeof name - 1 &&
                ngx_memcmp(h[i].lowcase_key, name, sizeof name - 1) == 0 &&
                (h[i].value.len != sizeof none - 1 ||
                 ngx_strncasecmp(h[i].value.data, (u_char *)none, sizeof none - 1) != 0))
                return 1;
    }
    return 0;
}

static void body_read(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_uint_t handoff = ctx->conf->mode == NGX_HTTP_SEGUE_HANDOFF;
    if (is_coded(r)) {
        reject(r, 415, "unsupported_encoding", "the body must come without a coding");
        return;
    }
    if (handoff || may_be_json(r)) {
        if (ngx_http_segue_body_gather(r, &ctx->text) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }
        ctx->scanned = handoff || looks_like_object(ctx->text);
    }
    if (ctx->scanned &&
        segue_body_scan(&ctx->body, (char *)ctx->text.data, ctx->text.len) < 0) {
        reject(r, 400, "bad_request", segue_error_detail());
        return;
    }
    ctx->tokens = segue_policy_tokens(ctx->text.len);

    if (!handoff || ctx->body.local) {
        if (ctx->body.local)
            ctx->mode = ctx->body.local;
        if (handoff)
            ngx_http_segue_count(NGX_HTTP_SEGUE_LOCAL, 1);
        ngx_http_segue_decode_start(ctx);
        return;
    }
    if (ngx_http_segue_prefill_start(ctx) != NGX_OK)
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
}

ngx_int_t ngx_http_segue_handler(ngx_http_request_t *r)
{
    if (r != r->main)
        return ngx_http_segue_prefill_run(r);

    ngx_http_segue_loc_conf_t *conf = ngx_http_get_module_loc_conf(r,
                                                                   ngx_http_segue_module);
    ngx_http_segue_ctx_t *ctx = ctx_create(r);
    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (conf->mode == NGX_HTTP_SEGUE_HANDOFF && r->method != NGX_HTTP_POST)
        return NGX_HTTP_NOT_ALLOWED;

    r->request_body_in_single_buf = 1;
    ngx_int_t rc = ngx_http_read_client_request_body(r, body_read);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

/* An answer of the prefill engine that is no success: its own words when they are the
 * OpenAI envelope, else ours around its status. */
static void prefill_refused(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    ngx_http_segue_count(NGX_HTTP_SEGUE_PREFILL_FAILED, 1);
    if (segue_answer_is_error((char *)ctx->answer, ctx->answer_len)) {
        ngx_http_finalize_request(
            r,
            ngx_http_segue_send_json(r, ctx->prefill.code, ctx->answer, ctx->answer_len));
        return;
    }
    ngx_uint_t status = ctx->prefill.code >= 400 ? ctx->prefill.code : 502;
    ngx_http_finalize_request(
        r, ngx_http_segue_send_error(r, status, "prefill_failed",
                                     "the prefill engine answered with an error"));
}

static void prefill_failed(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    static const struct {
        const char *failure, *code, *message;
        ngx_uint_t status;
    } rows[] = {
        {"busy", "prefill_busy", "every prefill engine is at its limit; try again", 503},
        {"down", "prefill_down", "no prefill engine works at the moment", 503},
        {"unreachable", "prefill_unreachable", "no prefill engine could be reached", 502},
        {"connect timeout", "prefill_unreachable", "no prefill engine could be reached",
         504},
        {"timeout", "prefill_timeout", "the prefill engine did not answer in time", 504},
        {"answer too long", "prefill_failed", "the prefill engine's answer is too long",
         502},
    };
    const char *failure = ctx->prefill.failure ? ctx->prefill.failure : "lost";
    ngx_http_segue_count(NGX_HTTP_SEGUE_PREFILL_FAILED, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ngx_strcmp(failure, rows[i].failure) == 0) {
            ngx_http_finalize_request(r, ngx_http_segue_send_error(r, rows[i].status,
                                                                   rows[i].code,
                                                                   rows[i].message));
            return;
        }
    ngx_http_finalize_request(
        r, ngx_http_segue_send_error(r, 502, "prefill_lost",
                                     "the prefill engine broke off before it answered"));
}

/* The client request's write handler while leg 1 runs. */
void ngx_http_segue_after_prefill(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    if (!ctx->prefill_done)
        return;
    r->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_segue_leg_t *leg = &ctx->prefill;
    ngx_uint_t answered = leg->complete && leg->code >= 200 && leg->code < 300;
    enum segue_status status = SEGUE_OK;
    if (answered)
        status = segue_answer_params((char *)ctx->answer, ctx->answer_len, &ctx->params);
    if (ctx->client_left && ctx->params.len == 0) {
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
        return;
    }
    if (!leg->complete) {
        prefill_failed(r, ctx);
        return;
    }
    if (!answered) {
        prefill_refused(r, ctx);
        return;
    }
    if (status < 0) {
        ngx_http_segue_count(NGX_HTTP_SEGUE_PREFILL_FAILED, 1);
        ngx_http_finalize_request(
            r, ngx_http_segue_send_error(r, 502, "prefill_failed", segue_error_detail()));
        return;
    }
    ngx_http_segue_count(NGX_HTTP_SEGUE_PREFILL_MS,
                         (ngx_atomic_int_t)(leg->ended - leg->sent));
    if (ctx->params.len == 0)
        ctx->mode = "prefill gave no parameters";
    ngx_http_segue_count(ctx->params.len ? NGX_HTTP_SEGUE_HANDOFFS : NGX_HTTP_SEGUE_LOCAL,
                         1);
    ngx_http_segue_decode_start(ctx);
}

/* Posted by leg 2: its engine said that the KV is gone. Once, and elsewhere if possible. */
void ngx_http_segue_prefill_again(ngx_event_t *ev)
{
    ngx_http_request_t *r = ev->data;
    ngx_connection_t *c = r->connection;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_http_set_log_request(c->log, r);

    ngx_http_segue_count(NGX_HTTP_SEGUE_PREFILL_AGAIN, 1);
    ngx_log_error(NGX_LOG_WARN, c->log, 0,
                  "engine %V lost the KV from %V (%s): "
                  "prefilling again",
                  &ctx->decode.engine, &ctx->prefill.engine,
                  segue_answer_verdict_name(ctx->verdict));
    ctx->prefill_tried = (uint64_t)1 << ctx->prefill.engine_index;
    /* Making the next upstream is how nginx lets go of one that is still active. The
     * balancer hears of it then, and must still find the verdict. */
    ngx_int_t rc = ngx_http_upstream_create(r);
    ctx->again_verdict = ctx->verdict;
    ctx->verdict = SEGUE_VERDICT_NONE;
    if (rc != NGX_OK || ngx_http_segue_prefill_start(ctx) != NGX_OK)
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
    ngx_http_run_posted_requests(c);
}
