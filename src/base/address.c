/* SPDX-License-Identifier: Apache-2.0 */
/* Network addresses as text. */
#include "base/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static enum segue_status wrong(const char *text)
{
    return segue_fail(SEGUE_E_INVALID,
                      "'%.100s' is no address; it must look like 10.0.0.1:9000 or "
                      "[2001:db8::1]:9000",
                      text);
}

static bool read_port(const char *text, uint16_t *port)
{
    uint32_t n = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || i > 5)
            return false;
        n = 10 * n + (uint32_t)(text[i] - '0');
    }
    *port = (uint16_t)n;
    return len > 0 && n <= UINT16_MAX;
}

enum segue_status segue_address_read(const char *text, const uint16_t *port,
                                     struct segue_address *out)
{
    struct segue_address address = {.port = port ? *port : 0};
    const char *host = text, *end, *rest;
    if (*text == '[') {
        host++;
        end = strchr(host, ']');
        if (!end)
            return wrong(text);
        rest = end + 1;
    } else {
        end = rest = host + strcspn(host, ":");
        /* IPv6 without brackets has no port that could be told apart. */
        if (*rest && strchr(rest + 1, ':'))
            return wrong(text);
    }
    size_t n = (size_t)(end - host);
    if (n == 0 || n >= sizeof address.host)
        return wrong(text);
    memcpy(address.host, host, n);
    if (*rest ? *rest != ':' || !read_port(rest + 1, &address.port) : !port)
        return wrong(text);
    *out = address;
    return SEGUE_OK;
}

void segue_address_write(const struct segue_address *address, char *out, size_t cap)
{
    bool v6 = strchr(address->host, ':') != NULL;
    snprintf(out, cap, "%s%s%s:%u", v6 ? "[" : "", address->host, v6 ? "]" : "",
             address->port);
}

/* AF_INET, AF_INET6, or AF_UNSPEC for a name; v6 holds IPv4 mapped. */
static int family_of(const struct segue_address *address, struct in6_addr *v6)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, address->host, &v4) == 1) {
        memset(v6, 0, 10);
        memset(v6->s6_addr + 10, 0xff, 2);
        memcpy(v6->s6_addr + 12, &v4, 4);
        return AF_INET;
    }
    return inet_pton(AF_INET6, address->host, v6) == 1 ? AF_INET6 : AF_UNSPEC;
}

bool segue_address_is_numeric(const struct segue_address *address)
{
    struct in6_addr v6;
    return family_of(address, &v6) != AF_UNSPEC;
}

bool segue_address_is_loopback(const struct segue_address *address)
{
    struct in6_addr v6;
    if (family_of(address, &v6) == AF_UNSPEC)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) ||
           (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

bool segue_address_is_any(const struct segue_address *address)
{
    static const uint8_t zeros[4];
    struct in6_addr v6;
    if (family_of(address, &v6) == AF_UNSPEC)
        return false;
    return IN6_IS_ADDR_UNSPECIFIED(&v6) ||
           (IN6_IS_ADDR_V4MAPPED(&v6) && memcmp(v6.s6_addr + 12, zeros, 4) == 0);
}

enum segue_status segue_address_resolve(struct segue_address *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    if (segue_address_is_numeric(address))
        return SEGUE_OK;
    int err = getaddrinfo(address->host, NULL, &hints, &list);
    if (err)
        return segue_fail(SEGUE_E_INVALID, "cannot look up host %s: %s", address->host,
                          gai_strerror(err));
    char host[sizeof address->host];
    err = getnameinfo(list->ai_addr, list->ai_addrlen, host, sizeof host, NULL, 0,
                      NI_NUMERICHOST);
    freeaddrinfo(list);
    if (err)
        return segue_fail(SEGUE_E_INVALID, "cannot look up host %s: %s", address->host,
                          gai_strerror(err));
    strcpy(address->host, host);
    return SEGUE_OK;
}
