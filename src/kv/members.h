/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of an engine whose ranks are processes (R17): its endpoint knows which rank is at which address and what
 * part of the model it holds, and tells that to whoever asks for caches, so that they connect only to ranks that they
 * overlap. A rank joins with its caches, over a link that stays.
 *
 *     rank --JOIN, HAVE--> endpoint <--ASK-- consumer;   endpoint --MEMBER..., TOLD--> consumer
 *
 * Thread: the agent's, but for segue_members_join.
 */
#ifndef KV_MEMBERS_H
#define KV_MEMBERS_H

#include "kv/cache.h"

struct segue_members {
    struct segue_list joined;    /* at the endpoint: its ranks */
    struct segue_link *endpoint; /* at a rank: the link to it */
};

/* What: this agent is the endpoint of so many ranks. E_INVALID. */
enum segue_status segue_members_expect(struct segue_agent *agent, uint32_t ranks);

/* What: waits until this agent's caches are known to its endpoint. Any thread but the agent's. E_LOST, E_STALE, E_TIMEOUT. */
enum segue_status segue_members_join(struct segue_agent *agent);

/* What: a cache of a rank is there, or closes: the endpoint hears of it. */
void segue_members_have(struct segue_members *members, const struct segue_cache *cache);
void segue_members_lack(struct segue_members *members, const struct segue_cache *cache);

/* What: at the endpoint: has every rank joined with a cache? Always so for an agent that is all. */
bool segue_members_complete(const struct segue_members *members,
                            const struct segue_agent *agent);
void segue_members_tell(const struct segue_members *members, struct segue_link *link);
/* What: JOIN, HAVE, LACK. E_PROTOCOL: not of this engine, or not so. */
enum segue_status segue_members_hear(struct segue_members *members,
                                     struct segue_link *link,
                                     const struct segue_frame *frame);
void segue_members_gone(struct segue_members *members, const struct segue_link *link,
                        const char *why);

/* What: a MEMBER message. E_PROTOCOL. */
enum segue_status segue_member_read(const struct segue_link *link,
                                    const struct segue_frame *frame,
                                    struct segue_member *out);

#endif
