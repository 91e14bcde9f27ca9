/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive doubly linked list: the links live in the objects, so that nothing is
 * allocated and an object leaves in O(1) without a search. The head is a link too; a
 * link in no list points to itself. Thread: the caller's business.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct segue_list {
    struct segue_list *next, *prev;
};

/* The object of `type` whose field `member` is at `pointer`. */
#define segue_container_of(pointer, type, member)                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Walks the links of `head`, front to back; `link` is declared by the loop. The current
 * link may be removed (and its object freed); others may not. */
#define segue_list_each(link, head)                                                      \
    for (struct segue_list *link = (head)->next, *link##_next = link->next;              \
         link != (head); link = link##_next, link##_next = link->next)

/* Makes an empty head, or a link that is in no list. Zeroed memory is neither. */
static inline void segue_list_init(struct segue_list *head)
{
    head->next = head->prev = head;
}

/* True for a head without links, and for a link that is in no list. */
static inline bool segue_list_empty(const struct segue_list *head)
{
    return head->next == head;
}

static inline void segue_list_push_back(struct segue_list *head, struct segue_list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Takes the link out of whatever list it is in; harmless when it is in none. */
static inline void segue_list_remove(struct segue_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    segue_list_init(link);
}

/* Takes out and returns the first link; NULL when there is none. */
static inline struct segue_list *segue_list_pop_front(struct segue_list *head)
{
    struct segue_list *link = head->next;
    if (link == head)
        return NULL;
    segue_list_remove(link);
    return link;
}

#endif
