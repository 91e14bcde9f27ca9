/* SPDX-License-Identifier: Apache-2.0 */
/* Spells the bytes as byte-level BPE does, independently of the code under test. */
#include "fake/vocabulary.h"
#include "fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char spelled[FAKE_TOKENS][16];
static struct gguf_text tokens[FAKE_TOKENS];
static uint8_t kinds[FAKE_TOKENS];

static void spell(unsigned byte, char *out)
{
    unsigned code = byte;
    if (!((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad)))
        code = 0x100 + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7f + 0x21 : 0x43);
    size_t n = 0;
    if (code >= 0x80)
        out[n++] = (char)(0xc0 | code >> 6);
    out[n++] = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
    out[n] = '\0';
}

struct vocabulary fake_vocabulary(const struct gguf_text *merges, size_t merge_count)
{
    static const char *const words[] = {"he",    "ll", "hell",       "\xc4\xa0he",
                                        "Ã©",    "aa", "<|im_end|>", "<|im_end|>ing",
                                        "<user>"};
    for (unsigned i = 0; i < FAKE_TOKENS; i++) {
        if (i < FAKE_BYTES)
            spell(i, spelled[i]);
        else
            strcpy(spelled[i], words[i - FAKE_BYTES]);
        tokens[i] = (struct gguf_text){spelled[i], strlen(spelled[i])};
        kinds[i] = i == USER ? TOKEN_USER : i >= IM_END ? TOKEN_CONTROL : TOKEN_NORMAL;
    }
    return (struct vocabulary){
        .model = {"gpt2", 4},
        .pre = {"smollm", 6},
        .tokens = tokens,
        .kinds = kinds,
        .token_count = FAKE_TOKENS,
        .merges = merges,
        .merge_count = merge_count,
        .bos = TOKEN_NONE,
        .eos = IM_END,
    };
}

struct tokenizer *fake_tokenizer(void)
{
    const struct gguf_text merges[] = {TEXT("h e"),   TEXT("l l"), TEXT("\xc4\xa0 he"),
                                       TEXT("he ll"), TEXT("Ã ©"), TEXT("a a")};
    struct vocabulary vocabulary = fake_vocabulary(merges, 6);
    struct tokenizer *tokenizer;
    if (tokenizer_from_vocabulary(&tokenizer, &vocabulary) != 0) {
        fprintf(stderr, "%s\n", engine_error());
        abort();
    }
    return tokenizer;
}
