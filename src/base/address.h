/* SPDX-License-Identifier: Apache-2.0 */
/* Network addresses as text: HOST:PORT, [2001:db8::1]:PORT. Pure, but the resolver. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segue_address {
    char host[64]; /* without brackets */
    uint16_t port;
};

/* What: reads HOST:PORT, or HOST alone when `port` is not NULL: then *port is its port.
 * E_INVALID quoting the text. */
enum segue_status segue_address_read(const char *text, const uint16_t *port,
                                     struct segue_address *out);

/* What: HOST:PORT, brackets around IPv6; NUL terminated, cut at cap. */
void segue_address_write(const struct segue_address *address, char *out, size_t cap);

/* What: whether the host is numeric, needs no resolver. */
bool segue_address_is_numeric(const struct segue_address *address);
/* What: numeric, and reaches this host only (127.0.0.0/8, ::1, ::ffff:127.0.0.0/104). */
bool segue_address_is_loopback(const struct segue_address *address);
/* What: numeric, and every address of this host (0.0.0.0, ::). */
bool segue_address_is_any(const struct segue_address *address);

/* What: makes the host numeric. Asks the resolver, which may wait. E_INVALID: no such
 * host. */
enum segue_status segue_address_resolve(struct segue_address *address);

#endif
