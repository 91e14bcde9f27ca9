/* SPDX-License-Identifier: Apache-2.0 */
/* What the router reads in the answers of engines, whatever they send: what it takes out of an answer is JSON by itself,
 * lies inside the answer, and an answer is never both a verdict and no error. */
#include "base/json.h"
#include "openai/answer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segue_slice params;
    struct segue_json_value value;
    char *copy = malloc(size ? size : 1); /* exactly as long, for the sanitizer */
    memcpy(copy, data, size);
    if (segue_answer_params(copy, size, &params) >= 0 && params.len) {
        must(params.data >= copy && params.len <= size - (size_t)(params.data - copy));
        must(segue_json_parse(params.data, params.len, &value, NULL) >= 0 &&
             value.type == SEGUE_JSON_OBJECT);
    }
    enum segue_verdict verdict = segue_answer_verdict(copy, size);
    must(verdict < SEGUE_VERDICT_COUNT && verdict != SEGUE_VERDICT_VALID);
    must(segue_answer_verdict_name(verdict) != NULL);
    segue_answer_is_error(copy, size);
    free(copy);
    return 0;
}
