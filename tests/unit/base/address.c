/* SPDX-License-Identifier: Apache-2.0 */
/* Network addresses as text: what is one, and where it leads. */
#include "test.h"
#include "base/address.h"

#include <string.h>

static void addresses(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool numeric, loopback, any;
    } rows[] = {
        {"10.0.0.1:9000", "10.0.0.1", 9000, true, false, false},
        {"127.0.0.1:1", "127.0.0.1", 1, true, true, false},
        {"127.9.9.9:0", "127.9.9.9", 0, true, true, false},
        {"0.0.0.0:65535", "0.0.0.0", 65535, true, false, true},
        {"[::1]:80", "::1", 80, true, true, false},
        {"[::]:80", "::", 80, true, false, true},
        {"[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80, true, true, false},
        {"[::ffff:0.0.0.0]:80", "::ffff:0.0.0.0", 80, true, false, true},
        {"[2001:db8::7]:80", "2001:db8::7", 80, true, false, false},
        {"host.example:80", "host.example", 80, false, false, false},
        {"127.0.0.1.example:80", "127.0.0.1.example", 80, false, false, false},
        {"0:80", "0", 80, false, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_address a;
        char text[80];
        assert_ok(segue_address_read(rows[i].text, NULL, &a));
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(segue_address_is_numeric(&a), rows[i].numeric);
        assert_int_equal(segue_address_is_loopback(&a), rows[i].loopback);
        assert_int_equal(segue_address_is_any(&a), rows[i].any);
        segue_address_write(&a, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

static void what_is_none(void **state)
{
    static const char *const rows[] = {"",
                                       ":80",
                                       "[::1:80",
                                       "[::1]80",
                                       "::1:80",
                                       "a:b:c",
                                       "10.0.0.1",
                                       "10.0.0.1:",
                                       "a:65536",
                                       "a:-1",
                                       "a:1000000",
                                       "a: 1",
                                       "[]:80",
                                       "a:99999999999999999999",
                                       "[::1]:",
                                       "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x."
                                       "y.z.a.b.c.d.e.f.g.h.i:80"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_address a = {.port = 7};
        assert_status(segue_address_read(rows[i], NULL, &a), SEGUE_E_INVALID);
        assert_int_equal(a.port, 7);
    }
    struct segue_address a;
    uint16_t port = 9000;
    assert_ok(segue_address_read("10.0.0.1", &port, &a));
    assert_int_equal(a.port, 9000);
    assert_ok(segue_address_read("10.0.0.1:1", &port, &a));
    assert_int_equal(a.port, 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(addresses),
    cmocka_unit_test(what_is_none),
};
TEST_MAIN(tests)
