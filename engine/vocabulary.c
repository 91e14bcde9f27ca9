/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the tokenizer's tables from what the file says. */
#include "vocabulary.h"
#include "fail.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/*
 * Byte-level BPE spells each byte as one printable character: itself where it is
 * printable in Latin-1, otherwise U+0100 + how many such bytes came before it.
 */
static bool printable(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

static void spelling_to_byte(int16_t bytes[0x144])
{
    memset(bytes, 0xff, 0x144 * sizeof *bytes);
    unsigned moved = 0x100;
    for (unsigned byte = 0; byte < 256; byte++)
        bytes[printable(byte) ? byte : moved++] = (int16_t)byte;
}

/* Decodes a token's spelling; -1 when a character stands for no byte. Only one- and
 * two-byte characters occur: U+0143 is the last. */
static int64_t bytes_of(const int16_t spelling[0x144], struct gguf_text token, char *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < token.len; n++) {
        unsigned char c = (unsigned char)token.at[i];
        int length = utf8_char(token.at + i, token.len - i);
        unsigned code = c;
        if (length == 2)
            code = (c & 0x1fu) << 6 | ((unsigned char)token.at[i + 1] & 0x3fu);
        if (length < 1 || length > 2 || code >= 0x144 || spelling[code] < 0)
            return -1;
        out[n] = (char)spelling[code];
        i += (size_t)length;
    }
    return n;
}

static bool is_special(unsigned char kind)
{
    return kind == TOKEN_CONTROL || kind == TOKEN_USER;
}

static uint64_t hash(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

static uint32_t *slot_of(const struct vocabulary_table *table, const char *text,
                         size_t length)
{
    size_t at = (size_t)hash(text, length) & table->index_mask;
    for (;; at = (at + 1) & table->index_mask) {
        uint32_t id = table->index[at];
        if (id == TOKEN_NONE || (table->texts[id].len == length &&
                                 memcmp(table->texts[id].at, text, length) == 0))
            return &table->index[at];
    }
}

bool vocabulary_find(const struct vocabulary_table *table, const char *text,
                     size_t length, uint32_t *id)
{
    *id = *slot_of(table, text, length);
    return *id != TOKEN_NONE;
}

static bool allocate(struct vocabulary_table *table, size_t total)
{
    size_t slots = 16;
    while (slots < table->count * 2)
        slots *= 2;
    table->index_mask = slots - 1;
    table->kinds = malloc(table->count);
    table->starts = malloc((table->count + 1) * sizeof *table->starts);
    table->bytes = malloc(total + 1);
    table->index = malloc(slots * sizeof *table->index);
    table->specials = malloc(table->count * sizeof *table->specials);
    return table->kinds && table->starts && table->bytes && table->index &&
           table->specials;
}

static void fill_bytes(struct vocabulary_table *table)
{
    int16_t spelling[0x144];
    spelling_to_byte(spelling);
    size_t at = 0;
    for (size_t id = 0; id < table->count; id++) {
        struct gguf_text text = table->texts[id];
        table->starts[id] = at;
        int64_t n = -1;
        if (!is_special(table->kinds[id]))
            n = bytes_of(spelling, text, table->bytes + at);
        if (n < 0) { /* special tokens, and added ones, are spelled as they are */
            memcpy(table->bytes + at, text.at, text.len);
            n = (int64_t)text.len;
        }
        if ((size_t)n > table->longest)
            table->longest = (size_t)n;
        at += (size_t)n;
    }
    table->starts[table->count] = at;
    for (unsigned code = 0; code < 0x144; code++) {
        char text[2] = {(char)(0xc0 | code >> 6), (char)(0x80 | (code & 0x3f))};
        char ascii = (char)code;
        if (spelling[code] >= 0)
            vocabulary_find(table, code < 0x80 ? &ascii : text, code < 0x80 ? 1 : 2,
                            &table->byte_ids[spelling[code]]);
    }
}

static void fill_index(struct vocabulary_table *table)
{
    memset(table->index, 0xff, (table->index_mask + 1) * sizeof *table->index);
    for (size_t id = 0; id < table->count; id++) {
        uint32_t *slot = slot_of(table, table->texts[id].at, table->texts[id].len);
        if (*slot == TOKEN_NONE)
            *slot = (uint32_t)id;
    }
}

/* Compares first bytes, then lengths, the longer first. */
static int compare_specials(const void *a, const void *b, void *user)
{
    const struct gguf_text *texts = user;
    const struct gguf_text *x = &texts[*(const uint32_t *)a];
    const struct gguf_text *y = &texts[*(const uint32_t *)b];
    int first = (int)(unsigned char)x->at[0] - (int)(unsigned char)y->at[0];
    if (first != 0)
        return first;
    return x->len > y->len ? -1 : x->len < y->len;
}

static void fill_specials(struct vocabulary_table *table)
{
    size_t count = 0;
    for (size_t id = 0; id < table->count; id++)
        if (is_special(table->kinds[id]) && table->texts[id].len > 0)
            table->specials[count++] = (uint32_t)id;
    qsort_r(table->specials, count, sizeof *table->specials, compare_specials,
            (void *)table->texts);
    size_t at = 0;
    for (unsigned byte = 0; byte <= 256; byte++) {
        while (at < count &&
               (unsigned char)table->texts[table->specials[at]].at[0] < byte)
            at++;
        table->special_at[byte] = at;
    }
}

int vocabulary_open(struct vocabulary_table *table, const struct vocabulary *vocabulary)
{
    size_t total = 0;
    table->count = vocabulary->token_count;
    table->texts = vocabulary->tokens;
    if (table->count == 0 || table->count >= TOKEN_NONE)
        return engine_fail("the tokenizer has %zu tokens", table->count);
    for (size_t id = 0; id < table->count; id++)
        total += table->texts[id].len;
    if (!allocate(table, total))
        return engine_fail("no memory for a vocabulary of %zu tokens", table->count);
    memcpy(table->kinds, vocabulary->kinds, table->count);
    fill_index(table);
    fill_bytes(table);
    fill_specials(table);
    return 0;
}

void vocabulary_seal(struct vocabulary_table *table)
{
    free(table->index);
    table->index = NULL;
    table->texts = NULL;
}

void vocabulary_close(struct vocabulary_table *table)
{
    vocabulary_seal(table);
    free(table->kinds);
    free(table->starts);
    free(table->bytes);
    free(table->specials);
}

size_t vocabulary_special(const struct vocabulary_table *table, const char *text,
                          size_t length, uint32_t *id)
{
    if (length == 0)
        return 0;
    unsigned char first = (unsigned char)text[0];
    for (size_t i = table->special_at[first]; i < table->special_at[first + 1]; i++) {
        uint32_t special = table->specials[i];
        size_t n = table->starts[special + 1] - table->starts[special];
        if (n <= length && memcmp(table->bytes + table->starts[special], text, n) == 0) {
            *id = special;
            return n;
        }
    }
    return 0;
}
