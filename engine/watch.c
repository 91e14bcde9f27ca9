/* SPDX-License-Identifier: Apache-2.0 */
/* One epoll instance for EPOLLRDHUP, and an eventfd that ends its thread. */
#include "watch.h"
#include "fail.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watch {
    int epoll, end;
    pthread_t thread;
    pthread_mutex_t lock; /* held while `gone` runs: watch_remove waits for it */
    struct watched *all;
    unsigned again; /* how many of them are called once more */
};

enum { AGAIN_MS = 1000 };

/* The lock is held. */
static void call(struct watch *watch, struct watched *watched)
{
    watch->again -= watched->again;
    watched->again = watched->gone(watched);
    watch->again += watched->again;
}

/* An event may have been fetched before its socket was removed: only what is still in the
 * list is alive. */
static void tell(struct watch *watch, const struct watched *who)
{
    pthread_mutex_lock(&watch->lock);
    struct watched *watched = watch->all;
    while (watched != NULL && watched != who)
        watched = watched->next;
    if (watched != NULL)
        call(watch, watched);
    pthread_mutex_unlock(&watch->lock);
}

/* Returns how long to wait for the next event. */
static int tell_again(struct watch *watch, bool late)
{
    pthread_mutex_lock(&watch->lock);
    for (struct watched *w = late ? watch->all : NULL; w != NULL; w = w->next)
        if (w->again)
            call(watch, w);
    int ms = watch->again > 0 ? AGAIN_MS : -1;
    pthread_mutex_unlock(&watch->lock);
    return ms;
}

static void *run(void *user)
{
    struct watch *watch = user;
    for (int ms = -1;;) {
        struct epoll_event events[32];
        int n = epoll_wait(watch->epoll, events, 32, ms);
        if (n < 0 && errno != EINTR)
            return NULL;
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                return NULL;
            tell(watch, events[i].data.ptr);
        }
        ms = tell_again(watch, n == 0);
    }
}

static int start(struct watch *watch)
{
    watch->epoll = epoll_create1(EPOLL_CLOEXEC);
    watch->end = eventfd(0, EFD_CLOEXEC);
    if (watch->epoll < 0 || watch->end < 0)
        return -1;
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(watch->epoll, EPOLL_CTL_ADD, watch->end, &event) != 0)
        return -1;
    errno = pthread_create(&watch->thread, NULL, run, watch);
    return errno != 0 ? -1 : 0;
}

int watch_open(struct watch **out)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return engine_fail("no memory to watch connections");
    watch->epoll = watch->end = -1;
    pthread_mutex_init(&watch->lock, NULL);
    if (start(watch) != 0) {
        engine_fail("connections cannot be watched: %s", strerror(errno));
        close(watch->epoll);
        close(watch->end);
        pthread_mutex_destroy(&watch->lock);
        free(watch);
        return -1;
    }
    *out = watch;
    return 0;
}

void watch_close(struct watch *watch)
{
    if (watch == NULL)
        return;
    eventfd_write(watch->end, 1);
    pthread_join(watch->thread, NULL);
    close(watch->epoll);
    close(watch->end);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

int watch_add(struct watch *watch, struct watched *watched, int fd)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = watched};
    pthread_mutex_lock(&watch->lock);
    watched->fd = fd;
    watched->again = false;
    watched->previous = NULL;
    watched->next = watch->all;
    watched->on = epoll_ctl(watch->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    if (watched->on) {
        if (watch->all != NULL)
            watch->all->previous = watched;
        watch->all = watched;
    }
    pthread_mutex_unlock(&watch->lock);
    if (!watched->on)
        return engine_fail("a connection cannot be watched: %s", strerror(errno));
    return 0;
}

void watch_remove(struct watch *watch, struct watched *watched)
{
    pthread_mutex_lock(&watch->lock);
    if (watched->on) {
        epoll_ctl(watch->epoll, EPOLL_CTL_DEL, watched->fd, NULL);
        *(watched->previous != NULL ? &watched->previous->next
                                    : &watch->all) = watched->next;
        if (watched->next != NULL)
            watched->next->previous = watched->previous;
        watch->again -= watched->again;
        watched->on = watched->again = false;
    }
    pthread_mutex_unlock(&watch->lock);
}
