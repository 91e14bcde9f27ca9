/* SPDX-License-Identifier: Apache-2.0 */
/* Between tls.c and socket.c. */
#ifndef BASE_TLS_INSIDE_H
#define BASE_TLS_INSIDE_H

#include "base/tls.h"

#include <openssl/ssl.h>
#include <pthread.h>

#define SEGUE_TLS_RECORD 16384 /* the longest plaintext of a record, RFC 8446 5.1 */

struct segue_tls {
    SSL *ssl;
    int fd;
    bool server, proved;
    struct segue_keys keys;
    char identity[9];
    pthread_mutex_t lock;            /* an SSL is for one thread at a time */
    uint8_t plain[SEGUE_TLS_RECORD]; /* the record being made */
    /* Records that count as sent, and have not all been taken by the fd. */
    uint8_t *out;
    size_t out_cap, out_len, out_sent;
};

/* What: gives the fd what it takes of them. OK: it has them all. With the lock. */
enum segue_status segue_tls_flush(struct segue_tls *tls);

#endif
