/* SPDX-License-Identifier: Apache-2.0 */
/* What the parser of GGUF files leaves for the look-ups. Included by gguf*.c only. */
#ifndef ENGINE_GGUF_INSIDE_H
#define ENGINE_GGUF_INSIDE_H

#include "gguf.h"

struct gguf_entry {
    struct gguf_text key;
    enum gguf_kind kind;
    const uint8_t *at;       /* the value: a number, or a string's length and bytes */
    struct gguf_array array; /* of an array */
};

struct gguf {
    const uint8_t *bytes;
    size_t size;
    bool mapped;
    char *name; /* for sentences */
    size_t n_entries, n_tensors;
    struct gguf_entry *entries;  /* sorted by key */
    struct gguf_tensor *tensors; /* sorted by name */
};

int gguf_text_compare(struct gguf_text a, struct gguf_text b);

#endif
