/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a client sends: what passes the scan comes out as JSON for both engines, with
 * our parameters and none of the client's. */
#include "base/json.h"
#include "openai/body.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct segue_slice ours = {"{\"ours\":1}", 10};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The rewritten body as one object; the caller frees `text`. */
static struct segue_json_value parsed(const struct segue_rewrite *rewrite, char **text)
{
    struct segue_json_value root;
    size_t len = 0;
    *text = malloc(rewrite->len + 1);
    for (unsigned i = 0; i < rewrite->count; i++) {
        memcpy(*text + len, rewrite->slice[i].data, rewrite->slice[i].len);
        len += rewrite->slice[i].len;
    }
    must(len == rewrite->len && rewrite->count <= SEGUE_BODY_SLICES);
    must(segue_json_parse(*text, len, &root, NULL) >= 0 &&
         root.type == SEGUE_JSON_OBJECT);
    return root;
}

static size_t count(struct segue_json_value root, const char *key)
{
    struct segue_json_value value;
    return segue_json_find(root, key, &value);
}

static void check_prefill(const struct segue_body *body, struct segue_rewrite *out)
{
    char *text;
    segue_body_for_prefill(body, out);
    struct segue_json_value root = parsed(out, &text), value;
    must(count(root, "stream") == 1 && count(root, "max_tokens") == 1);
    must(count(root, "min_tokens") == 0 && count(root, "stream_options") == 0);
    must(segue_json_find(root, "kv_transfer_params", &value) == 1);
    must(count(value, "do_remote_decode") == 1);
    free(text);
}

static void check_decode(const struct segue_body *body, struct segue_rewrite *out)
{
    char *text;
    struct segue_json_value value;
    segue_body_for_decode(body, ours, out);
    must(segue_json_find(parsed(out, &text), "kv_transfer_params", &value) == 1);
    must(value.len == ours.len && memcmp(value.data, ours.data, ours.len) == 0);
    free(text);
    segue_body_for_nobody(body, ours, out);
    must(segue_json_find(parsed(out, &text), "kv_transfer_params", &value) == 1);
    must(value.len == ours.len);
    free(text);
    segue_body_for_decode(body, (struct segue_slice){0}, out);
    must(count(parsed(out, &text), "kv_transfer_params") == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct segue_body body;
    static struct segue_rewrite out;
    char *copy = malloc(size ? size : 1); /* exactly as long, for the sanitizer */
    memcpy(copy, data, size);
    if (segue_body_scan(&body, copy, size) >= 0) {
        check_prefill(&body, &out);
        check_decode(&body, &out);
    }
    free(copy);
    return 0;
}
