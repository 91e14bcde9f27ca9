/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wire bytes: a writer into memory of a fixed size and a reader that never leaves it.
 *
 * Both are plain structs on the caller's stack and allocate nothing. The first step that
 * does not fit sets `failed`, and every later one does nothing and yields zeros, so a
 * codec is a straight list of fields with one check at its end. Numbers are
 * little-endian. What a reader returns as a span is borrowed from the bytes it reads.
 * Thread: each writer and reader belongs to one thread at a time.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes, and borrowed text (not NUL-terminated). */
struct segue_bytes {
    const uint8_t *data;
    size_t len;
};
struct segue_str {
    const char *data;
    size_t len;
};

struct segue_writer {
    uint8_t *data;
    size_t cap, len;
    bool failed;
};

struct segue_reader {
    const uint8_t *data;
    size_t len, at;
    bool failed;
};

static inline struct segue_writer segue_writer_make(void *data, size_t cap)
{
    return (struct segue_writer){.data = data, .cap = cap};
}

static inline struct segue_reader segue_reader_make(const void *data, size_t len)
{
    return (struct segue_reader){.data = data, .len = len};
}

/* What: the next n bytes to write to, or NULL (and failed) when they do not fit. */
static inline uint8_t *segue_writer_take(struct segue_writer *w, size_t n)
{
    if (w->failed || n > w->cap - w->len) {
        w->failed = true;
        return NULL;
    }
    uint8_t *at = w->data + w->len;
    w->len += n;
    return at;
}

static inline void segue_writer_bytes(struct segue_writer *w, const void *data, size_t n)
{
    uint8_t *at = segue_writer_take(w, n);
    if (at && n)
        memcpy(at, data, n);
}

static inline void segue_writer_u8(struct segue_writer *w, uint8_t v)
{
    segue_writer_bytes(w, &v, sizeof v);
}

static inline void segue_writer_u16(struct segue_writer *w, uint16_t v)
{
    v = htole16(v);
    segue_writer_bytes(w, &v, sizeof v);
}

static inline void segue_writer_u32(struct segue_writer *w, uint32_t v)
{
    v = htole32(v);
    segue_writer_bytes(w, &v, sizeof v);
}

static inline void segue_writer_u64(struct segue_writer *w, uint64_t v)
{
    v = htole64(v);
    segue_writer_bytes(w, &v, sizeof v);
}

/* What: a u16 length and the bytes. Fails beyond 65535 bytes. */
static inline void segue_writer_bytes16(struct segue_writer *w, const void *data,
                                        size_t n)
{
    if (n > UINT16_MAX) {
        w->failed = true;
        return;
    }
    segue_writer_u16(w, (uint16_t)n);
    segue_writer_bytes(w, data, n);
}

/* What: as bytes16, from a C string; NULL is written as the empty one. */
static inline void segue_writer_str16(struct segue_writer *w, const char *text)
{
    segue_writer_bytes16(w, text, text ? strlen(text) : 0);
}

/* What: leaves n zero bytes to be filled in later and returns their offset. */
static inline size_t segue_writer_reserve(struct segue_writer *w, size_t n)
{
    size_t at = w->len;
    uint8_t *room = segue_writer_take(w, n);
    if (room && n)
        memset(room, 0, n);
    return at;
}

/* What: writes a number over bytes reserved at `at`. Does nothing once failed. */
static inline void segue_writer_patch_u32(struct segue_writer *w, size_t at, uint32_t v)
{
    if (w->failed || at > w->len || w->len - at < sizeof v) {
        w->failed = true;
        return;
    }
    v = htole32(v);
    memcpy(w->data + at, &v, sizeof v);
}

/* What: how many bytes are still unread; 0 once failed. */
static inline size_t segue_reader_left(const struct segue_reader *r)
{
    return r->failed ? 0 : r->len - r->at;
}

/* What: true when nothing failed and every byte was read: the check at a codec's end. */
static inline bool segue_reader_done(const struct segue_reader *r)
{
    return !r->failed && r->at == r->len;
}

/* What: the next n bytes, or NULL (and failed) when there are fewer. Borrowed. */
static inline const uint8_t *segue_reader_take(struct segue_reader *r, size_t n)
{
    if (r->failed || n > r->len - r->at) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->data + r->at;
    r->at += n;
    return at;
}

/* What: copies the next n bytes out; zeros when there are fewer. */
static inline void segue_reader_copy(struct segue_reader *r, void *out, size_t n)
{
    const uint8_t *at = segue_reader_take(r, n);
    if (!n)
        return;
    if (at)
        memcpy(out, at, n);
    else
        memset(out, 0, n);
}

static inline uint8_t segue_reader_u8(struct segue_reader *r)
{
    uint8_t v;
    segue_reader_copy(r, &v, sizeof v);
    return v;
}

static inline uint16_t segue_reader_u16(struct segue_reader *r)
{
    uint16_t v;
    segue_reader_copy(r, &v, sizeof v);
    return le16toh(v);
}

static inline uint32_t segue_reader_u32(struct segue_reader *r)
{
    uint32_t v;
    segue_reader_copy(r, &v, sizeof v);
    return le32toh(v);
}

static inline uint64_t segue_reader_u64(struct segue_reader *r)
{
    uint64_t v;
    segue_reader_copy(r, &v, sizeof v);
    return le64toh(v);
}

/* What: a u16 length and that many bytes; {NULL, 0} once failed. Borrowed. */
static inline struct segue_bytes segue_reader_bytes16(struct segue_reader *r)
{
    size_t n = segue_reader_u16(r);
    const uint8_t *at = segue_reader_take(r, n);
    return (struct segue_bytes){at, at ? n : 0};
}

/* What: as bytes16, for text. A NUL inside fails it, so that a copy of it with a NUL at
 * its end is the same text. Not checked for UTF-8. Borrowed. */
static inline struct segue_str segue_reader_str16(struct segue_reader *r)
{
    struct segue_bytes b = segue_reader_bytes16(r);
    if (b.len && memchr(b.data, 0, b.len)) {
        r->failed = true;
        b = (struct segue_bytes){NULL, 0};
    }
    return (struct segue_str){(const char *)b.data, b.len};
}

/* What: a str16 copied into `out` with a NUL at its end; fails when it is longer than
 * cap - 1 bytes. `out` is "" once failed. cap >= 1. */
static inline void segue_reader_str16_copy(struct segue_reader *r, char *out, size_t cap)
{
    struct segue_str s = segue_reader_str16(r);
    if (s.len >= cap) {
        r->failed = true;
        s.len = 0;
    }
    if (s.len)
        memcpy(out, s.data, s.len);
    out[s.len] = 0;
}

/* What: a reader over exactly the next n bytes, which this one has then passed; a failed
 * one (and this one failed too) when there are fewer. */
static inline struct segue_reader segue_reader_sub(struct segue_reader *r, size_t n)
{
    const uint8_t *at = segue_reader_take(r, n);
    return (struct segue_reader){.data = at, .len = at ? n : 0, .failed = !at};
}

#endif
