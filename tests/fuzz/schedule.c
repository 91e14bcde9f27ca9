/* SPDX-License-Identifier: Apache-2.0 */
/* Fault schedules of any text: refused with a sentence, or taken as rules that keep nothing of the text. */
#include "base/fault.h"

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
    static const struct segue_fault_step steps[] = {
        {"send:claim", SEGUE_FAULT_STEP | SEGUE_FAULT_FRAME | SEGUE_FAULT_STREAM},
        {"mid-copy", SEGUE_FAULT_STEP | SEGUE_FAULT_BYTES},
        {"arrived", SEGUE_FAULT_ARRIVED},
        {0},
    };
    static const char *const all[] = {"send:claim", "mid-copy", "arrived", NULL};
    struct segue_faults *faults;
    char *copy = malloc(size ? size : 1); /* exactly as long, for the sanitizer */
    memcpy(copy, data, size);
    enum segue_status status = segue_faults_parse(copy, size, "d", steps, &faults);
    free(copy); /* nothing of it is kept */
    if (status < 0) {
        must(strstr(segue_error_detail(), "fault schedule") != NULL);
        return 0;
    }
    /* Nothing fires: a kill would end the fuzzer. */
    segue_faults_name(faults, all);
    segue_faults_release(faults);
    return 0;
}
