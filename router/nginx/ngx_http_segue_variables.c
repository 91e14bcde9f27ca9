/* SPDX-License-Identifier: Apache-2.0 */
/* What the access log can say about a request and its two legs: variables $segue_*. */
#include "ngx_http_segue.h"

typedef ngx_int_t (*write_t)(ngx_http_segue_ctx_t *ctx, ngx_str_t *out);

#define BUFFER 32

static ngx_int_t text(ngx_str_t *out, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return NGX_DECLINED;
    out->data = (u_char *)value;
    out->len = ngx_strlen(value);
    return NGX_OK;
}

static ngx_int_t number(ngx_str_t *out, ngx_uint_t value)
{
    out->len = (size_t)(ngx_snprintf(out->data, BUFFER, "%ui", value) - out->data);
    return NGX_OK;
}

static ngx_int_t span(ngx_str_t *out, ngx_msec_t from, ngx_msec_t to)
{
    if (from == 0 || to == 0)
        return NGX_DECLINED;
    return number(out, to - from);
}

static ngx_int_t whole(ngx_str_t *out, ngx_str_t value)
{
    if (value.len == 0)
        return NGX_DECLINED;
    *out = value;
    return NGX_OK;
}

static ngx_int_t status(ngx_str_t *out, ngx_uint_t code)
{
    return code ? number(out, code) : NGX_DECLINED;
}

static ngx_int_t id(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return whole(out, ctx->id);
}

static ngx_int_t mode(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return text(out, ctx->mode);
}

static ngx_int_t prefill(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return whole(out, ctx->prefill.engine);
}

static ngx_int_t prefill_status(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return status(out, ctx->prefill.code);
}

static ngx_int_t prefill_ms(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return span(out, ctx->prefill.sent, ctx->prefill.ended);
}

static ngx_int_t prefill_failure(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return text(out, ctx->prefill.failure);
}

static ngx_int_t prefills(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return number(out, ctx->prefills);
}

static ngx_int_t decode(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return whole(out, ctx->decode.engine);
}

static ngx_int_t decode_status(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return status(out, ctx->decode.code);
}

static ngx_int_t decode_first_ms(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return span(out, ctx->decode.sent, ctx->decode.first_byte);
}

static ngx_int_t decode_ms(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return span(out, ctx->decode.sent, ctx->decode.ended);
}

static ngx_int_t decode_failure(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return text(out, ctx->decode.failure);
}

static ngx_int_t verdict(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return text(out, segue_answer_verdict_name(ctx->verdict));
}

static ngx_int_t stranded(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return number(out, ctx->stranded);
}

static ngx_int_t left(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    static const char *const phases[] = {"body", "prefill", "decode", "stream", "done"};
    return ctx->client_left ? text(out, phases[ctx->phase]) : NGX_DECLINED;
}

static ngx_int_t again(ngx_http_segue_ctx_t *ctx, ngx_str_t *out)
{
    return text(out, segue_answer_verdict_name(ctx->again_verdict));
}

/* A number that is not there is null, so that a log can be JSON. */
static const struct {
    ngx_str_t name;
    write_t write;
    ngx_uint_t number;
} variables[] = {
    {ngx_string("segue_request_id"), id, 0},
    {ngx_string("segue_mode"), mode, 0},
    {ngx_string("segue_prefill"), prefill, 0},
    {ngx_string("segue_prefill_status"), prefill_status, 1},
    {ngx_string("segue_prefill_ms"), prefill_ms, 1},
    {ngx_string("segue_prefill_failure"), prefill_failure, 0},
    {ngx_string("segue_prefills"), prefills, 1},
    {ngx_string("segue_decode"), decode, 0},
    {ngx_string("segue_decode_status"), decode_status, 1},
    {ngx_string("segue_decode_first_ms"), decode_first_ms, 1},
    {ngx_string("segue_decode_ms"), decode_ms, 1},
    {ngx_string("segue_decode_failure"), decode_failure, 0},
    {ngx_string("segue_verdict"), verdict, 0},
    {ngx_string("segue_again"), again, 0},
    {ngx_string("segue_stranded"), stranded, 1},
    {ngx_string("segue_client_left"), left, 0},
};

static ngx_int_t get(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r->main, ngx_http_segue_module);
    ngx_str_t out = {0, NULL}, null = ngx_string("null");
    ngx_int_t rc = NGX_DECLINED;
    if (ctx) {
        out.data = ngx_pnalloc(r->pool, BUFFER);
        if (out.data == NULL)
            return NGX_ERROR;
        rc = variables[data].write(ctx, &out);
    }
    v->not_found = 1;
    if (rc != NGX_OK && !variables[data].number)
        return NGX_OK;
    if (rc != NGX_OK)
        out = null;
    v->data = out.data;
    v->len = (unsigned)out.len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    return NGX_OK;
}

ngx_int_t ngx_http_segue_add_variables(ngx_conf_t *cf)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        ngx_str_t name = variables[i].name;
        ngx_http_variable_t *variable = ngx_http_add_variable(cf, &name,
                                                              NGX_HTTP_VAR_NOCACHEABLE);
        if (variable == NULL)
            return NGX_ERROR;
        variable->get_handler = get;
        variable->data = i;
    }
    return NGX_OK;
}
