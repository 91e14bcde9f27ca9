/* SPDX-License-Identifier: Apache-2.0 */
/* Key files from any bytes: what is believed has one or two different keys, the current one first. */
#include "base/key.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segue_keys keys;
    if (segue_keys_parse((const char *)data, size, "f", &keys) < 0)
        return 0;
    if (keys.n < 1 || keys.n > SEGUE_KEYS_MAX || keys.key[0].role != SEGUE_KEY_CURRENT ||
        (keys.n == 2 &&
         (keys.key[1].role == SEGUE_KEY_CURRENT ||
          memcmp(keys.key[0].id, keys.key[1].id, SEGUE_KEY_ID_BYTES) == 0)))
        abort();
    return 0;
}
