/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a text in three steps: special tokens first, then pieces by the pre-tokenizer's
 * pattern, then byte-pair merging inside each piece.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer.h"
#include "bpe.h"
#include "fail.h"
#include "utf8.h"
#include "vocabulary.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Unicode's White_Space; PCRE2's \s has U+180E too. For use inside [ ]. */
#define SPACES                                                                           \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"                                 \
    "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* GPT-2's pattern, with what a digit is and what may follow a run of spaces left open. */
#define WORDS       "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+|"
#define MARKS       "| ?[^" SPACES "\\p{L}\\p{N}]+|"
#define BLANKS(end) "[" SPACES "]+" end "|[" SPACES "]+"

static const struct {
    const char *pre, *pattern;
} patterns[] = {
    {"gpt-2", WORDS " ?\\p{N}+" MARKS BLANKS("(?![^" SPACES "])")},
    /* Digits are cut out one by one before GPT-2's pattern sees the text between them, so
     * that a digit ends a run of spaces as the end of the text does. */
    {"smollm", WORDS "\\p{N}" MARKS BLANKS("(?![^" SPACES "\\p{N}])")},
};

struct tokenizer {
    struct vocabulary_table table;
    struct bpe *bpe;
    pcre2_code *pattern;
    uint32_t bos, eos;
    bool add_bos;
};

/* The ids collected so far, and the memory one merge needs. */
struct encoding {
    const struct tokenizer *tokenizer;
    pcre2_match_data *match;
    uint32_t *ids, *scratch;
    size_t count, room, scratch_room;
};

static bool is(struct gguf_text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

static int compile(struct tokenizer *tokenizer, struct gguf_text pre)
{
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (!is(pre, patterns[i].pre))
            continue;
        int code;
        PCRE2_SIZE at;
        tokenizer->pattern = pcre2_compile((PCRE2_SPTR)patterns[i].pattern,
                                           PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                           &code, &at, NULL);
        if (tokenizer->pattern == NULL)
            return engine_fail("the pattern of the pre-tokenizer %s does not compile",
                               patterns[i].pre);
        return 0;
    }
    return engine_fail("the model's pre-tokenizer '%.*s' is not known here; gpt-2 and "
                       "smollm are",
                       (int)(pre.len < 64 ? pre.len : 64), pre.at);
}

static int add_merges(struct tokenizer *tokenizer, const struct vocabulary *vocabulary)
{
    const struct vocabulary_table *table = &tokenizer->table;
    tokenizer->bpe = bpe_create(vocabulary->merge_count);
    if (tokenizer->bpe == NULL)
        return engine_fail("no memory for %zu merges", vocabulary->merge_count);
    char joined[512];
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        struct gguf_text merge = vocabulary->merges[i];
        /* The left part is never empty, and may not begin with the separator. */
        const char *space = merge.len < 3 ? NULL
                                          : memchr(merge.at + 1, ' ', merge.len - 2);
        if (space == NULL || merge.len > sizeof joined)
            return engine_fail("merge %zu of the tokenizer is not a pair", i);
        size_t left = (size_t)(space - merge.at), right = merge.len - left - 1;
        memcpy(joined, merge.at, left);
        memcpy(joined + left, space + 1, right);
        uint32_t ids[3];
        if (!vocabulary_find(table, merge.at, left, &ids[0]) ||
            !vocabulary_find(table, space + 1, right, &ids[1]) ||
            !vocabulary_find(table, joined, left + right, &ids[2]))
            return engine_fail(
                "merge %zu of the tokenizer names a token that is not there", i);
        bpe_add(tokenizer->bpe, ids[0], ids[1], ids[2]);
    }
    return 0;
}

int tokenizer_from_vocabulary(struct tokenizer **out, const struct vocabulary *vocabulary)
{
    struct gguf_text model = vocabulary->model;
    if (!is(model, "gpt2"))
        return engine_fail(
            "the model's tokenizer is '%.*s'; only byte-level BPE (gpt2) is "
            "known here",
            (int)(model.len < 64 ? model.len : 64), model.at);
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL)
        return engine_fail("no memory for a tokenizer");
    tokenizer->bos = vocabulary->bos;
    tokenizer->eos = vocabulary->eos;
    tokenizer->add_bos = vocabulary->add_bos && vocabulary->bos < vocabulary->token_count;
    if (vocabulary_open(&tokenizer->table, vocabulary) != 0 ||
        add_merges(tokenizer, vocabulary) != 0 ||
        compile(tokenizer, vocabulary->pre) != 0) {
        tokenizer_close(tokenizer);
        return -1;
    }
    vocabulary_seal(&tokenizer->table);
    *out = tokenizer;
    return 0;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    pcre2_code_free(tokenizer->pattern);
    bpe_destroy(tokenizer->bpe);
    vocabulary_close(&tokenizer->table);
    free(tokenizer);
}

uint32_t tokenizer_count(const struct tokenizer *tokenizer)
{
    return (uint32_t)tokenizer->table.count;
}

uint32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->eos;
}

size_t tokenizer_longest(const struct tokenizer *tokenizer)
{
    return tokenizer->table.longest;
}

static bool make_room(struct encoding *e, size_t more)
{
    if (e->room - e->count < more) {
        size_t room = (e->count + more) * 2;
        uint32_t *ids = realloc(e->ids, room * sizeof *ids);
        if (ids == NULL)
            return false;
        e->ids = ids;
        e->room = room;
    }
    if (e->scratch_room < BPE_SCRATCH(more)) {
        free(e->scratch);
        e->scratch = malloc(BPE_SCRATCH(more) * sizeof *e->scratch);
        e->scratch_room = e->scratch == NULL ? 0 : BPE_SCRATCH(more);
    }
    return e->scratch_room >= BPE_SCRATCH(more);
}

static bool encode_piece(struct encoding *e, const char *piece, size_t length)
{
    if (length == 0)
        return true;
    if (!make_room(e, length))
        return false;
    const uint32_t *byte_ids = e->tokenizer->table.byte_ids;
    uint32_t *ids = e->ids + e->count;
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        if (byte_ids[(unsigned char)piece[i]] != TOKEN_NONE)
            ids[count++] = byte_ids[(unsigned char)piece[i]];
    e->count += bpe_merge(e->tokenizer->bpe, ids, count, e->scratch);
    return true;
}

/* `text` is valid UTF-8, which spares the pattern a look at all of it for every match. */
static bool encode_words(struct encoding *e, const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        size_t from = length, to = length;
        int n = pcre2_match(e->tokenizer->pattern, (PCRE2_SPTR)text, length, at,
                            PCRE2_NO_UTF_CHECK, e->match, NULL);
        if (n > 0) {
            const PCRE2_SIZE *found = pcre2_get_ovector_pointer(e->match);
            from = found[0];
            to = found[1];
        } else if (n != PCRE2_ERROR_NOMATCH) {
            return false;
        }
        if (!encode_piece(e, text + at, from - at) ||
            !encode_piece(e, text + from, to - from))
            return false;
        at = to;
    }
    return true;
}

/* No special token inside. */
static bool encode_plain(struct encoding *e, const char *text, size_t length)
{
    while (length > 0) {
        size_t valid = utf8_prefix(text, length);
        if (!encode_words(e, text, valid))
            return false;
        text += valid;
        length -= valid;
        if (length > 0) {
            if (!encode_piece(e, text, 1))
                return false;
            text++;
            length--;
        }
    }
    return true;
}

static bool encode_text(struct encoding *e, const char *text, size_t length)
{
    const struct vocabulary_table *table = &e->tokenizer->table;
    size_t plain = 0, at = 0;
    while (at < length) {
        uint32_t id;
        size_t found = vocabulary_special(table, text + at, length - at, &id);
        if (found == 0) {
            at++;
            continue;
        }
        if (!encode_plain(e, text + plain, at - plain) || !make_room(e, 1))
            return false;
        e->ids[e->count++] = id;
        at += found;
        plain = at;
    }
    return encode_plain(e, text + plain, length - plain);
}

static bool encode_all(struct encoding *e, const char *text, size_t length)
{
    if (e->tokenizer->add_bos) {
        if (!make_room(e, 1))
            return false;
        e->ids[e->count++] = e->tokenizer->bos;
    }
    return encode_text(e, text, length);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                     uint32_t **ids, size_t *count)
{
    struct encoding e = {.tokenizer = tokenizer};
    e.match = pcre2_match_data_create_from_pattern(tokenizer->pattern, NULL);
    bool done = length < UINT32_MAX / 8 && e.match != NULL &&
                encode_all(&e, text, length);
    pcre2_match_data_free(e.match);
    free(e.scratch);
    if (!done) {
        free(e.ids);
        return engine_fail("no memory for the tokens of a text of %zu bytes", length);
    }
    *ids = e.ids;
    *count = e.count;
    return 0;
}

struct gguf_text tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id,
                                 bool special)
{
    const struct vocabulary_table *table = &tokenizer->table;
    if (id >= table->count || (table->kinds[id] == TOKEN_CONTROL && !special))
        return (struct gguf_text){"", 0};
    return (struct gguf_text){table->bytes + table->starts[id],
                              table->starts[id + 1] - table->starts[id]};
}
