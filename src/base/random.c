/* SPDX-License-Identifier: Apache-2.0 */
/* getrandom, until all bytes are there. */
#include "base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void segue_random_fill(void *out, size_t n)
{
    for (unsigned char *at = out; n > 0;) {
        ssize_t got = getrandom(at, n, 0);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        } else if (errno != EINTR) {
            perror("segue: getrandom");
            abort();
        }
    }
}

uint64_t segue_random_u64(void)
{
    uint64_t v;
    segue_random_fill(&v, sizeof v);
    return v;
}
