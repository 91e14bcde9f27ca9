/* SPDX-License-Identifier: Apache-2.0 */
/* An engine whose ranks are processes: its endpoint, and the ranks that join it. The hand-off listens on both before anybody can
 * know of them. */
#include "handoff/handoff.h"

#include "base/status.h"
#include "kv/members.h"

static enum segue_status open_endpoint(struct segue_agent *agent, void *ranks)
{
    if (!segue_handoff_of(agent))
        return SEGUE_E_MEMORY;
    return segue_members_expect(agent, *(uint32_t *)ranks);
}

enum segue_status segue_endpoint_open(struct segue_agent *agent, uint32_t ranks)
{
    return segue_agent_call(agent, open_endpoint, &ranks);
}

static enum segue_status listen(struct segue_agent *agent, void *none)
{
    if (!agent->opts.endpoint)
        return segue_fail(SEGUE_E_INVALID, "this agent is the rank of no engine");
    return segue_handoff_of(agent) ? SEGUE_OK : SEGUE_E_MEMORY;
}

enum segue_status segue_endpoint_join(struct segue_agent *agent)
{
    SEGUE_TRY(segue_agent_call(agent, listen, NULL));
    return segue_members_join(agent);
}
