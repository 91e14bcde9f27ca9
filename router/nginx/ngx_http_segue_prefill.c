/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leg 1: the prefill engine, as an in-memory subrequest of the client's request. Its
 * answer is collected here, as the one nginx keeps for subrequests is bounded by a page.
 */
#include "ngx_http_segue.h"

static ngx_int_t create_request(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    segue_body_for_prefill(&ctx->body, &ctx->rewrite);
    return ngx_http_segue_leg_request(r, &ctx->rewrite);
}

static ngx_int_t ready(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ctx->prefill.first_byte = ngx_current_msec;
    ctx->answer_len = 0;
    ctx->answer_length = u->headers_in.content_length_n;
    /* nginx would refuse an answer longer than its own buffer for subrequests, which is
     * not used: it must not learn the length. */
    u->headers_in.content_length_n = -1;
    return NGX_OK;
}

static ngx_int_t filter_init(void *data)
{
    ngx_http_request_t *r = data;
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    if (u->headers_in.chunked)
        u->length = 1; /* "not yet": 0 when the last chunk is there */
    else
        u->length = ctx->answer_length;
    return NGX_OK;
}

static ngx_int_t collect(ngx_http_segue_ctx_t *ctx, u_char *data, size_t len)
{
    ngx_pool_t *pool = ctx->request->pool;
    size_t need = ctx->answer_len + len;
    if (need > ctx->conf->answer_size) {
        ctx->prefill.failure = "answer too long";
        return NGX_ERROR;
    }
    if (need > ctx->answer_cap) {
        size_t cap = ngx_max(ngx_max(need, 2 * ctx->answer_cap), 4096);
        if (ctx->answer_length > 0 && ctx->answer_length <= (off_t)ctx->conf->answer_size)
            cap = ngx_max(need, (size_t)ctx->answer_length);
        u_char *grown = ngx_palloc(pool, cap);
        if (grown == NULL)
            return NGX_ERROR;
        if (ctx->answer_len)
            ngx_memcpy(grown, ctx->answer, ctx->answer_len);
        if (ctx->answer)
            ngx_pfree(pool, ctx->answer);
        ctx->answer = grown;
        ctx->answer_cap = cap;
    }
    ngx_memcpy(ctx->answer + ctx->answer_len, data, len);
    ctx->answer_len = need;
    return NGX_OK;
}

static void answer_ended(ngx_http_segue_ctx_t *ctx, ngx_http_upstream_t *u)
{
    u->length = 0;
    ctx->prefill.complete = 1;
    /* A half-closed connection can't carry another request. */
    u->keepalive = !u->headers_in.connection_close && !ctx->client_left;
}

static ngx_int_t chunked(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx, ngx_buf_t *b)
{
    ngx_http_upstream_t *u = r->upstream;
    for (;;) {
        ngx_int_t rc = ngx_http_parse_chunked(r, b, &ctx->prefill.chunked);
        if (rc == NGX_AGAIN)
            return NGX_OK;
        if (rc == NGX_DONE) {
            answer_ended(ctx, u);
            if (b->pos != b->last)
                u->keepalive = 0;
            return NGX_OK;
        }
        if (rc != NGX_OK)
            return NGX_ERROR;
        size_t len = (size_t)ngx_min((off_t)(b->last - b->pos),
                                     ctx->prefill.chunked.size);
        if (collect(ctx, b->pos, len) != NGX_OK)
            return NGX_ERROR;
        b->pos += len;
        ctx->prefill.chunked.size -= (off_t)len;
    }
}

static ngx_int_t filter(void *data, ssize_t bytes)
{
    ngx_http_request_t *r = data;
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_buf_t b = u->buffer; /* what arrived; u->buffer is free again when we return */
    b.pos = u->buffer.last;
    b.last = b.pos + bytes;
    if (u->headers_in.chunked)
        return chunked(r, ctx, &b);

    size_t len = (size_t)bytes;
    if (u->length != -1)
        len = (size_t)ngx_min((off_t)len, (off_t)u->length);
    if (collect(ctx, b.pos, len) != NGX_OK)
        return NGX_ERROR;
    if (u->length == -1)
        return NGX_OK;
    u->length -= (off_t)len;
    if (u->length == 0) {
        answer_ended(ctx, u);
        if (len < (size_t)bytes)
            u->keepalive = 0;
    }
    return NGX_OK;
}

static void finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ctx->prefill.ended = ngx_current_msec;
    if (rc == NGX_OK)
        ctx->prefill.complete = 1; /* its end was the connection's */
    else if (ctx->prefill.failure == NULL && !ctx->prefill.complete)
        ctx->prefill.failure = rc == NGX_HTTP_GATEWAY_TIME_OUT ? "timeout" : "lost";
    if (rc == NGX_HTTP_GATEWAY_TIME_OUT)
        ctx->prefill.timed_out = 1;
}

/* Runs for every way leg 1 can end, sometimes twice. */
static ngx_int_t subrequest_ended(ngx_http_request_t *sr, void *data, ngx_int_t rc)
{
    ngx_http_segue_ctx_t *ctx = data;
    if (ctx->prefill_done)
        return rc;
    ctx->prefill_done = 1;
    ctx->subrequest = NULL;
    /* A failed leg is ours to answer, not nginx's; only an end of everything passes. */
    return rc == NGX_HTTP_CLIENT_CLOSED_REQUEST ? rc : NGX_OK;
}

ngx_int_t ngx_http_segue_prefill_start(ngx_http_segue_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->request, *sr;
    ngx_http_post_subrequest_t *post = ngx_palloc(r->pool, sizeof *post);
    if (post == NULL)
        return NGX_ERROR;
    post->handler = subrequest_ended;
    post->data = ctx;

    ctx->phase = NGX_HTTP_SEGUE_PHASE_PREFILL;
    ctx->prefill_done = 0;
    ctx->prefills++;
    ctx->params = (struct segue_slice){0};
    r->write_event_handler = ngx_http_segue_after_prefill;
    if (ngx_http_subrequest(r, &r->uri, &r->args, &sr, post,
                            NGX_HTTP_SUBREQUEST_IN_MEMORY | NGX_HTTP_SUBREQUEST_WAITED |
                                NGX_HTTP_SUBREQUEST_CLONE) != NGX_OK)
        return NGX_ERROR;
    ngx_http_set_ctx(sr, ctx, ngx_http_segue_module);
    ctx->subrequest = sr;
    return NGX_OK;
}

/* The subrequest came around to our content handler. */
ngx_int_t ngx_http_segue_prefill_run(ngx_http_request_t *sr)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(sr, ngx_http_segue_module);
    ngx_http_upstream_t *u = ngx_http_segue_leg_create(sr, ctx->conf->prefill,
                                                       ctx->conf->prefill_timeout, ready);
    if (u == NULL)
        return NGX_ERROR;
    u->create_request = create_request;
    u->input_filter_init = filter_init;
    u->input_filter = filter;
    u->finalize_request = finalize_request;
    /* Nothing has gone to the client: any other engine will do, whatever happened. */
    ctx->prefill.conf.next_upstream = NGX_HTTP_UPSTREAM_FT_ERROR |
                                      NGX_HTTP_UPSTREAM_FT_HTTP_502 |
                                      NGX_HTTP_UPSTREAM_FT_HTTP_503 |
                                      NGX_HTTP_UPSTREAM_FT_HTTP_504 |
                                      NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT;
    ngx_http_segue_watch_client(sr);
    sr->main->count++;
    ngx_http_upstream_init(sr);
    return NGX_DONE;
}
