/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 with a pre-shared key, over OpenSSL: setup, handshake, and its errors in words. */
#include "base/tls_inside.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PURPOSE "segue tls 1"
static const unsigned char suite[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256, RFC 8446 */

struct segue_tls_setup {
    SSL_CTX *context;
    BIO_METHOD *method;
};

/* ---- bytes to and from the fd, without SIGPIPE ---- */

static int bio_write(BIO *bio, const char *data, int len)
{
    struct segue_tls *tls = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    /* Records are gathered, so that many go in one system call (socket.c). */
    if (tls->proved && tls->out_cap - tls->out_len >= (size_t)len) {
        memcpy(tls->out + tls->out_len, data, (size_t)len);
        tls->out_len += (size_t)len;
        return len;
    }
    if (tls->out_len) { /* not before those */
        BIO_set_retry_write(bio);
        return -1;
    }
    do
        n = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_write(bio);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct segue_tls *tls = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    do
        n = recv(tls->fd, data, (size_t)len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    return (int)n;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

/* ---- the key as a session, as OpenSSL wants external keys ---- */

static SSL_SESSION *session_of(SSL *ssl, const struct segue_key *key)
{
    uint8_t secret[SEGUE_KEY_BYTES];
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
    SSL_SESSION *session = SSL_SESSION_new();
    segue_key_derive(key, PURPOSE, secret);
    bool good = session && cipher &&
                SSL_SESSION_set1_master_key(session, secret, sizeof secret) &&
                SSL_SESSION_set_cipher(session, cipher) &&
                SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
    OPENSSL_cleanse(secret, sizeof secret);
    if (good)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static int use_key(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
                   SSL_SESSION **session)
{
    struct segue_tls *tls = SSL_get_app_data(ssl);
    *id = NULL;
    *id_len = 0;
    *session = session_of(ssl, &tls->keys.key[0]);
    if (!*session)
        return 0;
    *id = (const unsigned char *)tls->identity;
    *id_len = strlen(tls->identity);
    return 1;
}

static int find_key(SSL *ssl, const unsigned char *id, size_t id_len,
                    SSL_SESSION **session)
{
    struct segue_tls *tls = SSL_get_app_data(ssl);
    *session = NULL;
    for (size_t i = 0; i < tls->keys.n; i++) {
        char text[sizeof tls->identity];
        segue_key_id_text(tls->keys.key[i].id, text);
        if (id_len != strlen(text) || memcmp(id, text, id_len) != 0)
            continue;
        *session = session_of(ssl, &tls->keys.key[i]);
        return *session != NULL;
    }
    return 1; /* unknown: without a certificate of ours the handshake ends here */
}

/* ---- setup ---- */

static bool configure(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_psk_use_session_callback(context, use_key);
    SSL_CTX_set_psk_find_session_callback(context, find_key);
    SSL_CTX_set_read_ahead(context, 1);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) &&
           SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") &&
           SSL_CTX_set_num_tickets(context, 0) && SSL_CTX_set_max_early_data(context, 0);
}

static enum segue_status crypto_failed(const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return segue_fail(SEGUE_E_SYSTEM, "%s: %s", what, reason ? reason : "out of memory");
}

enum segue_status segue_tls_setup_create(struct segue_tls_setup **out)
{
    struct segue_tls_setup *setup = calloc(1, sizeof *setup);
    if (!setup)
        return segue_fail(SEGUE_E_MEMORY, "no memory for TLS");
    setup->context = SSL_CTX_new(TLS_method());
    setup->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "segue");
    if (!setup->context || !setup->method || !configure(setup->context) ||
        !BIO_meth_set_write(setup->method, bio_write) ||
        !BIO_meth_set_read(setup->method, bio_read) ||
        !BIO_meth_set_ctrl(setup->method, bio_control)) {
        segue_tls_setup_destroy(setup);
        return crypto_failed("the TLS library cannot be set up");
    }
    *out = setup;
    return SEGUE_OK;
}

void segue_tls_setup_destroy(struct segue_tls_setup *setup)
{
    if (!setup)
        return;
    SSL_CTX_free(setup->context);
    BIO_meth_free(setup->method);
    free(setup);
}

/* ---- a connection ---- */

static bool begin(struct segue_tls *tls, struct segue_tls_setup *setup)
{
    tls->ssl = SSL_new(setup->context);
    BIO *bio = tls->ssl ? BIO_new(setup->method) : NULL;
    if (!bio)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    if (tls->server) {
        SSL_set_accept_state(tls->ssl);
        return true;
    }
    SSL_set_connect_state(tls->ssl);
    /* Nobody's certificate is trusted. (A server has none and asks for none.) */
    SSL_set_verify(tls->ssl, SSL_VERIFY_PEER, NULL);
    return true;
}

enum segue_status segue_tls_open(struct segue_tls_setup *setup, int fd, bool server,
                                 const struct segue_keys *keys, struct segue_tls **out)
{
    struct segue_tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return segue_fail(SEGUE_E_MEMORY, "no memory for TLS");
    tls->fd = fd;
    tls->server = server;
    tls->keys = *keys;
    segue_key_id_text(keys->key[0].id, tls->identity);
    pthread_mutex_init(&tls->lock, NULL);
    if (!begin(tls, setup)) {
        segue_tls_close(tls);
        return crypto_failed("a TLS connection cannot be made");
    }
    *out = tls;
    return SEGUE_OK;
}

void segue_tls_close(struct segue_tls *tls)
{
    if (!tls)
        return;
    if (tls->ssl && tls->proved) {
        SSL_shutdown(tls->ssl); /* best effort: what ends a stream is said inside it */
        segue_tls_flush(tls);
    }
    SSL_free(tls->ssl);
    ERR_clear_error();
    pthread_mutex_destroy(&tls->lock);
    segue_keys_wipe(&tls->keys);
    OPENSSL_cleanse(tls->plain, sizeof tls->plain);
    free(tls->out);
    free(tls);
}

/* ---- handshake ---- */

static enum segue_status no_key(const struct segue_tls *tls)
{
    char keys[40];
    segue_keys_text(&tls->keys, keys, sizeof keys);
    return segue_fail(SEGUE_E_AUTH, "the peer did not prove that it has key %s", keys);
}

static enum segue_status translate(const struct segue_tls *tls, unsigned long error)
{
    switch (ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return segue_fail(SEGUE_E_AUTH,
                          "the peer shows a certificate where it has to prove key %s",
                          tls->identity);
    case SSL_R_BINDER_DOES_NOT_VERIFY:
        return segue_fail(SEGUE_E_AUTH,
                          "the peer names a key of ours and does not have it");
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_MISSING_SIGALGS_EXTENSION:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_TLSV13_ALERT_MISSING_EXTENSION:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
        return no_key(tls);
    default:
        return segue_fail(SEGUE_E_PROTOCOL, "the TLS handshake failed: %s",
                          ERR_reason_error_string(error) ? ERR_reason_error_string(error)
                                                         : "no reason given");
    }
}

enum segue_status segue_tls_shake(struct segue_tls *tls, uint32_t *events)
{
    ERR_clear_error();
    int done = SSL_do_handshake(tls->ssl);
    if (done == 1) {
        tls->proved = SSL_session_reused(tls->ssl) == 1;
        return tls->proved ? SEGUE_OK : no_key(tls);
    }
    int err = errno;
    unsigned long error = ERR_peek_error();
    enum segue_status status;
    switch (SSL_get_error(tls->ssl, done)) {
    case SSL_ERROR_WANT_READ:
        *events = EPOLLIN;
        return SEGUE_IN_PROGRESS;
    case SSL_ERROR_WANT_WRITE:
        *events = EPOLLOUT;
        return SEGUE_IN_PROGRESS;
    case SSL_ERROR_SSL:
        status = translate(tls, error);
        break;
    default:
        status = done < 0 && err
                     ? segue_fail_errno(SEGUE_E_LOST, err,
                                        "the TLS handshake was cut off")
                     : segue_fail(SEGUE_E_LOST,
                                  "the peer closed the connection in the TLS handshake");
    }
    ERR_clear_error();
    return status;
}
