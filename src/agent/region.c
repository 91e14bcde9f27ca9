/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: memory of a device that the caller names, registered with every transport that
 * can use it. */
#include "agent/agent.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static void deregister(struct segue_region *region)
{
    for (size_t row = 0; row < SEGUE_ROWS_MAX; row++)
        segue_memory_deregister(region->registrations[row]);
    free(region);
}

static bool holds(const struct segue_memory_info *info, const char *address)
{
    return info->size && address >= (char *)info->base &&
           (uint64_t)(address - (char *)info->base) < info->size;
}

/* The drivers' word against the caller's (DESIGN D2 of docs/design.md): what another
 * device knows as its own is refused. Host memory that nobody allocated here is known to
 * none, and legal. */
static enum segue_status check_memory(const struct segue_region *region)
{
    const struct segue_agent *agent = region->agent;
    struct segue_memory_info info;
    if (region->len == 0 || (uintptr_t)region->address > UINTPTR_MAX - region->len)
        return segue_fail(SEGUE_E_INVALID, "a region of %" PRIu64 " bytes at %p",
                          region->len, (void *)region->address);
    for (size_t i = 0; i < agent->n_devices; i++)
        if (agent->devices[i] != region->device &&
            segue_device_query(agent->devices[i], region->address, &info) >= 0 &&
            holds(&info, region->address))
            return segue_fail(SEGUE_E_MISMATCH, "the memory at %p is %s's, not %s's",
                              (void *)region->address, agent->devices[i]->name,
                              region->device->name);
    SEGUE_TRY(segue_device_query(region->device, region->address, &info));
    if (!info.size)
        return SEGUE_OK;
    uint64_t before = (uint64_t)(region->address - (char *)info.base);
    if (before > info.size || region->len > info.size - before)
        return segue_fail(SEGUE_E_RANGE,
                          "a region of %" PRIu64 " bytes, %" PRIu64
                          " bytes into a %s allocation of %" PRIu64,
                          region->len, before, region->device->name, info.size);
    return SEGUE_OK;
}

static enum segue_status register_everywhere(struct segue_agent *agent, void *arg)
{
    struct segue_region *region = arg;
    struct segue_memory memory = {region->device, region->address, region->len};
    size_t registered = 0;
    SEGUE_TRY(check_memory(region));
    for (size_t row = 0; row < SEGUE_ROWS_MAX && segue_transport_name(row); row++) {
        const char *why = agent->transport_why[row];
        if (agent->transports[row]) {
            if (segue_memory_register(agent->transports[row], &memory,
                                      &region->registrations[row]) >= 0) {
                registered++;
                continue;
            }
            region->registrations[row] = NULL;
            why = segue_error_detail();
        }
        snprintf(region->why[row], sizeof region->why[row], "%s", why);
        SEGUE_LOG(DEBUG, "agent", "a %s region without %s: %s", region->device->name,
                  segue_transport_name(row), region->why[row]);
    }
    /* What nothing can reach is still staged, if its device copies. */
    if (registered == 0 && !region->device->ops->copy)
        return segue_fail(SEGUE_E_UNSUPPORTED, "no transport can use memory of %s: %s",
                          region->device->name, region->why[0]);
    region->generation = ++agent->next_id;
    return SEGUE_OK;
}

enum segue_status segue_region_register(segue_agent *agent, segue_device *device,
                                        void *address, uint64_t len, segue_region **out)
{
    struct segue_region *region = calloc(1, sizeof *region);
    if (!region)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a region");
    region->agent = agent;
    region->device = device;
    region->address = address;
    region->len = len;
    enum segue_status status = segue_agent_call(agent, register_everywhere, region);
    if (status < 0)
        free(region);
    else
        *out = region;
    return status;
}

static enum segue_status deregister_unused(struct segue_agent *agent, void *arg)
{
    struct segue_region *region = arg;
    if (region->users)
        return segue_fail(SEGUE_E_BUSY, "%u caches lie in the region; close them first",
                          region->users);
    deregister(region);
    return SEGUE_OK;
}

void segue_region_deregister(segue_region *region)
{
    /* Leaking it is kinder than freeing what a cache still uses. */
    if (region && segue_agent_call(region->agent, deregister_unused, region) < 0)
        SEGUE_LOG(ERROR, "agent", "%s", segue_error_detail());
}
