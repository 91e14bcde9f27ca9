/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a control link: frame headers, hello, and the link service's own messages,
 * as docs/wire.md gives them. Pure: every function takes bytes and returns bytes; what
 * comes from a peer is bounds checked here.
 */
#ifndef AGENT_FRAME_H
#define AGENT_FRAME_H

#include <segue/status.h>
#include "base/key.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGUE_FRAME_MAX (1u << 20) /* bytes of a frame's body */

/* Services by frame type (docs/wire.md). */
enum segue_service_type {
    SEGUE_SERVICE_LINK = 0, /* hello, error, data streams */
    SEGUE_SERVICE_CACHE = 1,
    SEGUE_SERVICE_HANDOFF = 2,
    SEGUE_SERVICE_STAGE = 3,
};

/* A whole frame, as a service gets it. */
struct segue_frame {
    uint8_t service, type;
    const uint8_t *body;
    uint32_t len; /* bytes */
    int *fds;
    uint32_t n_fds;
};

/* What a peer says of itself (hello), bounds checked. */
struct segue_hello {
    uint16_t version, version_min;
    uint8_t incarnation[16], agent_id[16], boot_id[16];
    char engine_id[64];
    uint16_t data_port; /* loopback TCP port of its data listener; 0: none */
};

#define SEGUE_WIRE_VERSION     1
#define SEGUE_WIRE_VERSION_MIN 1 /* oldest that we still speak (rule R21) */
#define SEGUE_FRAME_HEAD       8 /* bytes of a frame's header */
#define SEGUE_FRAME_FDS        253
#define SEGUE_HELLO_ROOM       256 /* bytes that hold any message of ours below */
#define SEGUE_SECRET_BYTES     16
#define SEGUE_PREAMBLE_BYTES   (4 + SEGUE_SECRET_BYTES)

/* Types of the link service. Others are skipped. */
enum segue_link_type {
    SEGUE_LINK_HELLO = 1,
    SEGUE_LINK_ERROR = 2, /* why the sender closes */
    SEGUE_LINK_STREAM_ASK = 3,
    SEGUE_LINK_STREAM_GRANT = 4,
    SEGUE_LINK_STREAM_WANT = 5,
    SEGUE_LINK_PING = 6,
    SEGUE_LINK_PONG = 7,
};

struct segue_frame_head {
    uint32_t len; /* bytes of the body */
    uint8_t service, type;
    uint16_t fds;
};

void segue_frame_head_write(uint8_t out[SEGUE_FRAME_HEAD],
                            const struct segue_frame_head *head);
/* E_PROTOCOL: longer than SEGUE_FRAME_MAX, or more descriptors than one message
 * carries. */
enum segue_status segue_frame_head_read(const uint8_t in[SEGUE_FRAME_HEAD],
                                        struct segue_frame_head *head);

/* What: hello's body into `out` of SEGUE_HELLO_ROOM bytes; returns its length. */
uint32_t segue_hello_write(const struct segue_hello *hello, uint8_t *out);
/* E_PROTOCOL: no hello; E_MISMATCH: no version in common, naming both. Later fields are
 * skipped. */
enum segue_status segue_hello_read(const uint8_t *body, uint32_t len,
                                   struct segue_hello *hello);

/* Why a link is closed, told to the other side. The sentence is cut to fit. */
struct segue_link_error {
    int32_t status;
    char why[200];
};
uint32_t segue_link_error_write(const struct segue_link_error *error, uint8_t *out);
enum segue_status segue_link_error_read(const uint8_t *body, uint32_t len,
                                        struct segue_link_error *error);

/* A data stream for one transport of the link: STREAM_ASK from the side that dialled the
 * link (it dials streams too), answered by STREAM_GRANT; STREAM_WANT from the other side
 * makes it ask. A grant without a port is a refusal. */
struct segue_stream_message {
    char transport[16];
    bool secure;                        /* ASK, GRANT: under TLS; who grants decides */
    uint16_t port;                      /* GRANT only; loopback, unless the link is TCP */
    uint8_t secret[SEGUE_SECRET_BYTES]; /* GRANT only; good for one stream */
    char why[128];                      /* GRANT without port */
};
uint32_t segue_stream_message_write(enum segue_link_type type,
                                    const struct segue_stream_message *message,
                                    uint8_t *out);
enum segue_status segue_stream_message_read(enum segue_link_type type,
                                            const uint8_t *body, uint32_t len,
                                            struct segue_stream_message *message);

/* What a TCP connection is for, its first 4 bytes; under TLS the first inside. */
enum segue_opening {
    SEGUE_OPENING_NONE,  /* none of these */
    SEGUE_OPENING_DATA,  /* "SGUD": a data stream, its secret follows */
    SEGUE_OPENING_LINK,  /* "SGUL": a link, its frames follow */
    SEGUE_OPENING_TLS,   /* "SGUT": a greeting that leads to TLS */
    SEGUE_OPENING_WHERE, /* "SGUW": where is your unix socket? */
};
#define SEGUE_OPENING_BYTES 4
void segue_opening_write(enum segue_opening opening, uint8_t out[SEGUE_OPENING_BYTES]);
enum segue_opening segue_opening_read(const uint8_t in[SEGUE_OPENING_BYTES]);

/* What both ends of a connection say in the clear before TLS begins: the ids of their
 * keys, so that each can name the other's when they have none in common. */
#define SEGUE_GREETING_BYTES                                                             \
    (SEGUE_OPENING_BYTES + 2 + SEGUE_KEYS_MAX * SEGUE_KEY_ID_BYTES)
void segue_greeting_write(const struct segue_keys *keys,
                          uint8_t out[SEGUE_GREETING_BYTES]);
/* What: moves the first of our keys that the peer has too to `common`. E_PROTOCOL (no
 * greeting), E_MISMATCH (of a later version), E_AUTH naming the keys of both. */
enum segue_status segue_greeting_read(const uint8_t in[SEGUE_GREETING_BYTES],
                                      const struct segue_keys *keys,
                                      struct segue_keys *common);

/* The first bytes on a data stream. */
void segue_preamble_write(const uint8_t secret[SEGUE_SECRET_BYTES],
                          uint8_t out[SEGUE_PREAMBLE_BYTES]);
/* What: whether they are a preamble; the secret is copied out. */
bool segue_preamble_read(const uint8_t in[SEGUE_PREAMBLE_BYTES],
                         uint8_t secret[SEGUE_SECRET_BYTES]);

#endif
