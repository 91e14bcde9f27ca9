/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer's tables: token to bytes, byte to token, the special tokens by their
 * first byte, and, while it is being opened, text to token. */
#ifndef ENGINE_VOCABULARY_H
#define ENGINE_VOCABULARY_H

#include "tokenizer.h"

struct vocabulary_table {
    size_t count, longest;
    unsigned char *kinds;
    size_t *starts;                /* count + 1 offsets into bytes */
    char *bytes;                   /* what each token stands for */
    uint32_t byte_ids[256];        /* TOKEN_NONE: no token for that byte */
    uint32_t *specials;            /* ids by first byte, the longest text first */
    size_t special_at[257];        /* where each first byte begins in specials */
    const struct gguf_text *texts; /* until sealed; borrowed */
    uint32_t *index;               /* until sealed; hash slots */
    size_t index_mask;
};

int vocabulary_open(struct vocabulary_table *table, const struct vocabulary *vocabulary);
/* What: gives back what only opening needs; vocabulary_find is over. */
void vocabulary_seal(struct vocabulary_table *table);
void vocabulary_close(struct vocabulary_table *table);

/* What: the token with this text, as the file spells it. */
bool vocabulary_find(const struct vocabulary_table *table, const char *text,
                     size_t length, uint32_t *id);

/* What: the longest special token that `text` begins with: its bytes, 0 for none. */
size_t vocabulary_special(const struct vocabulary_table *table, const char *text,
                          size_t length, uint32_t *id);

#endif
