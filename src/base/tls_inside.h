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
    pthread_mutex_t lock; /* an SSL is for one thread at a time */
    /* Counts as sent, and has not been taken by the fd. */
    uint8_t pending[SEGUE_TLS_RECORD];
    size_t pending_len;
};

#endif
