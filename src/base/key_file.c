/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files: text that a person may look at and copy.
 *
 *     # a comment
 *     segue-key 1
 *     current 64 hexadecimal digits
 *     previous 64 hexadecimal digits
 *
 * They are replaced by rename and made by link, so that nobody reads half of one and two
 * who make the same file agree on it.
 */
#include "base/key_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 4096
#define HEADER   "segue-key 1"

static const char *const roles[] = {
    [SEGUE_KEY_CURRENT] = "current",
    [SEGUE_KEY_NEXT] = "next",
    [SEGUE_KEY_PREVIOUS] = "previous",
};

const char *segue_key_role_name(enum segue_key_role role)
{
    return (size_t)role < sizeof roles / sizeof *roles ? roles[role] : "?";
}

/* ---- text ---- */

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_secret(const char *text, size_t len, struct segue_key *key)
{
    if (len != 2 * SEGUE_KEY_BYTES)
        return false;
    for (size_t i = 0; i < SEGUE_KEY_BYTES; i++) {
        int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key->secret[i] = (uint8_t)(high << 4 | low);
    }
    segue_key_identify(key);
    return true;
}

/* One line "ROLE SECRET". The sentence never quotes it. */
static bool read_line(const char *line, size_t len, struct segue_key *key)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        size_t n = strlen(roles[i]);
        if (len > n && memcmp(line, roles[i], n) == 0 && line[n] == ' ') {
            key->role = (enum segue_key_role)i;
            return read_secret(line + n + 1, len - n - 1, key);
        }
    }
    return false;
}

static enum segue_status bad_line(const char *path, unsigned number, const char *why)
{
    return segue_fail(SEGUE_E_INVALID, "key file %.200s, line %u: %s", path, number, why);
}

static enum segue_status add_key(struct segue_keys *keys, const struct segue_key *key,
                                 const char *path, unsigned number)
{
    if (keys->n == SEGUE_KEYS_MAX)
        return bad_line(path, number, "a third key; two is the most");
    if ((keys->n == 0) != (key->role == SEGUE_KEY_CURRENT))
        return bad_line(path, number,
                        "the first key must be the current one, and no other");
    if (segue_keys_find(keys, key->id))
        return bad_line(path, number, "the same key again");
    keys->key[keys->n++] = *key;
    return SEGUE_OK;
}

static enum segue_status parse(const char *text, size_t len, const char *path,
                               struct segue_keys *keys)
{
    bool header = false;
    unsigned number = 0;
    for (size_t at = 0; at < len; at++) {
        const char *line = text + at, *end = memchr(line, '\n', len - at);
        size_t n = end ? (size_t)(end - line) : len - at;
        at += n;
        number++;
        if (n && line[n - 1] == '\r')
            n--;
        if (n == 0 || line[0] == '#')
            continue;
        if (!header) {
            header = n == strlen(HEADER) && memcmp(line, HEADER, n) == 0;
            if (!header)
                return bad_line(path, number,
                                "this is no key file: '" HEADER "' belongs "
                                "here; segue key new makes one");
            continue;
        }
        struct segue_key key = {0};
        if (!read_line(line, n, &key))
            return bad_line(path, number,
                            "this must be current, next or previous, a space and 64 "
                            "hexadecimal digits in lower case");
        enum segue_status status = add_key(keys, &key, path, number);
        OPENSSL_cleanse(&key, sizeof key);
        SEGUE_TRY(status);
    }
    return keys->n ? SEGUE_OK : bad_line(path, number, "there is no current key");
}

enum segue_status segue_keys_parse(const char *text, size_t len, const char *path,
                                   struct segue_keys *out)
{
    struct segue_keys keys = {0};
    enum segue_status status = parse(text, len, path, &keys);
    if (status >= 0)
        *out = keys;
    segue_keys_wipe(&keys);
    return status;
}

static size_t print(const struct segue_keys *keys, char *text, size_t cap)
{
    size_t len = (size_t)snprintf(text, cap,
                                  "# Whoever has this is a peer of Segue: keep it "
                                  "secret.\n" HEADER "\n");
    for (size_t i = 0; i < keys->n; i++) {
        len += (size_t)snprintf(text + len, cap - len, "%s ",
                                segue_key_role_name(keys->key[i].role));
        for (size_t k = 0; k < SEGUE_KEY_BYTES; k++)
            len += (size_t)snprintf(text + len, cap - len, "%02x",
                                    keys->key[i].secret[k]);
        len += (size_t)snprintf(text + len, cap - len, "\n");
    }
    return len;
}

/* ---- files ---- */

/* A secret that others can read is none. Root's may be open to its group: so it is where
 * an orchestrator mounts secrets for users that are not root. */
static enum segue_status check_owner(const struct stat *st, const char *path)
{
    unsigned open_to = st->st_uid == geteuid() ? 077 : 037;
    if (!S_ISREG(st->st_mode))
        return segue_fail(SEGUE_E_REFUSED, "key file %.200s is no regular file", path);
    if (st->st_uid != geteuid() && st->st_uid != 0)
        return segue_fail(SEGUE_E_REFUSED,
                          "key file %.200s belongs to user %u, not to %u or root", path,
                          (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & open_to)
        return segue_fail(SEGUE_E_REFUSED,
                          "key file %.200s has mode %04o and is open to others; chmod "
                          "600 it, and make a new key if they were not to have this one",
                          path, (unsigned)st->st_mode & 07777);
    return SEGUE_OK;
}

enum segue_status segue_keys_read(const char *path, struct segue_keys *out)
{
    char text[FILE_MAX + 1];
    struct stat st;
    /* Not blocking: somebody may have put a pipe there. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return segue_fail_errno(errno == ENOENT ? SEGUE_E_NOT_FOUND : SEGUE_E_SYSTEM,
                                errno, "cannot open the key file %.200s", path);
    enum segue_status status = SEGUE_OK;
    size_t len = 0;
    if (fstat(fd, &st) < 0)
        status = segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot look at %.200s", path);
    else
        status = check_owner(&st, path);
    while (status >= 0 && len < sizeof text) {
        ssize_t n = read(fd, text + len, sizeof text - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot read %.200s", path);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (status >= 0)
        status = len <= FILE_MAX ? segue_keys_parse(text, len, path, out)
                                 : segue_fail(SEGUE_E_INVALID,
                                              "%.200s is too long for a key file", path);
    OPENSSL_cleanse(text, sizeof text);
    return status;
}

static bool write_all(int fd, const char *text, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = write(fd, text + sent, len - sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return fsync(fd) == 0;
}

enum segue_status segue_keys_write(const char *path, const struct segue_keys *keys,
                                   bool replace)
{
    char text[FILE_MAX], temporary[4096];
    int n = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return segue_fail(SEGUE_E_INVALID, "the path of the key file is too long: %.200s",
                          path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* of mode 0600 */
    if (fd < 0)
        return segue_fail_errno(SEGUE_E_SYSTEM, errno, "cannot make the key file %.200s",
                                path);
    size_t len = print(keys, text, sizeof text);
    bool good = write_all(fd, text, len);
    OPENSSL_cleanse(text, sizeof text);
    if (good)
        good = (replace ? rename(temporary, path) : link(temporary, path)) == 0;
    int err = errno;
    close(fd);
    if (!good || !replace)
        unlink(temporary);
    if (good)
        return SEGUE_OK;
    if (err == EEXIST)
        return segue_fail(SEGUE_E_BUSY, "there is a file %.200s already", path);
    return segue_fail_errno(SEGUE_E_SYSTEM, err, "cannot write the key file %.200s",
                            path);
}

/* ---- public ---- */

enum segue_status segue_key_file_make(const char *path)
{
    struct segue_keys keys = {.n = 1};
    segue_key_random(&keys.key[0]);
    enum segue_status status = segue_keys_write(path, &keys, false);
    segue_keys_wipe(&keys);
    return status;
}

enum segue_status segue_key_file_read(const char *path,
                                      struct segue_key_info out[SEGUE_KEYS_MAX],
                                      size_t *n)
{
    struct segue_keys keys = {0};
    SEGUE_TRY(segue_keys_read(path, &keys));
    for (size_t i = 0; i < keys.n; i++) {
        out[i].role = keys.key[i].role;
        segue_key_id_text(keys.key[i].id, out[i].id);
        for (size_t k = 0; k < SEGUE_KEY_BYTES; k++)
            snprintf(out[i].secret + 2 * k, 3, "%02x", keys.key[i].secret[k]);
    }
    *n = keys.n;
    segue_keys_wipe(&keys);
    return SEGUE_OK;
}

static void step(struct segue_keys *keys)
{
    if (keys->n == 1) {
        segue_key_random(&keys->key[1]);
        keys->key[1].role = SEGUE_KEY_NEXT;
        keys->n = 2;
    } else if (keys->key[1].role == SEGUE_KEY_NEXT) {
        struct segue_key old = keys->key[0];
        keys->key[0] = keys->key[1];
        keys->key[0].role = SEGUE_KEY_CURRENT;
        keys->key[1] = old;
        keys->key[1].role = SEGUE_KEY_PREVIOUS;
        OPENSSL_cleanse(&old, sizeof old);
    } else {
        keys->n = 1;
    }
}

enum segue_status segue_key_file_rotate(const char *path)
{
    struct segue_keys keys = {0};
    SEGUE_TRY(segue_keys_read(path, &keys));
    step(&keys);
    enum segue_status status = segue_keys_write(path, &keys, true);
    segue_keys_wipe(&keys);
    return status;
}
