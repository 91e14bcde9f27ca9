/* SPDX-License-Identifier: Apache-2.0 */
/* The router's own counters and gauges, as Prometheus text. */
#include "ngx_http_segue.h"

static const struct {
    const char *name, *help;
} counters[] = {
#define COUNTER_ROW(id, text, what) {.name = (text), .help = (what)},
    NGX_HTTP_SEGUE_COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
};

/* One line of an engine: its labels and a value. */
#define LINE 256

static u_char *engine_lines(u_char *p, u_char *end, ngx_http_segue_main_conf_t *conf,
                            const char *name, const char *help,
                            uint64_t (*value)(const struct segue_load *))
{
    p = ngx_slprintf(p, end, "# HELP segue_router_%s %s\n# TYPE segue_router_%s gauge\n",
                     name, help, name);
    ngx_http_segue_srv_conf_t **roles = conf->roles.elts;
    for (ngx_uint_t i = 0; i < conf->roles.nelts; i++)
        for (ngx_uint_t k = 0; k < roles[i]->count; k++) {
            struct segue_load load;
            ngx_http_segue_zone_engine(roles[i], k, &load);
            p = ngx_slprintf(
                p, end, "segue_router_%s{role=\"%s\",engine=\"%V\"} %uL\n", name,
                roles[i]->role == NGX_HTTP_SEGUE_PREFILL ? "prefill" : "decode",
                &roles[i]->engines[k].name, value(&load));
        }
    return p;
}

static uint64_t requests(const struct segue_load *load)
{
    return load->requests;
}

static uint64_t tokens(const struct segue_load *load)
{
    return load->tokens;
}

static uint64_t usable(const struct segue_load *load)
{
    return load->usable;
}

static u_char *write_all(u_char *p, u_char *end, ngx_http_segue_main_conf_t *conf)
{
    ngx_http_segue_sums_t sums;
    ngx_http_segue_zone_sum(conf, &sums);
    for (ngx_uint_t i = 0; i < NGX_HTTP_SEGUE_COUNTER_COUNT; i++)
        p = ngx_slprintf(p, end,
                         "# HELP segue_router_%s %s\n# TYPE segue_router_%s counter\n"
                         "segue_router_%s %uA\n",
                         counters[i].name, counters[i].help, counters[i].name,
                         counters[i].name, sums.counters[i]);
    p = ngx_slprintf(p, end,
                     "# HELP segue_router_requests_in_flight client requests now\n"
                     "# TYPE segue_router_requests_in_flight gauge\n"
                     "segue_router_requests_in_flight %A\n"
                     "# HELP segue_router_workers worker processes\n"
                     "# TYPE segue_router_workers gauge\nsegue_router_workers %ui\n",
                     sums.in_flight, sums.workers);
    p = engine_lines(p, end, conf, "engine_requests", "requests now on the engine",
                     requests);
    p = engine_lines(p, end, conf, "engine_tokens",
                     "prompt tokens now on the engine, estimated", tokens);
    return engine_lines(p, end, conf, "engine_usable", "0: left alone for a while",
                        usable);
}

ngx_int_t ngx_http_segue_metrics_handler(ngx_http_request_t *r)
{
    ngx_http_segue_main_conf_t *conf = ngx_http_get_module_main_conf(
        r, ngx_http_segue_module);
    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)))
        return NGX_HTTP_NOT_ALLOWED;
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        return rc;

    size_t size = (NGX_HTTP_SEGUE_COUNTER_COUNT + 8 + 3 * conf->engines) * LINE;
    ngx_buf_t *b = ngx_create_temp_buf(r->pool, size);
    if (b == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last = write_all(b->last, b->end, conf);
    b->last_buf = 1;
    b->last_in_chain = 1;
    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    ngx_chain_t out = {.buf = b, .next = NULL};
    return ngx_http_output_filter(r, &out);
}
