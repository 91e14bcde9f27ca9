/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks that join their endpoint, and the endpoint's directory of them. */
#include "kv/members.h"

#include "agent/control.h"
#include "base/log.h"
#include "kv/cache_service.h"
#include "kv/cache_wire.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANK_CACHES_MAX 16

struct have {
    uint32_t cache; /* the rank's number */
    struct segue_geometry window;
};

struct joined {
    struct segue_list list;
    struct segue_link *link;
    char address[108], network[64]; /* for peers of this host, and for others; "": none */
    uint32_t rank, n;
    struct have have[RANK_CACHES_MAX];
};

/* ---- at a rank ---- */

static void send_have(struct segue_link *link, const struct segue_cache *cache)
{
    uint8_t body[64];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u32(&w, cache->id);
    segue_window_write(&w, &cache->geometry);
    segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_HAVE, body, (uint32_t)w.len,
                    NULL, 0);
}

void segue_members_have(struct segue_members *members, const struct segue_cache *cache)
{
    if (members->endpoint)
        send_have(members->endpoint, cache);
}

void segue_members_lack(struct segue_members *members, const struct segue_cache *cache)
{
    uint8_t body[4];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u32(&w, cache->id);
    if (members->endpoint)
        segue_link_send(members->endpoint, SEGUE_SERVICE_CACHE, SEGUE_CACHE_LACK, body,
                        (uint32_t)w.len, NULL, 0);
}

struct joining {
    struct segue_link_wait wait;
    struct segue_agent *agent;
    enum segue_status status;
    sem_t done;
};

static void say_join(struct segue_agent *agent, struct segue_link *link)
{
    uint8_t body[256];
    struct segue_writer w = segue_writer_make(body, sizeof body);
    segue_writer_u32(&w, agent->opts.rank);
    segue_writer_u32(&w, agent->opts.ranks);
    segue_writer_str16(&w, agent->address);
    segue_writer_str16(&w, agent->network);
    segue_link_business(link, +1); /* it stays as long as both agents do */
    segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_JOIN, body, (uint32_t)w.len,
                    NULL, 0);
    segue_list_each (at, segue_caches_of(agent))
        send_have(link, segue_container_of(at, struct segue_cache, list));
}

static void dialled(struct segue_link_wait *wait, enum segue_status status)
{
    struct joining *j = segue_container_of(wait, struct joining, wait);
    struct segue_members *members = segue_members_of(j->agent);
    j->status = status;
    if (status >= 0 && !members->endpoint) {
        members->endpoint = wait->link;
        say_join(j->agent, wait->link);
    }
    sem_post(&j->done);
}

static enum segue_status begin_to_join(struct segue_agent *agent, void *arg)
{
    struct joining *j = arg;
    if (segue_members_of(agent)->endpoint) {
        sem_post(&j->done);
        return SEGUE_OK;
    }
    j->wait = (struct segue_link_wait){.done = dialled};
    segue_link_get(agent, agent->opts.endpoint, agent->incarnation, &j->wait);
    return SEGUE_OK;
}

enum segue_status segue_members_join(struct segue_agent *agent)
{
    struct joining j = {.agent = agent};
    sem_init(&j.done, 0, 0);
    enum segue_status status = segue_agent_call(agent, begin_to_join, &j);
    while (sem_wait(&j.done) < 0)
        assert(errno == EINTR);
    sem_destroy(&j.done);
    if (status >= 0 && j.status < 0)
        status = segue_fail(j.status, "%s", j.wait.why);
    return status;
}

struct segue_link *segue_endpoint_link(struct segue_agent *agent)
{
    struct segue_members *members = segue_members_of(agent);
    return members ? members->endpoint : NULL;
}

/* ---- at the endpoint ---- */

enum segue_status segue_members_expect(struct segue_agent *agent, uint32_t ranks)
{
    if (agent->opts.endpoint || agent->opts.ranks || ranks == 0 ||
        segue_caches_any(agent))
        return segue_fail(SEGUE_E_INVALID,
                          "an endpoint is of one rank at least, and no rank itself");
    SEGUE_TRY(segue_cache_service(agent));
    agent->opts.ranks = ranks;
    return SEGUE_OK;
}

static struct joined *find(const struct segue_members *members,
                           const struct segue_link *link)
{
    segue_list_each (at, (struct segue_list *)(uintptr_t)&members->joined) {
        struct joined *j = segue_container_of(at, struct joined, list);
        if (j->link == link)
            return j;
    }
    return NULL;
}

static enum segue_status on_join(struct segue_members *members, struct segue_link *link,
                                 struct segue_reader *r)
{
    struct segue_agent *agent = link->agent;
    char address[108], network[64];
    uint32_t rank = segue_reader_u32(r), ranks = segue_reader_u32(r);
    segue_reader_str16_copy(r, address, sizeof address);
    segue_reader_str16_copy(r, network, sizeof network);
    if (r->failed)
        return segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed join");
    if (memcmp(link->peer.incarnation, agent->incarnation, 16) != 0 || ranks == 0 ||
        ranks != agent->opts.ranks || rank >= ranks || agent->opts.endpoint)
        return segue_fail(SEGUE_E_PROTOCOL,
                          "rank %u of %u is none of this engine's, which has %u", rank,
                          ranks, agent->opts.endpoint ? 0 : agent->opts.ranks);
    segue_list_each (at, &members->joined)
        if (segue_container_of(at, struct joined, list)->rank == rank)
            return segue_fail(SEGUE_E_PROTOCOL, "rank %u has joined already", rank);
    if (agent->network[0] && !network[0])
        return segue_fail(SEGUE_E_REFUSED,
                          "rank %u does not listen for other hosts, and its endpoint "
                          "does (option listen)",
                          rank);
    struct joined *j = calloc(1, sizeof *j);
    if (!j)
        return segue_fail(SEGUE_E_MEMORY, "no memory for a rank");
    j->link = link;
    j->rank = rank;
    memcpy(j->address, address, sizeof j->address);
    memcpy(j->network, network, sizeof j->network);
    segue_list_push_back(&members->joined, &j->list);
    return SEGUE_OK;
}

static enum segue_status on_have(struct joined *j, struct segue_reader *r)
{
    struct have have = {.cache = segue_reader_u32(r)};
    SEGUE_TRY(segue_window_read(r, &have.window));
    if (j->n == RANK_CACHES_MAX)
        return segue_fail(SEGUE_E_PROTOCOL, "rank %u has more than %d caches", j->rank,
                          RANK_CACHES_MAX);
    j->have[j->n++] = have;
    return SEGUE_OK;
}

static enum segue_status on_lack(struct joined *j, struct segue_reader *r)
{
    uint32_t cache = segue_reader_u32(r);
    for (uint32_t i = 0; i < j->n; i++)
        if (j->have[i].cache == cache)
            j->have[i--] = j->have[--j->n];
    return r->failed ? segue_fail(SEGUE_E_PROTOCOL, "the peer sent a malformed lack")
                     : SEGUE_OK;
}

enum segue_status segue_members_hear(struct segue_members *members,
                                     struct segue_link *link,
                                     const struct segue_frame *frame)
{
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    struct joined *j = find(members, link);
    if (frame->type == SEGUE_CACHE_JOIN && !j)
        return on_join(members, link, &r);
    if (frame->type == SEGUE_CACHE_JOIN || !j)
        return segue_fail(SEGUE_E_PROTOCOL,
                          j ? "it joined twice" : "it has not joined this engine");
    return frame->type == SEGUE_CACHE_HAVE ? on_have(j, &r) : on_lack(j, &r);
}

void segue_members_gone(struct segue_members *members, const struct segue_link *link,
                        const char *why)
{
    struct joined *j = find(members, link);
    if (members->endpoint == link)
        members->endpoint = NULL;
    if (!j)
        return;
    SEGUE_LOG(WARN, "kv", "rank %u has left its endpoint: %s", j->rank, why);
    segue_list_remove(&j->list);
    free(j);
}

bool segue_members_complete(const struct segue_members *members,
                            const struct segue_agent *agent)
{
    uint32_t n = 0;
    if (agent->opts.endpoint)
        return true;
    segue_list_each (at, (struct segue_list *)(uintptr_t)&members->joined)
        n += segue_container_of(at, struct joined, list)->n > 0;
    return n == agent->opts.ranks;
}

void segue_members_tell(const struct segue_members *members, struct segue_link *link)
{
    segue_list_each (at, (struct segue_list *)(uintptr_t)&members->joined) {
        struct joined *j = segue_container_of(at, struct joined, list);
        for (uint32_t i = 0; i < j->n; i++) {
            uint8_t body[192];
            struct segue_writer w = segue_writer_make(body, sizeof body);
            segue_writer_str16(&w, link->network ? j->network : j->address);
            segue_writer_u32(&w, j->rank);
            segue_window_write(&w, &j->have[i].window);
            segue_link_send(link, SEGUE_SERVICE_CACHE, SEGUE_CACHE_MEMBER, body,
                            (uint32_t)w.len, NULL, 0);
        }
    }
}

void segue_members_send(struct segue_agent *agent, uint8_t service, uint8_t type,
                        const void *body, uint32_t len)
{
    struct segue_members *members = segue_members_of(agent);
    if (members)
        segue_list_each (at, &members->joined)
            segue_link_send(segue_container_of(at, struct joined, list)->link, service,
                            type, body, len, NULL, 0);
}

/* Over the network a socket of this host would be one that the peer has no business to
 * send us to. */
static bool may_lead_there(const struct segue_link *link, const char *address)
{
    return !link->network ||
           strncmp(address, SEGUE_TCP_PREFIX, strlen(SEGUE_TCP_PREFIX)) == 0;
}

enum segue_status segue_member_read(const struct segue_link *link,
                                    const struct segue_frame *frame,
                                    struct segue_member *out)
{
    struct segue_reader r = segue_reader_make(frame->body, frame->len);
    segue_reader_str16_copy(&r, out->address, sizeof out->address);
    out->rank = segue_reader_u32(&r);
    SEGUE_TRY(segue_window_read(&r, &out->window));
    if (!may_lead_there(link, out->address))
        return segue_fail(SEGUE_E_PROTOCOL,
                          "rank %u of a peer on another host is said to be at %.60s",
                          out->rank, out->address);
    return SEGUE_OK;
}
