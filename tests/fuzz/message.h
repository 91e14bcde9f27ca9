/* SPDX-License-Identifier: Apache-2.0 */
/* One decoder of a file that has several: -DMESSAGE="name" makes a target of it, so that each has a corpus and a share of
 * the time for itself. */
#ifndef TESTS_FUZZ_MESSAGE_H
#define TESTS_FUZZ_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct message {
    const char *name;
    void (*one)(const uint8_t *body, uint32_t len);
};

static inline void must(int holds)
{
    if (!holds)
        abort();
}

static inline int message_run(const struct message *messages, const uint8_t *data,
                              size_t size)
{
    while (strcmp(messages->name, MESSAGE) != 0)
        messages++;
    messages->one(data, (uint32_t)size);
    return 0;
}

#endif
