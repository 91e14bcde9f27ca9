/* SPDX-License-Identifier: Apache-2.0 */
/* A small vocabulary for tests and fuzz targets: every byte, a few merges, special tokens. */
#ifndef FAKE_VOCABULARY_H
#define FAKE_VOCABULARY_H

#include "tokenizer.h"

enum { FAKE_BYTES = 256, FAKE_TOKENS = FAKE_BYTES + 9 };

/* Ids 0-255 are the bytes, here in the order of their values. */
enum {
    HE = FAKE_BYTES,
    LL,
    HELL,
    SPACE_HE,
    E_ACUTE, /* the two bytes of U+00E9 */
    AA,
    IM_END,    /* <|im_end|>, control */
    IM_ENDING, /* <|im_end|>ing, control, longer */
    USER,      /* <user>, user-defined */
};

#define TEXT(s) ((struct gguf_text){s, sizeof(s) - 1})

/* The tables behind it are shared: one at a time. */
struct vocabulary fake_vocabulary(const struct gguf_text *merges, size_t merge_count);

/* With the merges that the names above say. Aborts when it cannot be opened. */
struct tokenizer *fake_tokenizer(void);

#endif
