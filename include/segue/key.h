/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster keys (rule R22): whoever has the key is a peer. A key file holds the key that is used now and, while it is
 * being replaced, one more that is accepted; every host has a copy of it. Agents get its path as option `key`, and read
 * it again when it has changed.
 *
 * The secrets never pass through a log, an error's sentence or the wire. Keys are told apart by their id, which is
 * computed from the secret and tells nothing about it.
 */
#ifndef SEGUE_KEY_H
#define SEGUE_KEY_H

#include <segue/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEGUE_KEYS_MAX 2 /* in one file */

/* A key is replaced in three steps, each of which fits with hosts that are one step behind or ahead:
 *     current            -> current, next        the new key is accepted
 *     current, next      -> current, previous    it is used; the old one is accepted
 *     current, previous  -> current              the old one is forgotten */
enum segue_key_role {
    SEGUE_KEY_CURRENT = 0, /* used and accepted; the first in every file */
    SEGUE_KEY_NEXT,        /* accepted; will be current */
    SEGUE_KEY_PREVIOUS,    /* accepted; was current */
};

struct segue_key_info {
    enum segue_key_role role;
    char id[9];      /* 8 hexadecimal digits */
    char secret[65]; /* 64 of them: show it to nobody who is no peer */
};

/* What: makes a file of mode 0600 with one new key of 256 random bits, whole or not at all. Any thread.
 * Errors: E_BUSY (there is a file already), E_SYSTEM; both name the path. */
SEGUE_API enum segue_status segue_key_file_make(const char *path);

/* What: the keys of a file, `n` of them, the current one first. Any thread. Errors: E_NOT_FOUND (no file), E_REFUSED (it
 * belongs to another user, or others may read it), E_INVALID naming the line, E_SYSTEM. */
SEGUE_API enum segue_status
segue_key_file_read(const char *path, struct segue_key_info keys[SEGUE_KEYS_MAX],
                    size_t *n);

/* What: goes one step (above) and replaces the file, whole or not at all. Copy it to every host before the next step. Any
 * thread, one at a time. Errors: as read. */
SEGUE_API enum segue_status segue_key_file_rotate(const char *path);

/* What: "current", "next", "previous". Static storage. Any thread. */
SEGUE_API const char *segue_key_role_name(enum segue_key_role role);

#ifdef __cplusplus
}
#endif
#endif
