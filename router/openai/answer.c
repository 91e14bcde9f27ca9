/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the answers of engines. */
#include "openai/answer.h"

#include "base/json.h"

#include <string.h>

static const struct {
    const char *code;
    bool again;
} verdicts[] = {
#define VERDICT_ROW(id, text, prefill_again) {.code = (text), .again = (prefill_again)},
    SEGUE_VERDICT_MAP(VERDICT_ROW)
#undef VERDICT_ROW
};

const char *segue_answer_verdict_name(enum segue_verdict verdict)
{
    const char *code = verdicts[verdict].code;
    return strncmp(code, "kv_", 3) == 0 ? code + 3 : code;
}

bool segue_verdict_again(enum segue_verdict verdict)
{
    return verdicts[verdict].again;
}

enum segue_verdict segue_answer_verdict(const char *data, size_t len)
{
    struct segue_json_value root, error, code;
    if (segue_json_parse(data, len, &root, NULL) < 0 ||
        segue_json_find(root, "error", &error) == 0 ||
        segue_json_find(error, "code", &code) == 0)
        return SEGUE_VERDICT_NONE;
    for (int i = SEGUE_VERDICT_STALE; i < SEGUE_VERDICT_COUNT; i++)
        if (segue_json_equals(code, verdicts[i].code))
            return (enum segue_verdict)i;
    return SEGUE_VERDICT_NONE;
}

enum segue_status segue_answer_params(const char *data, size_t len,
                                      struct segue_slice *params)
{
    struct segue_json_value root, value;
    *params = (struct segue_slice){0};
    SEGUE_TRY(segue_json_parse(data, len, &root, NULL));
    if (root.type != SEGUE_JSON_OBJECT)
        return segue_fail(SEGUE_E_INVALID, "the prefill engine's answer is no object");
    if (segue_json_find(root, "kv_transfer_params", &value) == 0 ||
        value.type == SEGUE_JSON_NULL)
        return SEGUE_OK;
    if (value.type != SEGUE_JSON_OBJECT)
        return segue_fail(SEGUE_E_INVALID,
                          "the prefill engine's kv_transfer_params is no object");
    *params = (struct segue_slice){value.data, value.len};
    return SEGUE_OK;
}

bool segue_answer_is_error(const char *data, size_t len)
{
    struct segue_json_value root, error;
    return segue_json_parse(data, len, &root, NULL) >= 0 &&
           segue_json_find(root, "error", &error) != 0 && error.type == SEGUE_JSON_OBJECT;
}
