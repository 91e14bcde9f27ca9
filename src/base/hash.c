/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64 of the system's libxxhash. */
#include "base/hash.h"

uint64_t segue_hash64(const void *data, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(n ? data : "", n, seed);
}

void segue_hash64_begin(struct segue_hash64 *hash, uint64_t seed)
{
    XXH3_INITSTATE(&hash->state);
    XXH3_64bits_reset_withSeed(&hash->state, seed);
}

void segue_hash64_add(struct segue_hash64 *hash, const void *data, size_t n)
{
    if (n)
        XXH3_64bits_update(&hash->state, data, n);
}

uint64_t segue_hash64_end(const struct segue_hash64 *hash)
{
    return XXH3_64bits_digest(&hash->state);
}
