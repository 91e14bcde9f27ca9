/* SPDX-License-Identifier: Apache-2.0 */
/* A cache of ours as a peer is told of it: its description, and its memory as each transport that reaches the peer exports it. */
#include "kv/cache_service.h"
#include "kv/cache_wire.h"

#include <stdio.h>

static void close_handles(struct segue_handle *handles, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        segue_handle_close(&handles[i]);
}

/* Every region of the cache, as `row` exports it; why not, otherwise. */
static bool export_row(const struct segue_cache *cache, size_t row,
                       struct segue_handle *handles, char *why, size_t cap)
{
    for (uint32_t i = 0; i < cache->n_regions; i++) {
        const struct segue_region *region = cache->regions[i];
        struct segue_registration *registration = region->registrations[row];
        handles[i] = (struct segue_handle){0};
        /* A transport of streams has nothing to export: being registered is enough. */
        if (registration && (!registration->transport->ops->export ||
                             segue_registration_export(registration, &handles[i]) >= 0))
            continue;
        snprintf(why, cap, "%s", registration ? segue_error_detail() : region->why[row]);
        close_handles(handles, i);
        return false;
    }
    return true;
}

static void send_handles(struct segue_link *link, const struct segue_cache *cache,
                         size_t row, const struct segue_handle *handles, uint8_t *body)
{
    int fds[SEGUE_CACHE_REGIONS_MAX * SEGUE_BLOB_FDS];
    uint32_t n_fds = 0;
    struct segue_writer w = segue_writer_make(body, SEGUE_FRAME_MAX);
    segue_cache_handles_write(&w, cache->id, segue_transport_name(row), handles,
                              cache->n_regions);
    for (uint32_t i = 0; i < cache->n_regions; i++)
        for (uint32_t k = 0; k < handles[i].n_fds; k++)
            fds[n_fds++] = handles[i].fds[k];
    segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_HANDLES, w.data,
                    (uint32_t)w.len, fds, n_fds);
}
_Static_assert(SEGUE_CACHE_REGIONS_MAX *SEGUE_BLOB_FDS <= SEGUE_FRAME_FDS,
               "the handles of a row go in one frame");

void segue_cache_tell(struct segue_link *link, const struct segue_cache *cache,
                      uint8_t body[SEGUE_FRAME_MAX])
{
    struct segue_handle handles[SEGUE_ROWS_MAX][SEGUE_CACHE_REGIONS_MAX];
    struct segue_remote_cache told = {.id = cache->id,
                                      .rank = cache->rank,
                                      .ranks = cache->ranks,
                                      .geometry = cache->geometry,
                                      .device_caps = cache->device->caps,
                                      .n_regions = cache->n_regions};
    snprintf(told.model, sizeof told.model, "%s", cache->model);
    snprintf(told.convention, sizeof told.convention, "%s", cache->convention);
    snprintf(told.device, sizeof told.device, "%s", cache->device->name);
    for (uint32_t i = 0; i < cache->n_regions; i++)
        told.region_len[i] = cache->regions[i]->len;
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++)
        if (!segue_link_reaches(link, row))
            snprintf(told.why[row], sizeof told.why[row],
                     "it does not reach other hosts");
        else if (export_row(cache, row, handles[row], told.why[row],
                            sizeof told.why[row]))
            told.rows |= 1u << row;
    struct segue_writer w = segue_writer_make(body, SEGUE_FRAME_MAX);
    segue_cache_tell_write(&w, &told);
    segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_TELL, w.data, (uint32_t)w.len,
                    NULL, 0);
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        if (told.rows & (1u << row)) {
            send_handles(link, cache, row, handles[row], body);
            close_handles(handles[row], cache->n_regions);
        }
}
