/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and their files. A key is 256 random bits that are used for nothing directly: each
 * purpose gets a key of its own, derived by its name. So is the id, by which peers name
 * the key on the wire. Any thread.
 */
#ifndef BASE_KEY_H
#define BASE_KEY_H

#include <segue/key.h>
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGUE_KEY_BYTES    32
#define SEGUE_KEY_ID_BYTES 4
#define SEGUE_MAC_BYTES    16

struct segue_key {
    enum segue_key_role role;
    uint8_t id[SEGUE_KEY_ID_BYTES];
    uint8_t secret[SEGUE_KEY_BYTES];
};

/* What one file holds; key[0] is the current one. */
struct segue_keys {
    struct segue_key key[SEGUE_KEYS_MAX];
    size_t n; /* 0: none */
};

/* What: fills in a new key. */
void segue_key_random(struct segue_key *key);

/* What: a file's text as keys. Pure. E_INVALID naming `path` and the line. */
enum segue_status segue_keys_parse(const char *text, size_t len, const char *path,
                                   struct segue_keys *out);

/* What: reads a file that is ours, or root's, and closed to others. Errors: E_NOT_FOUND,
 * E_REFUSED, E_INVALID, E_SYSTEM, naming the path. */
enum segue_status segue_keys_read(const char *path, struct segue_keys *out);

/* What: writes a file of mode 0600, whole or not at all. `replace`: one that is there;
 * otherwise that is E_BUSY. */
enum segue_status segue_keys_write(const char *path, const struct segue_keys *keys,
                                   bool replace);

/* What: forgets the secrets. */
void segue_keys_wipe(struct segue_keys *keys);

/* What: the key of that id; NULL: none. Borrowed. */
const struct segue_key *segue_keys_find(const struct segue_keys *keys,
                                        const uint8_t id[SEGUE_KEY_ID_BYTES]);

/* What: the 8 digits of an id, NUL terminated. */
void segue_key_id_text(const uint8_t id[SEGUE_KEY_ID_BYTES], char out[9]);

/* What: "7f3a91bc", "7f3a91bc or 91bc0d3e", "none": for sentences. Cut at cap. */
void segue_keys_text(const struct segue_keys *keys, char *out, size_t cap);

/* What: the key of one purpose. */
void segue_key_derive(const struct segue_key *key, const char *purpose,
                      uint8_t out[SEGUE_KEY_BYTES]);

/* What: proves that whoever has the key wrote `data` for this purpose (HMAC-SHA256, its
 * first 128 bits). */
void segue_key_mac(const struct segue_key *key, const char *purpose, const void *data,
                   size_t len, uint8_t out[SEGUE_MAC_BYTES]);

/* What: compares without telling by its time where they differ. */
bool segue_mac_equal(const uint8_t *a, const uint8_t *b, size_t n);

#endif
