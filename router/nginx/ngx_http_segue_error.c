/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the router's own, in the OpenAI envelope. */
#include "ngx_http_segue.h"

static const char *type_of(ngx_uint_t status)
{
    if (status == 404)
        return "not_found_error";
    if (status == 429 || status == 503)
        return "overloaded_error";
    return status < 500 ? "invalid_request_error" : "server_error";
}

static u_char *envelope(ngx_pool_t *pool, ngx_uint_t status, const char *code,
                        const char *message, size_t *len)
{
    size_t size = ngx_strlen(message),
           extra = ngx_escape_json(NULL, (u_char *)message, size);
    u_char *escaped = ngx_pnalloc(pool, size + extra + 1);
    if (escaped == NULL)
        return NULL;
    *(u_char *)ngx_escape_json(escaped, (u_char *)message, size) = '\0';
    u_char *data = ngx_pnalloc(pool, size + extra + ngx_strlen(code) + 160);
    if (data == NULL)
        return NULL;
    *len = (size_t)(ngx_sprintf(data,
                                "{\"error\":{\"message\":\"%s\",\"type\":\"%s\","
                                "\"param\":null,\"code\":\"%s\"}}",
                                escaped, type_of(status), code) -
                    data);
    return data;
}

static ngx_int_t add_header(ngx_http_request_t *r, const char *key, ngx_str_t value)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL)
        return NGX_ERROR;
    h->hash = 1;
    h->key.data = (u_char *)key;
    h->key.len = ngx_strlen(key);
    h->value = value;
    return NGX_OK;
}

ngx_int_t ngx_http_segue_send_json(ngx_http_request_t *r, ngx_uint_t status, u_char *data,
                                   size_t len)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    ngx_buf_t *b = ngx_calloc_buf(r->pool);
    if (b == NULL)
        return NGX_ERROR;
    r->headers_out.status = status;
    r->headers_out.content_length_n = (off_t)len;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    if (ctx && add_header(r, "X-Request-Id", ctx->id) != NGX_OK)
        return NGX_ERROR;
    if (status == 503 &&
        add_header(r, "Retry-After", (ngx_str_t)ngx_string("1")) != NGX_OK)
        return NGX_ERROR;

    ngx_int_t rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    b->pos = b->start = data;
    b->last = b->end = data + len;
    b->memory = len != 0;
    b->last_buf = 1;
    b->last_in_chain = 1;
    ngx_chain_t out = {.buf = b, .next = NULL};
    return ngx_http_output_filter(r, &out);
}

ngx_int_t ngx_http_segue_send_error(ngx_http_request_t *r, ngx_uint_t status,
                                    const char *code, const char *message)
{
    size_t len;
    u_char *data = envelope(r->pool, status, code, message, &len);
    if (data == NULL)
        return NGX_ERROR;
    return ngx_http_segue_send_json(r, status, data, len);
}

/* The end of a stream that broke off: an event that says so and no [DONE]. The body is not
 * ended (no last chunk), so that nobody can take it for whole. */
void ngx_http_segue_send_event(ngx_http_segue_ctx_t *ctx, const char *code,
                               const char *message)
{
    ngx_http_request_t *r = ctx->request;
    size_t len;
    u_char *error = envelope(r->pool, 502, code, message, &len);
    ngx_buf_t *b = ngx_create_temp_buf(r->pool,
                                       len + sizeof("\n\nevent: error\ndata: \n\n"));
    if (error == NULL || b == NULL)
        return;
    if (ctx->tail[0] != '\n' || ctx->tail[1] != '\n')
        b->last = ngx_cpymem(b->last, "\n\n", 2); /* it broke off inside an event */
    b->last = ngx_sprintf(b->last, "event: error\ndata: %*s\n\n", len, error);
    b->flush = 1;
    ngx_chain_t out = {.buf = b, .next = NULL};
    (void)ngx_http_output_filter(r, &out);
}

/* What nginx itself refuses (error_page leads here): the same envelope. */
ngx_int_t ngx_http_segue_error_handler(ngx_http_request_t *r)
{
    static const struct {
        ngx_uint_t status;
        const char *code, *message;
    } rows[] = {
        {400, "bad_request", "the request is no valid HTTP"},
        {404, "not_found", "there is nothing here"},
        {405, "method_not_allowed", "this path takes POST"},
        {408, "timeout", "the request did not come in time"},
        {411, "length_required", "the request says no length"},
        {413, "too_large", "the body is larger than the router takes (--max-body)"},
        {414, "uri_too_long", "the URI is too long"},
        {494, "header_too_large", "the request's headers are too large"},
        {431, "header_too_large", "the request's headers are too large"},
        {501, "not_implemented", "the router does not know this transfer coding"},
    };
    ngx_uint_t status = r->err_status ? r->err_status : 404;
    const char *code = "server_error",
               *message = "the router failed to serve this request";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status) {
            code = rows[i].code;
            message = rows[i].message;
        }
    if (status == 494)
        status = 431;
    r->err_status = 0;
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        r->keepalive = 0;
    return ngx_http_segue_send_error(r, status, code, message);
}
