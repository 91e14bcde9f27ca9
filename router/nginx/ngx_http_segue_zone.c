/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and gauges in shared memory, one row a worker process.
 *
 * A worker writes its own row only, so a crash costs at most what that row held: the next
 * worker that starts clears the gauges of dead processes and keeps their counters. Rows
 * are keyed by pid and not by worker number, as old and new workers live side by side
 * during a reload. Picking an engine sums the rows under the pool's lock, so that two
 * workers do not both find the same engine idle.
 */
#include "ngx_http_segue.h"

#define ROWS 256

typedef struct {
    ngx_atomic_t pid; /* 0: free */
    ngx_atomic_t in_flight;
    ngx_atomic_t counters[NGX_HTTP_SEGUE_COUNTER_COUNT];
    ngx_http_segue_gauge_t engines[]; /* of all upstreams */
} row_t;

typedef struct {
    ngx_uint_t engines;
    size_t row_size;
    ngx_uint_t rows;                                      /* used at least once */
    ngx_atomic_uint_t past[NGX_HTTP_SEGUE_COUNTER_COUNT]; /* of workers that are gone */
    struct segue_breaker breakers[NGX_HTTP_SEGUE_ENGINES_TOTAL];
    u_char data[];
} table_t;

/* Of this worker process. */
static ngx_slab_pool_t *pool;
static table_t *table;
static row_t *own;

static row_t *row_at(table_t *t, ngx_uint_t i)
{
    return (row_t *)(t->data + i * t->row_size);
}

ngx_int_t ngx_http_segue_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_segue_main_conf_t *conf = zone->data;
    ngx_http_segue_main_conf_t *old = data;
    ngx_slab_pool_t *shpool = (ngx_slab_pool_t *)zone->shm.addr;
    table_t *t = shpool->data;
    if ((old || zone->shm.exists) && t && t->engines == conf->engines)
        return NGX_OK;

    /* Another number of engines: old workers keep the old table until they are gone. */
    size_t row_size = ngx_align(
        sizeof(row_t) + conf->engines * sizeof(ngx_http_segue_gauge_t), 64);
    t = ngx_slab_calloc(shpool, sizeof(table_t) + ROWS * row_size);
    if (t == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0,
                      "segue_zone is too small for %ui engines: give it %uz bytes more",
                      conf->engines, sizeof(table_t) + ROWS * row_size);
        return NGX_ERROR;
    }
    t->engines = conf->engines;
    t->row_size = row_size;
    shpool->data = t;
    return NGX_OK;
}

static ngx_int_t row_is_free(const row_t *row)
{
    return row->pid == 0 || (kill((ngx_pid_t)row->pid, 0) == -1 && ngx_errno == ESRCH);
}

static void row_retire(row_t *row)
{
    for (ngx_uint_t i = 0; i < NGX_HTTP_SEGUE_COUNTER_COUNT; i++)
        table->past[i] += row->counters[i];
    ngx_memzero(row, table->row_size);
}

ngx_int_t ngx_http_segue_zone_worker(ngx_cycle_t *cycle)
{
    ngx_http_segue_main_conf_t *conf = ngx_http_cycle_get_module_main_conf(
        cycle, ngx_http_segue_module);
    if (conf == NULL || conf->zone == NULL ||
        (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
        return NGX_OK;

    pool = (ngx_slab_pool_t *)conf->zone->shm.addr;
    table = pool->data;
    own = NULL;
    ngx_shmtx_lock(&pool->mutex);
    for (ngx_uint_t i = 0; i < ROWS; i++) {
        row_t *row = row_at(table, i);
        if (i >= table->rows && own)
            break;
        if (!row_is_free(row))
            continue;
        row_retire(row);
        if (own == NULL) {
            own = row;
            own->pid = (ngx_atomic_uint_t)ngx_pid;
            table->rows = ngx_max(table->rows, i + 1);
        }
    }
    ngx_shmtx_unlock(&pool->mutex);
    if (own == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "more than %d worker processes",
                      ROWS);
        return NGX_ERROR;
    }
    return NGX_OK;
}

void ngx_http_segue_count(ngx_uint_t counter, ngx_atomic_int_t by)
{
    own->counters[counter] += (ngx_atomic_uint_t)by; /* nobody else writes this row */
}

void ngx_http_segue_in_flight(ngx_atomic_int_t by)
{
    own->in_flight += (ngx_atomic_uint_t)by;
}

static void load_sum(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                     struct segue_load *load)
{
    ngx_uint_t at = conf->first + engine;
    *load = (struct segue_load){.limit = (uint32_t)conf->limit};
    for (ngx_uint_t i = 0; i < table->rows; i++) {
        row_t *row = row_at(table, i);
        load->requests += (uint32_t)row->engines[at].requests;
        load->tokens += row->engines[at].tokens;
    }
    load->usable = segue_breaker_lets(&table->breakers[at], ngx_current_msec);
}

ngx_uint_t ngx_http_segue_zone_pick(ngx_http_segue_srv_conf_t *conf, uint64_t tokens,
                                    uint64_t tried, enum segue_pick_why *why)
{
    struct segue_load loads[NGX_HTTP_SEGUE_ENGINES_MAX];
    struct segue_ask ask = {.tokens = tokens};
    ngx_shmtx_lock(&pool->mutex);
    for (ngx_uint_t i = 0; i < conf->count; i++) {
        load_sum(conf, i, &loads[i]);
        loads[i].tried = (tried >> i) & 1;
    }
    size_t engine = segue_policy_pick(conf->policy, loads, conf->count, &ask,
                                      conf->turn++, why);
    if (engine != SEGUE_PICK_NONE) {
        ngx_http_segue_gauge_t *gauge = &own->engines[conf->first + engine];
        gauge->requests++;
        gauge->tokens += tokens;
        segue_breaker_begin(&table->breakers[conf->first + engine], ngx_current_msec);
    }
    ngx_shmtx_unlock(&pool->mutex);
    return engine;
}

void ngx_http_segue_zone_done(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                              uint64_t tokens)
{
    ngx_http_segue_gauge_t *gauge = &own->engines[conf->first + engine];
    gauge->requests--;
    gauge->tokens -= tokens;
}

void ngx_http_segue_zone_report(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                                ngx_uint_t well)
{
    struct segue_breaker *breaker = &table->breakers[conf->first + engine];
    if (well && breaker->failures == 0)
        return; /* the usual case takes no lock: there is nothing to reset */
    ngx_shmtx_lock(&pool->mutex);
    bool changed = segue_breaker_report(breaker, well, ngx_current_msec);
    ngx_shmtx_unlock(&pool->mutex);
    if (!changed)
        return;
    ngx_http_segue_count(NGX_HTTP_SEGUE_BREAKER_CHANGED, 1);
    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0, "engine %V %s",
                  &conf->engines[engine].name,
                  well ? "works again" : "keeps failing: it is left alone for a while");
}

void ngx_http_segue_zone_sum(ngx_http_segue_main_conf_t *conf,
                             ngx_http_segue_sums_t *sums)
{
    ngx_memzero(sums, sizeof *sums);
    ngx_shmtx_lock(&pool->mutex);
    ngx_memcpy(sums->counters, table->past, sizeof sums->counters);
    for (ngx_uint_t i = 0; i < table->rows; i++) {
        row_t *row = row_at(table, i);
        if (row->pid == 0)
            continue;
        sums->workers++;
        sums->in_flight += (ngx_atomic_int_t)row->in_flight;
        for (ngx_uint_t k = 0; k < NGX_HTTP_SEGUE_COUNTER_COUNT; k++)
            sums->counters[k] += row->counters[k];
    }
    ngx_shmtx_unlock(&pool->mutex);
}

void ngx_http_segue_zone_engine(ngx_http_segue_srv_conf_t *conf, ngx_uint_t engine,
                                struct segue_load *load)
{
    ngx_shmtx_lock(&pool->mutex);
    load_sum(conf, engine, load);
    ngx_shmtx_unlock(&pool->mutex);
}
