/* SPDX-License-Identifier: Apache-2.0 */
/* The module's directives and their configuration. */
#include "ngx_http_segue.h"

#include <malloc.h>
#include <sys/prctl.h>

static ngx_str_t hidden_headers[] = {ngx_string("Date"),
                                     ngx_string("Server"),
                                     ngx_string("X-Request-Id"),
                                     ngx_string("X-Accel-Expires"),
                                     ngx_string("X-Accel-Redirect"),
                                     ngx_string("X-Accel-Limit-Rate"),
                                     ngx_string("X-Accel-Buffering"),
                                     ngx_string("X-Accel-Charset"),
                                     ngx_null_string};

static void *create_main_conf(ngx_conf_t *cf)
{
    ngx_http_segue_main_conf_t *conf = ngx_pcalloc(cf->pool, sizeof *conf);
    if (conf == NULL || ngx_array_init(&conf->roles, cf->pool, 2,
                                       sizeof(ngx_http_segue_srv_conf_t *)) != NGX_OK)
        return NULL;
    return conf;
}

static void *create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_segue_srv_conf_t));
}

static void *create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_segue_loc_conf_t *conf = ngx_pcalloc(cf->pool, sizeof *conf);
    if (conf == NULL)
        return NULL;
    conf->upstream.connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->upstream.buffer_size = NGX_CONF_UNSET_SIZE;
    conf->upstream.hide_headers = NGX_CONF_UNSET_PTR;
    conf->upstream.pass_headers = NGX_CONF_UNSET_PTR;
    conf->prefill_timeout = NGX_CONF_UNSET_MSEC;
    conf->first_byte_timeout = NGX_CONF_UNSET_MSEC;
    conf->idle_timeout = NGX_CONF_UNSET_MSEC;
    conf->total_timeout = NGX_CONF_UNSET_MSEC;
    conf->leave_timeout = NGX_CONF_UNSET_MSEC;
    conf->answer_size = NGX_CONF_UNSET_SIZE;
    return conf;
}

static char *merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_segue_loc_conf_t *prev = parent, *conf = child;
    ngx_hash_init_t hash = {.max_size = 512,
                            .bucket_size = ngx_align(64, ngx_cacheline_size),
                            .name = "segue_headers_hash"};
    ngx_conf_merge_msec_value(conf->upstream.connect_timeout,
                              prev->upstream.connect_timeout, 2000);
    ngx_conf_merge_size_value(conf->upstream.buffer_size, prev->upstream.buffer_size,
                              16384);
    ngx_conf_merge_msec_value(conf->prefill_timeout, prev->prefill_timeout, 300000);
    ngx_conf_merge_msec_value(conf->first_byte_timeout, prev->first_byte_timeout, 300000);
    ngx_conf_merge_msec_value(conf->idle_timeout, prev->idle_timeout, 60000);
    ngx_conf_merge_msec_value(conf->total_timeout, prev->total_timeout, 3600000);
    ngx_conf_merge_msec_value(conf->leave_timeout, prev->leave_timeout, 2000);
    ngx_conf_merge_size_value(conf->answer_size, prev->answer_size, 16 * 1024 * 1024);

    conf->upstream.send_timeout = 60000;
    conf->upstream.ignore_client_abort = 1; /* ngx_http_segue_abort.c watches */
    conf->upstream.pass_request_headers = 1;
    conf->upstream.pass_request_body = 1;
    conf->upstream.ignore_headers =
        NGX_CONF_BITMASK_SET | NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT |
        NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES | NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE |
        NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING | NGX_HTTP_UPSTREAM_IGN_XA_CHARSET;
    ngx_str_set(&conf->upstream.module, "segue");
    if (ngx_http_upstream_hide_headers_hash(cf, &conf->upstream, &prev->upstream,
                                            hidden_headers, &hash) != NGX_OK)
        return NGX_CONF_ERROR;
    return NGX_CONF_OK;
}

static char *set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_segue_main_conf_t *conf = data;
    ngx_str_t *value = cf->args->elts, name = ngx_string("segue");
    if (conf->zone)
        return "is duplicate";
    ssize_t size = ngx_parse_size(&value[1]);
    if (size == NGX_ERROR || size < (ssize_t)(8 * ngx_pagesize))
        return "has an invalid size";
    conf->zone = ngx_shared_memory_add(cf, &name, (size_t)size, &ngx_http_segue_module);
    if (conf->zone == NULL)
        return NGX_CONF_ERROR;
    conf->zone->init = ngx_http_segue_zone_init;
    conf->zone->data = conf;
    return NGX_CONF_OK;
}

static ngx_http_upstream_srv_conf_t *upstream_named(ngx_conf_t *cf, ngx_str_t name)
{
    ngx_url_t url;
    ngx_memzero(&url, sizeof url);
    url.url = name;
    url.no_resolve = 1;
    url.no_port = 1;
    return ngx_http_upstream_add(cf, &url, 0);
}

static char *set_mode(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_segue_loc_conf_t *conf = data;
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(
        cf, ngx_http_core_module);
    ngx_str_t *value = cf->args->elts;
    if (conf->mode != NGX_HTTP_SEGUE_OFF)
        return "is duplicate";
    conf->mode = cf->args->nelts == 3 ? NGX_HTTP_SEGUE_HANDOFF : NGX_HTTP_SEGUE_PASS;
    if (conf->mode == NGX_HTTP_SEGUE_HANDOFF) {
        conf->prefill = upstream_named(cf, value[1]);
        if (conf->prefill == NULL)
            return NGX_CONF_ERROR;
    }
    conf->decode = upstream_named(cf, value[cf->args->nelts - 1]);
    if (conf->decode == NULL)
        return NGX_CONF_ERROR;
    clcf->handler = ngx_http_segue_handler;
    return NGX_CONF_OK;
}

static char *set_handler(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(
        cf, ngx_http_core_module);
    clcf->handler = (ngx_http_handler_pt)cmd->post;
    return NGX_CONF_OK;
}

/* The private folder of `segue route`, which this process replaced: gone with it. */
static void remove_runtime_dir(ngx_cycle_t *cycle)
{
    ngx_http_segue_main_conf_t *conf = ngx_http_cycle_get_module_main_conf(
        cycle, ngx_http_segue_module);
    if (conf && conf->runtime_dir.len)
        ngx_http_segue_remove_tree((char *)conf->runtime_dir.data, cycle->log);
}

/* A worker must not outlive a master that was killed: it would go on serving the port. */
static ngx_int_t start_worker(ngx_cycle_t *cycle)
{
    if (ngx_process == NGX_PROCESS_WORKER &&
        (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1 || getppid() != ngx_parent)) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno, "the master process is gone");
        return NGX_ERROR;
    }
    /* A request takes tens of KiB and gives them back at its end: without a margin glibc
     * returns them to the kernel each time and faults them in again for the next one. */
    mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
    mallopt(M_TOP_PAD, 1024 * 1024);
    return ngx_http_segue_zone_worker(cycle);
}

#define TIMEOUT(name, member)                                                            \
    {                                                                                    \
        ngx_string(name),                                                                \
            NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, \
            ngx_conf_set_msec_slot, NGX_HTTP_LOC_CONF_OFFSET,                            \
            offsetof(ngx_http_segue_loc_conf_t, member), NULL                            \
    }

static ngx_command_t commands[] = {
    {ngx_string("segue_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_zone,
     NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {ngx_string("segue_runtime_dir"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_str_slot, NGX_HTTP_MAIN_CONF_OFFSET,
     offsetof(ngx_http_segue_main_conf_t, runtime_dir), NULL},
    {ngx_string("segue_engines"), NGX_HTTP_UPS_CONF | NGX_CONF_TAKE123,
     ngx_http_segue_engines, NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},
    {ngx_string("segue_handoff"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE2, set_mode,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("segue_pass"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_mode,
     NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    {ngx_string("segue_metrics"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_handler,
     NGX_HTTP_LOC_CONF_OFFSET, 0, (void *)ngx_http_segue_metrics_handler},
    {ngx_string("segue_error"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_handler,
     NGX_HTTP_LOC_CONF_OFFSET, 0, (void *)ngx_http_segue_error_handler},
    TIMEOUT("segue_connect_timeout", upstream.connect_timeout),
    TIMEOUT("segue_prefill_timeout", prefill_timeout),
    TIMEOUT("segue_first_byte_timeout", first_byte_timeout),
    TIMEOUT("segue_idle_timeout", idle_timeout),
    TIMEOUT("segue_total_timeout", total_timeout),
    TIMEOUT("segue_leave_timeout", leave_timeout),
    {ngx_string("segue_buffer_size"),
     NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_size_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(ngx_http_segue_loc_conf_t, upstream.buffer_size), NULL},
    {ngx_string("segue_answer_size"),
     NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_size_slot, NGX_HTTP_LOC_CONF_OFFSET,
     offsetof(ngx_http_segue_loc_conf_t, answer_size), NULL},
    ngx_null_command};

static ngx_http_module_t context = {
    .preconfiguration = ngx_http_segue_add_variables,
    .create_main_conf = create_main_conf,
    .create_srv_conf = create_srv_conf,
    .create_loc_conf = create_loc_conf,
    .merge_loc_conf = merge_loc_conf,
};

ngx_module_t ngx_http_segue_module = {NGX_MODULE_V1,
                                      &context,
                                      commands,
                                      NGX_HTTP_MODULE,
                                      NULL, /* init master */
                                      NULL, /* init module */
                                      start_worker,
                                      NULL, /* init thread */
                                      NULL, /* exit thread */
                                      NULL, /* exit process */
                                      remove_runtime_dir,
                                      NGX_MODULE_V1_PADDING};
