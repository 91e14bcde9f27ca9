/* SPDX-License-Identifier: Apache-2.0 */
/* What both legs do: make the upstream, write the request, read the answer's header. */
#include "ngx_http_segue.h"

/* Never passed on: what belongs to one connection, what we write ourselves, and
 * Accept-Encoding, as answers are read here. */
static const ngx_str_t own_headers[] = {
    ngx_string("host"),         ngx_string("connection"),
    ngx_string("keep-alive"),   ngx_string("proxy-connection"),
    ngx_string("te"),           ngx_string("trailer"),
    ngx_string("upgrade"),      ngx_string("transfer-encoding"),
    ngx_string("expect"),       ngx_string("content-length"),
    ngx_string("content-type"), ngx_string("accept-encoding"),
    ngx_string("x-request-id"),
};

ngx_msec_t ngx_http_segue_within(ngx_http_segue_ctx_t *ctx, ngx_msec_t timeout)
{
    ngx_msec_int_t left = (ngx_msec_int_t)(ctx->deadline - ngx_current_msec);
    if (left <= 0)
        return 1;
    return ngx_min(timeout, (ngx_msec_t)left);
}

static ngx_int_t header_add(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_upstream_main_conf_t *umcf = ngx_http_get_module_main_conf(
        r, ngx_http_upstream_module);
    ngx_table_elt_t *h = ngx_list_push(&u->headers_in.headers);
    if (h == NULL)
        return NGX_ERROR;
    h->hash = r->header_hash;
    h->key.len = (size_t)(r->header_name_end - r->header_name_start);
    h->value.len = (size_t)(r->header_end - r->header_start);
    h->key.data = ngx_pnalloc(r->pool, h->key.len + 1 + h->value.len + 1 + h->key.len);
    if (h->key.data == NULL) {
        h->hash = 0;
        return NGX_ERROR;
    }
    h->value.data = h->key.data + h->key.len + 1;
    h->lowcase_key = h->value.data + h->value.len + 1;
    ngx_cpystrn(h->key.data, r->header_name_start, h->key.len + 1);
    ngx_cpystrn(h->value.data, r->header_start, h->value.len + 1);
    ngx_strlow(h->lowcase_key, h->key.data, h->key.len);

    ngx_http_upstream_header_t *known = ngx_hash_find(&umcf->headers_in_hash, h->hash,
                                                      h->lowcase_key, h->key.len);
    if (known && known->handler(r, h, known->offset) != NGX_OK)
        return NGX_ERROR;
    return NGX_OK;
}

static ngx_int_t process_headers(ngx_http_request_t *r)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(r);
    ngx_int_t rc;
    while ((rc = ngx_http_parse_header_line(r, &u->buffer, 1)) == NGX_OK)
        if (header_add(r) != NGX_OK)
            return NGX_ERROR;
    if (rc == NGX_AGAIN)
        return rc;
    if (rc != NGX_HTTP_PARSE_HEADER_DONE) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "engine %V sent an invalid header", &leg->engine);
        return NGX_HTTP_UPSTREAM_INVALID_HEADER;
    }
    if (u->headers_in.chunked)
        u->headers_in.content_length_n = -1;
    leg->code = leg->status.code;
    u->process_header = leg->ready;
    return leg->ready(r);
}

static ngx_int_t process_status(ngx_http_request_t *r)
{
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(r);
    ngx_http_upstream_t *u = r->upstream;
    ngx_int_t rc = ngx_http_parse_status_line(r, &u->buffer, &leg->status);
    if (rc == NGX_AGAIN)
        return rc;
    if (rc == NGX_ERROR || leg->status.code < 200) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "engine %V sent no valid status line", &leg->engine);
        return NGX_HTTP_UPSTREAM_INVALID_HEADER;
    }
    u->state->status = leg->status.code;
    u->headers_in.status_n = leg->status.code;
    u->headers_in.status_line.len = (size_t)(leg->status.end - leg->status.start);
    u->headers_in.status_line.data = ngx_pnalloc(r->pool, u->headers_in.status_line.len);
    if (u->headers_in.status_line.data == NULL)
        return NGX_ERROR;
    ngx_memcpy(u->headers_in.status_line.data, leg->status.start,
               u->headers_in.status_line.len);
    if (leg->status.http_version < NGX_HTTP_VERSION_11)
        u->headers_in.connection_close = 1;
    u->process_header = process_headers;
    return process_headers(r);
}

static void abort_request(ngx_http_request_t *r)
{
}

static ngx_int_t reinit_request(ngx_http_request_t *r)
{
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(r);
    ngx_memzero(&leg->status, sizeof leg->status);
    ngx_memzero(&leg->chunked, sizeof leg->chunked);
    r->upstream->process_header = process_status;
    r->state = 0; /* of nginx's header parser */
    return NGX_OK;
}

ngx_http_upstream_t *ngx_http_segue_leg_create(ngx_http_request_t *r,
                                               ngx_http_upstream_srv_conf_t *upstream,
                                               ngx_msec_t answer_timeout,
                                               ngx_int_t (*ready)(ngx_http_request_t *))
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(r);
    if (ngx_http_upstream_create(r) != NGX_OK)
        return NULL;

    ngx_memzero(leg, sizeof *leg);
    leg->ready = ready;
    leg->conf = ctx->conf->upstream;
    leg->conf.upstream = upstream;
    leg->conf.read_timeout = ngx_http_segue_within(ctx, answer_timeout);
    leg->conf.connect_timeout = ngx_http_segue_within(ctx, leg->conf.connect_timeout);

    ngx_http_upstream_t *u = r->upstream;
    ngx_str_set(&u->schema, "http://");
    u->conf = &leg->conf;
    u->output.tag = (ngx_buf_tag_t)&ngx_http_segue_module;
    u->buffering = 0;
    u->reinit_request = reinit_request;
    u->process_header = process_status;
    u->abort_request = abort_request;
    u->input_filter_ctx = r;
    r->state = 0;
    return u;
}

static ngx_int_t is_own_header(const ngx_table_elt_t *header)
{
    for (size_t i = 0; i < sizeof own_headers / sizeof *own_headers; i++)
        if (header->key.len == own_headers[i].len &&
            ngx_memcmp(header->lowcase_key, own_headers[i].data, header->key.len) == 0)
            return 1;
    return 0;
}

/* Calls for each of the client's headers that goes on to the engine: first to add up
 * their length, then to write them. */
static size_t client_headers(ngx_http_request_t *r, u_char **out)
{
    size_t len = 0;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        ngx_table_elt_t *header = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (is_own_header(&header[i]))
                continue;
            len += header[i].key.len + header[i].value.len + sizeof(": \r\n") - 1;
            if (out)
                *out = ngx_sprintf(*out, "%V: %V\r\n", &header[i].key, &header[i].value);
        }
    }
    return len;
}

static ngx_chain_t *link_of(ngx_http_request_t *r, u_char *data, size_t len)
{
    ngx_buf_t *b = ngx_calloc_buf(r->pool);
    ngx_chain_t *link = ngx_alloc_chain_link(r->pool);
    if (b == NULL || link == NULL)
        return NULL;
    b->start = b->pos = data;
    b->end = b->last = data + len;
    b->memory = 1;
    link->buf = b;
    link->next = NULL;
    return link;
}

/* A body nobody looked into goes on as nginx read it, from memory or its file. */
static ngx_int_t body_as_read(ngx_http_request_t *r, ngx_chain_t **last)
{
    for (ngx_chain_t *in = r->request_body->bufs; in; in = in->next) {
        ngx_buf_t *b = ngx_alloc_buf(r->pool);
        ngx_chain_t *link = ngx_alloc_chain_link(r->pool);
        if (b == NULL || link == NULL)
            return NGX_ERROR;
        *b = *in->buf;
        link->buf = b;
        link->next = NULL;
        *last = link;
        last = &link->next;
    }
    return NGX_OK;
}

/* Request line, headers and, when `body` is not NULL, its slices. Never touches
 * r->request_body: the second leg needs it as it came. */
ngx_int_t ngx_http_segue_leg_request(ngx_http_request_t *r,
                                     const struct segue_rewrite *body)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_http_request_t *client = ctx->request;
    ngx_http_headers_in_t *in = &client->headers_in;
    ngx_str_t host = ngx_string("localhost"), type = ngx_string("application/json");
    off_t body_len = body ? (off_t)body->len : 0;
    if (in->host)
        host = in->host->value;
    if (body == NULL) {
        type = in->content_type ? in->content_type->value : (ngx_str_t)ngx_null_string;
        for (ngx_chain_t *cl = client->request_body->bufs; cl; cl = cl->next)
            body_len += ngx_buf_size(cl->buf);
    }

    size_t size = client->method_name.len + client->unparsed_uri.len + host.len +
                  type.len + ctx->id.len + client_headers(client, NULL) + NGX_OFF_T_LEN +
                  sizeof("  HTTP/1.1\r\nHost: \r\nContent-Length: \r\nContent-Type: \r\n"
                         "X-Request-Id: \r\n\r\n");
    u_char *start = ngx_pnalloc(r->pool, size);
    if (start == NULL)
        return NGX_ERROR;
    u_char *p = ngx_sprintf(start, "%V %V HTTP/1.1\r\nHost: %V\r\n", &client->method_name,
                            &client->unparsed_uri, &host);
    if (body_len || body || in->content_length)
        p = ngx_sprintf(p, "Content-Length: %O\r\n", body_len);
    if (type.len)
        p = ngx_sprintf(p, "Content-Type: %V\r\n", &type);
    p = ngx_sprintf(p, "X-Request-Id: %V\r\n", &ctx->id);
    client_headers(client, &p);
    *p++ = CR;
    *p++ = LF;

    ngx_chain_t *head = link_of(r, start, (size_t)(p - start)), *last = head;
    if (head == NULL)
        return NGX_ERROR;
    if (body == NULL && body_as_read(client, &last->next) != NGX_OK)
        return NGX_ERROR;
    for (unsigned i = 0; body && i < body->count; i++, last = last->next) {
        last->next = link_of(r, (u_char *)body->slice[i].data, body->slice[i].len);
        if (last->next == NULL)
            return NGX_ERROR;
    }
    while (last->next)
        last = last->next;
    last->buf->flush = 1;
    r->upstream->request_bufs = head;
    return NGX_OK;
}
