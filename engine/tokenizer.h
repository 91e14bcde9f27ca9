/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to token ids and back: byte-level BPE as GGUF files describe it ("gpt2"), with
 * special tokens recognised in the text. Constant once open: any thread.
 */
#ifndef ENGINE_TOKENIZER_H
#define ENGINE_TOKENIZER_H

#include "gguf.h"

struct tokenizer;

/* GGUF's tokenizer.ggml.token_type */
enum token_kind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3, /* recognised in prompts, no text of its own in answers */
    TOKEN_USER = 4,    /* recognised in prompts, plain text in answers */
};

#define TOKEN_NONE UINT32_MAX

/* What a file says about its tokenizer; borrowed for the call. */
struct vocabulary {
    struct gguf_text model;         /* tokenizer.ggml.model */
    struct gguf_text pre;           /* tokenizer.ggml.pre */
    const struct gguf_text *tokens; /* as the file spells them */
    const uint8_t *kinds;           /* one a token */
    size_t token_count;
    const struct gguf_text *merges; /* "left right"; the first is done first */
    size_t merge_count;
    uint32_t bos, eos; /* TOKEN_NONE: the file names none */
    bool add_bos;      /* a prompt in text begins with bos */
};

/* The caller owns *out (tokenizer_close); nothing is borrowed from gguf after the call.
 * -1: a kind of tokenizer or pre-tokenizer that is not known here, or a table that does
 * not fit together; the sentence names it. */
int tokenizer_open(struct tokenizer **out, const struct gguf *gguf);
int tokenizer_from_vocabulary(struct tokenizer **out,
                              const struct vocabulary *vocabulary);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is allowed */

uint32_t tokenizer_count(const struct tokenizer *tokenizer);
uint32_t tokenizer_eos(const struct tokenizer *tokenizer); /* TOKEN_NONE: none */

/* The bytes of the longest token: a text of n bytes has at least n / this tokens. */
size_t tokenizer_longest(const struct tokenizer *tokenizer);

/* The ids of a text, which need not be valid UTF-8. *ids is the caller's to free. Bytes
 * that the vocabulary has no token for are left out, as the reference implementation
 * does. Time grows with length x log(length) whatever the text is. -1: no memory. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                     uint32_t **ids, size_t *count);

/* The bytes one token stands for, which may be a part of a character; borrowed. A control
 * token has none unless `special`. An id that is none gives 0 bytes. */
struct gguf_text tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id,
                                 bool special);

#endif
