/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of the llama architecture: its configuration and its weights, which stay
 * quantized and, but for the rows of Wq and Wk, inside the mapped file.
 *
 * Wq and Wk are put into half-split rotary order (dimension i turns with i + head_dim/2),
 * so that a cached K row has the bytes vLLM would hold; GGUF stores the interleaved
 * order. Constant after opening: any number of threads may read it.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "gguf.h"

struct model_config {
    uint32_t layers, d_model, ffn, heads, kv_heads, head_dim;
    uint32_t context; /* tokens the model was trained for */
    uint32_t vocab;
    float rope_base, rms_eps;
    /* Partial sums of the output projections are formed per shard and added in shard
     * order whatever the tensor-parallel split, so that no token depends on it. One shard
     * a KV head; 1 where the quantized blocks do not split so (TP 1 only). */
    uint32_t shards;
};

/* y = W x with W of `rows` x `cols`; a row is `row_bytes` long and contiguous. */
struct matrix {
    enum tensor_type type;
    uint32_t rows, cols;
    size_t row_bytes;
    const uint8_t *data;
};

struct model_layer {
    const float *attn_norm, *ffn_norm; /* [d_model] */
    struct matrix q;                   /* [heads * head_dim][d_model] */
    struct matrix k, v;                /* [kv_heads * head_dim][d_model] */
    struct matrix o;                   /* [d_model][heads * head_dim] */
    struct matrix gate, up;            /* [ffn][d_model] */
    struct matrix down;                /* [d_model][ffn] */
};

struct model {
    struct model_config config;
    struct gguf *gguf;         /* for the tokenizer; closed by model_close */
    uint64_t fingerprint;      /* hash of the whole file: equal means the same model */
    struct matrix embedding;   /* [vocab][d_model] */
    struct matrix output;      /* the same as embedding when the file has no own one */
    const float *output_norm;  /* [d_model] */
    const float *rope_factors; /* [head_dim/2], multiplied into the inverse frequency */
    struct model_layer *layer; /* [layers] */
    void *memory;              /* private: what does not live in the file */
};

/* Opens the GGUF at path and checks every tensor against the configuration. The caller
 * owns *out (model_close). -1: not readable, malformed, an architecture other than llama,
 * a missing tensor, or one of a wrong shape or type: the sentence names it. */
int model_open(struct model **out, const char *path);

/* The same for a GGUF already open; takes it over when it succeeds, else it stays the
 * caller's. */
int model_from_gguf(struct model **out, struct gguf *gguf);

void model_close(struct model *model); /* NULL is allowed */

#endif
