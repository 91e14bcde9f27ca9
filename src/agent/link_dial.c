/* SPDX-License-Identifier: Apache-2.0 */
/* How links begin: found, dialled or accepted; and who waits for them. */
#include "agent/control.h"
#include "agent/link.h"
#include "agent/trust.h"
#include "base/clock.h"
#include "base/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_NS (5 * SEGUE_NS_PER_MS)

void segue_link_wait_end(struct segue_link_wait *wait, enum segue_status status)
{
    segue_list_remove(&wait->list);
    if (status < 0)
        snprintf(wait->why, sizeof wait->why, "%s", segue_error_detail());
    wait->done(wait, status);
}

void segue_link_waits_fail(struct segue_list *waits, enum segue_status status)
{
    char why[256];
    snprintf(why, sizeof why, "%s", segue_error_detail());
    /* Apart, as `done` may begin to wait again. */
    struct segue_list failing, *at;
    segue_list_init(&failing);
    while ((at = segue_list_pop_front(waits)))
        segue_list_push_back(&failing, at);
    while (!segue_list_empty(&failing)) {
        segue_fail(status, "%s", why);
        segue_link_wait_end(
            segue_container_of(failing.next, struct segue_link_wait, list), status);
    }
}

void segue_link_wait_cancel(struct segue_link_wait *wait)
{
    segue_list_remove(&wait->list);
}

bool segue_link_is_awaited(const struct segue_link_wait *wait,
                           const struct segue_link *link)
{
    return !wait->strict || memcmp(wait->incarnation, link->peer.incarnation, 16) == 0;
}

void segue_link_answer(struct segue_link_wait *wait, struct segue_link *link)
{
    const uint8_t *want = wait->incarnation, *is = link->peer.incarnation;
    if (segue_link_is_awaited(wait, link)) {
        wait->link = link;
        segue_link_wait_end(wait, SEGUE_OK);
        return;
    }
    segue_fail(
        SEGUE_E_STALE,
        "%s is start %02x%02x%02x%02x, start %02x%02x%02x%02x was asked for: it has "
        "restarted",
        link->name, is[0], is[1], is[2], is[3], want[0], want[1], want[2], want[3]);
    segue_link_wait_end(wait, SEGUE_E_STALE);
}

static struct segue_link *new_guest(struct segue_agent *agent)
{
    if (agent->n_links < SEGUE_LINKS_MAX)
        return segue_link_new(agent);
    segue_fail(SEGUE_E_LIMIT, "there are %u links already", agent->n_links);
    return NULL;
}

enum segue_status segue_link_accept(struct segue_agent *agent, int fd)
{
    struct segue_link *link = new_guest(agent);
    if (!link) {
        segue_fd_close(&fd);
        return SEGUE_E_LIMIT;
    }
    enum segue_status status = segue_link_greet(link, fd);
    if (status < 0)
        segue_link_discard(link);
    return status;
}

enum segue_status segue_link_accept_network(struct segue_agent *agent,
                                            struct segue_socket socket, const char *where)
{
    struct segue_link *link = new_guest(agent);
    enum segue_status status = SEGUE_E_LIMIT;
    if (link) {
        snprintf(link->where, sizeof link->where, "%s", where);
        snprintf(link->name, sizeof link->name, "agent at %s", where);
        status = segue_stream_tune(socket.fd,
                                   (uint32_t)(agent->opts.silent_ns / SEGUE_NS_PER_MS));
    }
    if (status < 0)
        segue_socket_close(&socket);
    else
        status = segue_link_greet_network(link, socket);
    if (link && status < 0)
        segue_link_discard(link);
    return status;
}

/* ---- dialling ---- */

static enum segue_status dial_unix(struct segue_link *link)
{
    struct stat st;
    int fd;
    if (lstat(link->path, &st) < 0)
        return segue_fail_errno(SEGUE_E_LOST, errno, "nobody listens at %s", link->path);
    if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
        return segue_fail(SEGUE_E_REFUSED, "%s is no socket of this user", link->path);
    enum segue_status status = segue_stream_connect_unix(link->path, &fd);
    if (status == SEGUE_OK)
        return segue_link_greet(link, fd);
    if (status != SEGUE_E_BUSY)
        return status;
    segue_loop_timer_set(link->agent->loop, &link->retry, segue_now_ns() + RETRY_NS);
    return SEGUE_IN_PROGRESS;
}

static void dial_again(struct segue_timer *timer)
{
    struct segue_link *link = timer->user;
    enum segue_status status = dial_unix(link);
    if (status < 0)
        segue_link_fail(link, status, segue_error_detail());
}

/* It told us where on this host its unix socket is: there the kernel knows who it is. */
static enum segue_status dial_answer(struct segue_link *link)
{
    if (link->caller.answer[0] != '/')
        return segue_fail(SEGUE_E_PROTOCOL, "%s names no unix socket", link->where);
    snprintf(link->path, sizeof link->path, "%s", link->caller.answer);
    return dial_unix(link);
}

static void on_called(struct segue_caller *caller, enum segue_status status)
{
    struct segue_link *link = caller->user;
    struct segue_socket socket = caller->socket;
    char why[256];
    if (status >= 0)
        status = socket.fd < 0 ? dial_answer(link)
                               : segue_link_greet_network(link, socket);
    if (status >= 0)
        return;
    snprintf(why, sizeof why, "agent at %.60s: %.170s", link->where,
             segue_error_detail());
    segue_link_fail(link, status, why);
}

/* With the key; without one in the clear, where insecure has been said, or by way of the
 * unix socket on this host (rule R22). */
static enum segue_status dial_network(struct segue_link *link)
{
    struct segue_agent *agent = link->agent;
    bool keyed = segue_trust_keys(agent)->n > 0;
    bool here = !keyed && !agent->opts.insecure && segue_address_is_loopback(&link->at);
    link->caller = (struct segue_caller){.agent = agent,
                                         .done = on_called,
                                         .user = link,
                                         .secure = keyed ||
                                                   (!agent->opts.insecure && !here),
                                         .opening_len = SEGUE_OPENING_BYTES};
    segue_opening_write(here ? SEGUE_OPENING_WHERE : SEGUE_OPENING_LINK,
                        link->caller.opening);
    return segue_caller_start(&link->caller, &link->at);
}

/* Where an address leads; `path` is what tells links apart. */
struct place {
    bool network;
    struct segue_address at;
    char path[sizeof((struct segue_link *)0)->path];
};

static enum segue_status check_address(const char *address, struct place *place)
{
    size_t local = strlen(SEGUE_UNIX_PREFIX), network = strlen(SEGUE_TCP_PREFIX);
    if (strlen(address) - 1 >= sizeof place->path)
        return segue_fail(SEGUE_E_REFUSED, "address '%.40s...' is too long, or empty",
                          address);
    if (strncmp(address, SEGUE_UNIX_PREFIX, local) == 0 && address[local] == '/') {
        place->network = false;
        strcpy(place->path, address + local);
        return SEGUE_OK;
    }
    if (strncmp(address, SEGUE_TCP_PREFIX, network) != 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "address '%.100s' may not be followed: it must begin with "
                          "unix:/ or tcp:",
                          address);
    place->network = true;
    strcpy(place->path, address);
    SEGUE_TRY(segue_address_read(address + network, NULL, &place->at));
    if (!segue_address_is_numeric(&place->at))
        return segue_fail(SEGUE_E_REFUSED,
                          "address '%.100s' may not be followed: its host is not numeric",
                          address);
    return SEGUE_OK;
}

static struct segue_link *find_link(struct segue_agent *agent, const char *path,
                                    const struct segue_link_wait *wait)
{
    segue_list_each (at, &agent->links) {
        struct segue_link *link = segue_container_of(at, struct segue_link, list);
        if (link->dialled && !link->closing && !link->worn &&
            strcmp(link->path, path) == 0 &&
            (!link->up || segue_link_is_awaited(wait, link)))
            return link;
    }
    return NULL;
}

void segue_link_get(struct segue_agent *agent, const char *address,
                    const uint8_t *incarnation, struct segue_link_wait *wait)
{
    struct place place = {0};
    segue_list_init(&wait->list);
    wait->link = NULL;
    wait->connection = NULL;
    wait->why[0] = 0;
    wait->strict = incarnation != NULL;
    if (incarnation)
        memcpy(wait->incarnation, incarnation, sizeof wait->incarnation);
    enum segue_status status = agent->ending
                                   ? segue_fail(SEGUE_E_CANCELLED, "the agent ends")
                                   : check_address(address, &place);
    if (status < 0) {
        segue_link_wait_end(wait, status);
        return;
    }
    struct segue_link *link = find_link(agent, place.path, wait);
    if (!link) {
        link = segue_link_new(agent);
        if (!link) {
            segue_link_wait_end(wait, SEGUE_E_MEMORY);
            return;
        }
        link->dialled = true;
        link->retry = (struct segue_timer){.fn = dial_again, .user = link};
        link->at = place.at;
        snprintf(link->path, sizeof link->path, "%s", place.path);
        snprintf(link->name, sizeof link->name, "agent at %s", place.path);
        if (place.network)
            segue_address_write(&place.at, link->where, sizeof link->where);
        status = place.network ? dial_network(link) : dial_unix(link);
        if (status < 0) {
            segue_link_discard(link);
            segue_link_wait_end(wait, status);
            return;
        }
    }
    if (link->up)
        segue_link_answer(wait, link);
    else
        segue_list_push_back(&link->waits, &wait->list);
}
