/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balancer of an upstream{} of engines. It counts a request on its engine from get to
 * free, which nginx calls on every way a leg can end, and it decides whether nginx may
 * try another engine.
 */
#include "ngx_http_segue.h"

#define NONE ((ngx_uint_t)-1)

typedef struct {
    ngx_http_segue_srv_conf_t *conf;
    ngx_http_request_t *request;
    ngx_uint_t engine; /* NONE between free and get */
    uint64_t tokens;   /* counted on it */
    uint64_t tried;
} peer_t;

static ngx_int_t get_peer(ngx_peer_connection_t *pc, void *data)
{
    peer_t *peer = data;
    ngx_http_segue_srv_conf_t *conf = peer->conf;
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(peer->request);
    enum segue_pick_why why;

    ngx_uint_t engine = ngx_http_segue_zone_pick(conf, peer->tokens, peer->tried, &why);
    if (engine == SEGUE_PICK_NONE && leg->tries == 0 && peer->tried != 0) {
        /* Only the engine whose hand-off failed is there: it may do better now. */
        peer->tried = 0;
        engine = ngx_http_segue_zone_pick(conf, peer->tokens, 0, &why);
    }
    if (engine == SEGUE_PICK_NONE) {
        if (leg->failure == NULL)
            leg->failure = why == SEGUE_PICK_FULL ? "busy" : "down";
        pc->tries = 0;
        return NGX_BUSY;
    }
    peer->engine = engine;
    leg->engine = conf->engines[engine].name;
    leg->engine_index = engine;
    leg->tries++;
    leg->sent = ngx_current_msec;
    leg->code = 0;

    pc->cached = 0;
    pc->connection = NULL;
    pc->sockaddr = conf->engines[engine].sockaddr;
    pc->socklen = conf->engines[engine].socklen;
    pc->name = &conf->engines[engine].name;
    return NGX_OK;
}

/* Nothing of the answer came: what does that say about the engine, and may another one
 * get the same request? */
static void failed(peer_t *peer, ngx_peer_connection_t *pc)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(peer->request,
                                                        ngx_http_segue_module);
    ngx_http_segue_leg_t *leg = ngx_http_segue_leg(peer->request);
    ngx_http_upstream_t *u = peer->request->upstream;
    ngx_connection_t *c = pc->connection;
    ngx_uint_t sent = c != NULL && u->request_sent;
    ngx_uint_t timed_out = c != NULL && (c->read->timedout || c->write->timedout);
    /* The engine closed an idle connection just as we used it: nobody has read the
     * request, another connection may carry it. */
    ngx_uint_t stale = pc->cached && !timed_out && u->state->bytes_received == 0;

    if (ctx->client_left) {
        /* A half-closed prefill engine let go, as it should; nothing goes on from here. */
        if (ctx->phase == NGX_HTTP_SEGUE_PHASE_PREFILL)
            peer->request->connection->error = 1;
        if (sent)
            return;
    }
    if (!stale) {
        peer->tried |= (uint64_t)1 << peer->engine;
        leg->failure = timed_out ? (sent ? "timeout" : "connect timeout")
                       : !sent   ? "unreachable"
                                 : "lost";
        leg->timed_out = sent && timed_out;
        if (!leg->timed_out)
            ngx_http_segue_zone_report(peer->conf, peer->engine, 0);
        if (!sent)
            ngx_http_segue_count(NGX_HTTP_SEGUE_CONNECT_FAILED, 1);
    }
    if (peer->conf->role == NGX_HTTP_SEGUE_DECODE) {
        /* An engine that may have claimed the KV is the only one that can go on. */
        if (stale || !sent)
            leg->conf.next_upstream |= NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT;
        else
            leg->conf.next_upstream &= ~NGX_HTTP_UPSTREAM_FT_NON_IDEMPOTENT;
    }
}

static void free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    peer_t *peer = data;
    if (peer->engine == NONE)
        return;
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(peer->request,
                                                        ngx_http_segue_module);
    ngx_uint_t status = peer->request->upstream->headers_in.status_n;

    ngx_http_segue_zone_done(peer->conf, peer->engine, peer->tokens);
    if ((state & NGX_PEER_FAILED) && status == 0) {
        failed(peer, pc);
    } else if (status != 0) {
        ngx_uint_t well = !segue_breaker_counts((unsigned)status) ||
                          ctx->verdict > SEGUE_VERDICT_VALID;
        ngx_http_segue_zone_report(peer->conf, peer->engine, well);
        peer->tried |= (uint64_t)1 << peer->engine;
    }
    peer->engine = NONE;
    if (pc->tries)
        pc->tries--;
}

static ngx_int_t init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_segue_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_segue_module);
    peer_t *peer = ngx_pcalloc(r->pool, sizeof *peer);
    if (peer == NULL || ctx == NULL)
        return NGX_ERROR;
    peer->conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_segue_module);
    peer->request = r;
    peer->engine = NONE;
    peer->tokens = ctx->tokens;
    if (peer->conf->role == NGX_HTTP_SEGUE_PREFILL)
        peer->tried = ctx->prefill_tried;

    r->upstream->peer.data = peer;
    r->upstream->peer.get = get_peer;
    r->upstream->peer.free = free_peer;
    r->upstream->peer.tries = peer->conf->count;
    return NGX_OK;
}

/* The `server` lines of the block are the engines; a name that resolves to several
 * addresses is one engine at the first of them. */
static ngx_int_t init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_segue_srv_conf_t *conf = ngx_http_conf_upstream_srv_conf(
        us, ngx_http_segue_module);
    ngx_uint_t count = us->servers ? us->servers->nelts : 0;
    if (count == 0 || count > NGX_HTTP_SEGUE_ENGINES_MAX) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "upstream \"%V\" has %ui engines; 1 to %d are possible", &us->host,
                      count, NGX_HTTP_SEGUE_ENGINES_MAX);
        return NGX_ERROR;
    }
    conf->engines = ngx_pcalloc(cf->pool, count * sizeof *conf->engines);
    if (conf->engines == NULL)
        return NGX_ERROR;
    ngx_http_upstream_server_t *servers = us->servers->elts;
    for (ngx_uint_t i = 0; i < count; i++) {
        conf->engines[i].name = servers[i].addrs[0].name;
        conf->engines[i].sockaddr = servers[i].addrs[0].sockaddr;
        conf->engines[i].socklen = servers[i].addrs[0].socklen;
    }
    if (conf->main->engines + count > NGX_HTTP_SEGUE_ENGINES_TOTAL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "more than %d engines",
                      NGX_HTTP_SEGUE_ENGINES_TOTAL);
        return NGX_ERROR;
    }
    conf->count = count;
    conf->first = conf->main->engines;
    conf->main->engines += count;
    us->peer.init = init_peer;
    return NGX_OK;
}

/* segue_engines prefill|decode [policy=NAME] [limit=N]; */
char *ngx_http_segue_engines(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_segue_srv_conf_t *conf = data, **slot;
    ngx_http_upstream_srv_conf_t *us = ngx_http_conf_get_module_srv_conf(
        cf, ngx_http_upstream_module);
    ngx_str_t *value = cf->args->elts;
    if (conf->policy)
        return "is duplicate";
    conf->main = ngx_http_conf_get_module_main_conf(cf, ngx_http_segue_module);

    if (ngx_strcmp(value[1].data, "prefill") == 0)
        conf->role = NGX_HTTP_SEGUE_PREFILL;
    else if (ngx_strcmp(value[1].data, "decode") == 0)
        conf->role = NGX_HTTP_SEGUE_DECODE;
    else
        return "takes prefill or decode";
    conf->policy = segue_policy_find(
        conf->role == NGX_HTTP_SEGUE_PREFILL ? "prefill_tokens" : "sequences");

    for (ngx_uint_t i = 2; i < cf->args->nelts; i++) {
        if (ngx_strncmp(value[i].data, "policy=", 7) == 0) {
            conf->policy = segue_policy_find((char *)value[i].data + 7);
            if (conf->policy == NULL)
                return "names an unknown policy";
        } else if (ngx_strncmp(value[i].data, "limit=", 6) == 0) {
            ngx_int_t limit = ngx_atoi(value[i].data + 6, value[i].len - 6);
            if (limit == NGX_ERROR || limit > NGX_MAX_INT32_VALUE)
                return "has an invalid limit";
            conf->limit = (ngx_uint_t)limit;
        } else {
            return "has an unknown parameter";
        }
    }
    slot = ngx_array_push(&conf->main->roles);
    if (slot == NULL)
        return NGX_CONF_ERROR;
    *slot = conf;
    us->peer.init_upstream = init_upstream;
    us->flags = NGX_HTTP_UPSTREAM_CREATE;
    return NGX_CONF_OK;
}
