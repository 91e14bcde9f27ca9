/* SPDX-License-Identifier: Apache-2.0 */
/* SEGUE_LOG's words, from any bytes. */
#include "base/log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop(void *user, enum segue_log_level level, const char *area,
                 const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *spec = malloc(size + 1);
    if (!spec)
        abort();
    memcpy(spec, data, size);
    spec[size] = 0;
    segue_log_set(drop, NULL);
    segue_log_open(spec);
    free(spec);
    return 0;
}
