/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leg 2: the decode engine, as the upstream of the client's own request.
 *
 * Nothing goes to the client before the engine's first byte of body: until then a failed
 * hand-off can still become another prefill or an honest status, and the engine has
 * shown that it took the request over.
 */
#include "ngx_http_segue.h"

static ngx_int_t create_request(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    if (!ctx->scanned)
        return ngx_http_segue_leg_request(r, NULL);
    if (ctx->client_left)
        segue_body_for_nobody(&ctx->body, ctx->params, &ctx->rewrite);
    else
        segue_body_for_decode(&ctx->body, ctx->params, &ctx->rewrite);
    return ngx_http_segue_leg_request(r, &ctx->rewrite);
}

/* In place of the connection's recv, when a leg has ended inside nginx's read loop: the
 * loop must not read on, and sees a connection that has nothing more to say. */
static ssize_t recv_nothing(ngx_connection_t *c, u_char *buf, size_t size)
{
    c->read->ready = 0;
    return NGX_AGAIN;
}

static ngx_int_t has_body(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;
    return !r->header_only && r->method != NGX_HTTP_HEAD &&
           u->headers_in.status_n != NGX_HTTP_NO_CONTENT &&
           u->headers_in.status_n != NGX_HTTP_NOT_MODIFIED &&
           u->headers_in.content_length_n != 0;
}

static void note_verdict(ngx_http_segue_ctx_t *ctx, enum segue_verdict verdict)
{
    static const ngx_uint_t counters[] = {
        [SEGUE_VERDICT_STALE] = NGX_HTTP_SEGUE_VERDICT_STALE,
        [SEGUE_VERDICT_LOST] = NGX_HTTP_SEGUE_VERDICT_LOST,
        [SEGUE_VERDICT_CORRUPT] = NGX_HTTP_SEGUE_VERDICT_CORRUPT,
        [SEGUE_VERDICT_REFUSED] = NGX_HTTP_SEGUE_VERDICT_REFUSED,
        [SEGUE_VERDICT_TIMEOUT] = NGX_HTTP_SEGUE_VERDICT_TIMEOUT,
    };
    ctx->verdict = verdict;
    if (verdict < SEGUE_VERDICT_STALE)
        return;
    ngx_http_segue_count(counters[verdict], 1);
    if (verdict == SEGUE_VERDICT_CORRUPT)
        ngx_log_error(NGX_LOG_ALERT, ctx->request->connection->log, 0,
                      "engine %V found the KV from %V corrupt", &ctx->decode.engine,
                      &ctx->prefill.engine);
}

/* An error answer is read whole when it fits the buffer, for its verdict. NGX_AGAIN: more
 * of it is to come; NGX_DONE: prefill again; NGX_OK: pass it on. */
static ngx_int_t judge(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    ngx_http_upstream_t *u = r->upstream;
    off_t length = u->headers_in.content_length_n;
    if (length < 0 || length > u->buffer.end - u->buffer.pos)
        return NGX_OK;
    if (u->buffer.last - u->buffer.pos < length)
        return NGX_AGAIN;
    note_verdict(ctx, segue_answer_verdict((char *)u->buffer.pos, (size_t)length));
    if (u->headers_in.status_n != NGX_HTTP_SERVICE_UNAVAILABLE || ctx->client_left ||
        !segue_verdict_again(ctx->verdict) || ctx->prefills != 1)
        return NGX_OK;
    return NGX_DONE;
}

static ngx_int_t prefill_again(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    ngx_connection_t *c = r->upstream->peer.connection;
    /* nginx is inside this leg's read loop: the leg is replaced after it has returned. */
    c->recv = recv_nothing;
    if (c->read->timer_set)
        ngx_del_timer(c->read);
    ngx_post_event(&ctx->again, &ngx_posted_events);
    return NGX_AGAIN;
}

static ngx_int_t add_id(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL)
        return NGX_ERROR;
    h->hash = 1;
    ngx_str_set(&h->key, "X-Request-Id");
    h->value = ctx->id;
    h->lowcase_key = (u_char *)"x-request-id";
    return NGX_OK;
}

static void note_events(ngx_http_segue_ctx_t *ctx, ngx_http_upstream_t *u)
{
    static const char name[] = "text/event-stream";
    ngx_table_elt_t *type = u->headers_in.content_type;
    ctx->events = type && type->value.len >= sizeof name - 1 &&
                  ngx_strncasecmp(type->value.data, (u_char *)name, sizeof name - 1) == 0;
}

/* The header is whole: called again with every read until it says NGX_OK. */
static ngx_int_t ready(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_uint_t status = u->headers_in.status_n;
    if (has_body(r) && u->buffer.pos == u->buffer.last)
        return NGX_AGAIN;
    if (status >= NGX_HTTP_BAD_REQUEST) {
        ngx_int_t rc = judge(r, ctx);
        if (rc == NGX_AGAIN)
            return rc;
        if (rc == NGX_DONE)
            return prefill_again(r, ctx);
    } else if (ctx->params.len) {
        note_verdict(ctx, SEGUE_VERDICT_VALID);
    }
    ctx->decode_answered = 1;
    ctx->decode.first_byte = ngx_current_msec;
    ngx_http_segue_count(NGX_HTTP_SEGUE_FIRST_BYTE_MS,
                         (ngx_atomic_int_t)(ngx_current_msec - ctx->decode.sent));
    if (ctx->client_left) {
        /* The engine has the blocks; the client is gone: end here, nothing to write. */
        r->connection->error = 1;
        return NGX_HTTP_UPSTREAM_INVALID_HEADER;
    }
    note_events(ctx, u);
    ctx->phase = NGX_HTTP_SEGUE_PHASE_STREAM;
    ctx->decode.conf.read_timeout = ngx_http_segue_within(ctx, ctx->conf->idle_timeout);
    return add_id(r, ctx);
}

static ngx_int_t filter_init(void *data)
{
    ngx_http_request_t *r = data;
    ngx_http_upstream_t *u = r->upstream;
    if (!has_body(r)) {
        u->length = 0;
        u->keepalive = !u->headers_in.connection_close;
    } else if (u->headers_in.chunked) {
        u->length = 1; /* "not yet": 0 when the last chunk is there */
    } else {
        u->length = u->headers_in.content_length_n;
    }
    return NGX_OK;
}

/* The whole answer came: only now may the connection be used again, as an answer that is
 * broken off must close it, or the engine would go on decoding. */
static void answer_ended(ngx_http_segue_ctx_t *ctx, ngx_http_upstream_t *u)
{
    u->length = 0;
    ctx->decode.complete = 1;
    u->keepalive = !u->headers_in.connection_close;
}

static ngx_int_t pass(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx,
                      ngx_chain_t ***last, u_char *data, size_t len)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_chain_t *cl = ngx_chain_get_free_buf(r->pool, &u->free_bufs);
    if (cl == NULL)
        return NGX_ERROR;
    cl->buf->flush = 1;
    cl->buf->memory = 1;
    cl->buf->tag = u->output.tag;
    cl->buf->pos = data;
    cl->buf->last = data + len;
    **last = cl;
    *last = &cl->next;
    if (len >= 2) {
        ctx->tail[0] = data[len - 2];
        ctx->tail[1] = data[len - 1];
    } else if (len == 1) {
        ctx->tail[0] = ctx->tail[1];
        ctx->tail[1] = data[0];
    }
    return NGX_OK;
}

static ngx_int_t pass_chunked(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx,
                              ngx_chain_t **last)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_buf_t *b = &u->buffer;
    ngx_http_chunked_t *chunked = &ctx->decode.chunked;
    for (;;) {
        ngx_int_t rc = ngx_http_parse_chunked(r, b, chunked);
        if (rc == NGX_AGAIN)
            return NGX_OK;
        if (rc == NGX_DONE) {
            answer_ended(ctx, u);
            if (b->pos != b->last)
                u->keepalive = 0;
            return NGX_OK;
        }
        if (rc != NGX_OK) {
            ctx->decode.failure = "broken chunks";
            return NGX_ERROR;
        }
        size_t len = (size_t)ngx_min((off_t)(b->last - b->pos), chunked->size);
        if (pass(r, ctx, &last, b->pos, len) != NGX_OK)
            return NGX_ERROR;
        b->pos += len;
        chunked->size -= (off_t)len;
    }
}

static ngx_int_t filter(void *data, ssize_t bytes)
{
    ngx_http_request_t *r = data;
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_buf_t *b = &u->buffer;
    ngx_chain_t **last = &u->out_bufs;
    while (*last)
        last = &(*last)->next;

    ngx_http_segue_count(NGX_HTTP_SEGUE_CHUNKS, 1);
    if ((ngx_msec_int_t)(ctx->deadline - ngx_current_msec) <= 0) {
        ctx->decode.timed_out = 1;
        return NGX_ERROR;
    }
    ctx->decode.conf.read_timeout = ngx_http_segue_within(ctx, ctx->conf->idle_timeout);

    b->pos = b->last;
    b->last += bytes;
    if (u->headers_in.chunked)
        return pass_chunked(r, ctx, last);
    if (u->length == 0) {
        u->keepalive = 0;
        return NGX_OK;
    }
    size_t len = (size_t)bytes;
    if (u->length != -1)
        len = (size_t)ngx_min((off_t)len, (off_t)u->length);
    if (pass(r, ctx, &last, b->pos, len) != NGX_OK)
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

/* No byte has gone out: an answer with a status is still possible. */
static void answer_failure(ngx_http_request_t *r, ngx_http_segue_ctx_t *ctx)
{
    const char *failure = ctx->decode.failure;
    if (failure && ngx_strcmp(failure, "busy") == 0)
        ngx_http_segue_send_error(r, 503, "decode_busy",
                                  "every decode engine is at its limit; try again");
    else if (failure && ngx_strcmp(failure, "down") == 0)
        ngx_http_segue_send_error(r, 503, "decode_down",
                                  "no decode engine works at the moment");
    else if (failure && ngx_strcmp(failure, "unreachable") == 0)
        ngx_http_segue_send_error(r, 502, "decode_unreachable",
                                  "no decode engine could be reached");
    else if (failure && ngx_strstr(failure, "timeout"))
        ngx_http_segue_send_error(r, 504, "decode_timeout",
                                  "the decode engine did not answer in time");
    else
        ngx_http_segue_send_error(r, 502, "decode_lost",
                                  "the decode engine broke off before it answered");
}

static void finalize_request(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_http_upstream_t *u = r->upstream;
    ctx->decode.ended = ngx_current_msec;
    if (rc == NGX_OK)
        ctx->decode.complete = 1;
    if (rc == NGX_OK || rc == NGX_DONE || ctx->client_left ||
        rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || rc == NGX_HTTP_REQUEST_TIME_OUT)
        return;

    if (rc == NGX_HTTP_GATEWAY_TIME_OUT)
        ctx->decode.timed_out = 1;
    if (ctx->phase != NGX_HTTP_SEGUE_PHASE_STREAM) {
        ngx_http_segue_count(NGX_HTTP_SEGUE_DECODE_FAILED, 1);
        answer_failure(r, ctx);
        /* nginx only has to end the request now: it must not send a page of its own. */
        u->header_sent = 1;
        return;
    }
    if (!u->header_sent || ctx->decode.complete)
        return;
    ngx_http_segue_count(NGX_HTTP_SEGUE_DECODE_DIED, 1);
    if (ctx->decode.failure == NULL)
        ctx->decode.failure = ctx->decode.timed_out ? "timeout" : "died";
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "engine %V broke off in its answer: %s", &ctx->decode.engine,
                  ctx->decode.failure);
    if (ctx->events)
        ngx_http_segue_send_event(
            ctx, ctx->decode.timed_out ? "decode_timeout" : "decode_died",
            ctx->decode.timed_out ? "the decode engine stopped answering"
                                  : "the decode engine broke off in its answer");
}

void ngx_http_segue_decode_start(ngx_http_segue_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->request;
    /* Events of the client's connection run this handler: it must not be the one that
     * starts a leg. */
    r->write_event_handler = ngx_http_request_empty_handler;
    ctx->phase = NGX_HTTP_SEGUE_PHASE_DECODE;
    ngx_http_upstream_t *u = ngx_http_segue_leg_create(
        r, ctx->conf->decode, ctx->conf->first_byte_timeout, ready);
    if (u == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    u->create_request = create_request;
    u->input_filter_init = filter_init;
    u->input_filter = filter;
    u->finalize_request = finalize_request;
    /* Only a connection that failed: a request that was sent may have claimed the KV. */
    ctx->decode.conf.next_upstream = NGX_HTTP_UPSTREAM_FT_ERROR;
    ngx_http_segue_watch_client(r);
    ngx_http_upstream_init(r);
}
