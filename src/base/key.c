/* SPDX-License-Identifier: Apache-2.0 */
/* What is computed from a key: its id, the keys of its purposes, proofs. */
#include "base/key_inside.h"
#include "base/random.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHA256_BYTES 32
_Static_assert(SEGUE_KEY_BYTES == SHA256_BYTES, "a derived key is one digest");

/* Going on with a key or a proof that is none would be worse than ending here. */
static void hmac(const uint8_t key[SEGUE_KEY_BYTES], const void *data, size_t len,
                 uint8_t out[SHA256_BYTES])
{
    unsigned n = 0;
    if (!HMAC(EVP_sha256(), key, SEGUE_KEY_BYTES, data, len, out, &n) ||
        n != SHA256_BYTES) {
        fprintf(stderr, "segue: the crypto library cannot compute HMAC-SHA256\n");
        abort();
    }
}

void segue_key_derive(const struct segue_key *key, const char *purpose,
                      uint8_t out[SEGUE_KEY_BYTES])
{
    hmac(key->secret, purpose, strlen(purpose), out);
}

void segue_key_mac(const struct segue_key *key, const char *purpose, const void *data,
                   size_t len, uint8_t out[SEGUE_MAC_BYTES])
{
    uint8_t derived[SEGUE_KEY_BYTES], whole[SHA256_BYTES];
    segue_key_derive(key, purpose, derived);
    hmac(derived, data, len, whole);
    memcpy(out, whole, SEGUE_MAC_BYTES);
    OPENSSL_cleanse(derived, sizeof derived);
}

bool segue_mac_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void segue_key_identify(struct segue_key *key)
{
    uint8_t whole[SHA256_BYTES];
    segue_key_derive(key, "segue key id 1", whole);
    memcpy(key->id, whole, sizeof key->id);
}

void segue_key_random(struct segue_key *key)
{
    *key = (struct segue_key){.role = SEGUE_KEY_CURRENT};
    segue_random_fill(key->secret, sizeof key->secret);
    segue_key_identify(key);
}

void segue_keys_wipe(struct segue_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
}

const struct segue_key *segue_keys_find(const struct segue_keys *keys,
                                        const uint8_t id[SEGUE_KEY_ID_BYTES])
{
    for (size_t i = 0; i < keys->n; i++)
        if (memcmp(keys->key[i].id, id, SEGUE_KEY_ID_BYTES) == 0)
            return &keys->key[i];
    return NULL;
}

void segue_key_id_text(const uint8_t id[SEGUE_KEY_ID_BYTES], char out[9])
{
    snprintf(out, 9, "%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
}

void segue_keys_text(const struct segue_keys *keys, char *out, size_t cap)
{
    char id[9];
    snprintf(out, cap, "none");
    for (size_t i = 0, len = 0; i < keys->n && len < cap; i++) {
        segue_key_id_text(keys->key[i].id, id);
        len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? " or " : "", id);
    }
}
