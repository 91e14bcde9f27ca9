/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that leaves. What may be dropped depends on the phase: blocks that prefill has
 * offered must be taken over or let go of by a decode engine, or they stay occupied until
 * their lease ends.
 *
 * nginx's own watch is off (ignore_client_abort), as it knows no phases.
 */
#include "ngx_http_segue.h"

/* A FIN counts as leaving: clients of this API do not half-close. */
static ngx_int_t has_left(ngx_connection_t *c)
{
    u_char byte;
    if (c->error || c->read->pending_eof)
        return 1;
#if (NGX_HAVE_EPOLLRDHUP)
    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup)
        return 0;
#endif
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n == -1 && ngx_socket_errno != NGX_EAGAIN);
}

/* Ends everything. The leg goes first: ended from the request's cleanup it would give back
 * the last reference, and the request be gone while nginx is still ending it. */
static void end(ngx_http_request_t *r)
{
    if (r->upstream && ngx_http_upstream_create(r) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }
    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}

/* Leg 1 runs. The engine may be sending its answer right now, with blocks offered: only
 * half-close, which every server takes for "the client is gone", and read on. Either the
 * engine gives up and closes, or its answer comes and goes on to decode. */
static void leave_prefill(ngx_http_segue_ctx_t *ctx)
{
    ngx_http_request_t *sr = ctx->subrequest;
    ngx_http_upstream_t *u = sr ? sr->upstream : NULL;
    ngx_connection_t *c = u ? u->peer.connection : NULL;
    ngx_http_segue_count(NGX_HTTP_SEGUE_LEFT_PREFILL, 1);
    if (c == NULL || !u->request_body_sent) {
        end(sr ? sr : ctx->request);
        return;
    }
    if (ngx_shutdown_socket(c->fd, SHUT_WR) == -1)
        ngx_log_error(NGX_LOG_INFO, c->log, ngx_socket_errno,
                      "half-closing the connection to engine %V failed",
                      &ctx->prefill.engine);
    ctx->prefill.conf.read_timeout = ctx->conf->leave_timeout;
    if (c->read->timer_set)
        ngx_del_timer(c->read); /* or nginx keeps the old, later one */
    ngx_add_timer(c->read, ctx->conf->leave_timeout);
}

void ngx_http_segue_client_leaves(ngx_http_request_t *r)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    if (ctx->client_left || !has_left(r->connection))
        return;
    ctx->client_left = 1;
    switch (ctx->phase) {
    case NGX_HTTP_SEGUE_PHASE_PREFILL:
        leave_prefill(ctx);
        return;
    case NGX_HTTP_SEGUE_PHASE_DECODE:
        ngx_http_segue_count(NGX_HTTP_SEGUE_LEFT_DECODE, 1);
        if (ctx->params.len)
            return; /* the engine gets the request; its first byte ends it */
        break;
    case NGX_HTTP_SEGUE_PHASE_STREAM:
        ngx_http_segue_count(NGX_HTTP_SEGUE_LEFT_STREAM, 1);
        break;
    default:
        break;
    }
    end(r);
}

void ngx_http_segue_watch_client(ngx_http_request_t *r)
{
    ngx_event_t *rev = r->connection->read;
    r->read_event_handler = ngx_http_segue_client_leaves;
    if (r->main->stream)
        return;
    /* It may have left before we looked: edges are not told twice. */
    if (rev->ready || rev->pending_eof) {
        ngx_post_event(rev, &ngx_posted_events);
    } else if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "watching the client failed");
    }
}
