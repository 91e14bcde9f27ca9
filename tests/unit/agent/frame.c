/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of the control link against the bytes that docs/wire.md shows. */
#include "test.h"
#include "agent/frame.h"

#include <string.h>

static void hex_of(const uint8_t *data, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        sprintf(out + 2 * i, "%02x", data[i]);
    out[2 * n] = 0;
}

#define assert_bytes(data, n, want)                                                      \
    do {                                                                                 \
        char hex_[1024];                                                                 \
        hex_of(data, n, hex_);                                                           \
        assert_string_equal(hex_, want);                                                 \
    } while (0)

static void heads_are_eight_bytes(void **state)
{
    uint8_t bytes[SEGUE_FRAME_HEAD];
    struct segue_frame_head head = {0x012345, 2, 7, 3}, back;
    segue_frame_head_write(bytes, &head);
    assert_bytes(bytes, sizeof bytes, "4523010002070300");
    assert_ok(segue_frame_head_read(bytes, &back));
    assert_int_equal(back.len, head.len);
    assert_int_equal(back.service, 2);
    assert_int_equal(back.type, 7);
    assert_int_equal(back.fds, 3);
}

static void heads_have_limits(void **state)
{
    const struct {
        struct segue_frame_head head;
        enum segue_status want;
    } rows[] = {
        {{SEGUE_FRAME_MAX, 0, 0, SEGUE_FRAME_FDS}, SEGUE_OK},
        {{SEGUE_FRAME_MAX + 1, 0, 0, 0}, SEGUE_E_PROTOCOL},
        {{UINT32_MAX, 0, 0, 0}, SEGUE_E_PROTOCOL},
        {{0, 0, 0, SEGUE_FRAME_FDS + 1}, SEGUE_E_PROTOCOL},
        {{0, 0, 0, UINT16_MAX}, SEGUE_E_PROTOCOL},
        {{0, 255, 255, 0}, SEGUE_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t bytes[SEGUE_FRAME_HEAD];
        struct segue_frame_head head;
        segue_frame_head_write(bytes, &rows[i].head);
        assert_status(segue_frame_head_read(bytes, &head), rows[i].want);
    }
}

static struct segue_hello sample_hello(void)
{
    struct segue_hello hello = {.version = 1, .version_min = 1, .data_port = 0x1234};
    for (uint8_t i = 0; i < 16; i++) {
        hello.incarnation[i] = i;
        hello.agent_id[i] = 0x10 + i;
        hello.boot_id[i] = 0x20 + i;
    }
    strcpy(hello.engine_id, "p0");
    return hello;
}

#define HELLO_HEX                                                                        \
    "534755450100"                                                                       \
    "0100000102030405060708090a0b0c0d0e0f"                                               \
    "101112131415161718191a1b1c1d1e1f"                                                   \
    "202122232425262728292a2b2c2d2e2f"                                                   \
    "020070303412"

static void hello_is_golden(void **state)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_hello hello = sample_hello(), back;
    uint32_t len = segue_hello_write(&hello, bytes);
    assert_bytes(bytes, len, HELLO_HEX);
    assert_ok(segue_hello_read(bytes, len, &back));
    assert_int_equal(back.version, 1);
    assert_int_equal(back.version_min, 1);
    assert_memory_equal(back.incarnation, hello.incarnation, 16);
    assert_memory_equal(back.agent_id, hello.agent_id, 16);
    assert_memory_equal(back.boot_id, hello.boot_id, 16);
    assert_string_equal(back.engine_id, "p0");
    assert_int_equal(back.data_port, 0x1234);
    /* A field of a later version (rule R21). */
    memset(bytes + len, 0xaa, 9);
    assert_ok(segue_hello_read(bytes, len + 9, &back));
}

static void short_hellos_fail(void **state)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_hello hello = sample_hello(), back;
    uint32_t len = segue_hello_write(&hello, bytes);
    for (uint32_t cut = 0; cut < len; cut++)
        assert_status(segue_hello_read(bytes, cut, &back), SEGUE_E_PROTOCOL);
}

static void strange_hellos_fail(void **state)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_hello hello = sample_hello(), back;
    uint32_t len = segue_hello_write(&hello, bytes);
    bytes[0] ^= 1;
    assert_status(segue_hello_read(bytes, len, &back), SEGUE_E_PROTOCOL);

    hello.version_min = hello.version = 2;
    len = segue_hello_write(&hello, bytes);
    assert_status(segue_hello_read(bytes, len, &back), SEGUE_E_MISMATCH);
    assert_string_equal(segue_error_detail(),
                        "it speaks wire versions 2 to 2, this library 1 to 1");
    /* Of another version nothing but the versions is read. */
    assert_status(segue_hello_read(bytes, 8, &back), SEGUE_E_MISMATCH);
    hello.version_min = 1;
    len = segue_hello_write(&hello, bytes);
    assert_ok(segue_hello_read(bytes, len, &back));
    hello.version = hello.version_min = 0;
    len = segue_hello_write(&hello, bytes);
    assert_status(segue_hello_read(bytes, len, &back), SEGUE_E_MISMATCH);

    /* An engine id that is longer than it may be, and one with a NUL inside. */
    hello = sample_hello();
    memset(hello.engine_id, 'x', 63);
    hello.engine_id[63] = 0;
    len = segue_hello_write(&hello, bytes);
    assert_ok(segue_hello_read(bytes, len, &back));
    bytes[56] = 64;
    assert_status(segue_hello_read(bytes, len, &back), SEGUE_E_PROTOCOL);
    bytes[56] = 63;
    bytes[60] = 0;
    assert_status(segue_hello_read(bytes, len, &back), SEGUE_E_PROTOCOL);
}

static void errors_are_golden(void **state)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_link_error error = {SEGUE_E_PROTOCOL, "no hello"}, back;
    uint32_t len = segue_link_error_write(&error, bytes);
    assert_bytes(bytes, len, "ebffffff08006e6f2068656c6c6f");
    assert_ok(segue_link_error_read(bytes, len, &back));
    assert_int_equal(back.status, SEGUE_E_PROTOCOL);
    assert_string_equal(back.why, "no hello");
    for (uint32_t cut = 0; cut < len; cut++)
        assert_status(segue_link_error_read(bytes, cut, &back), SEGUE_E_PROTOCOL);
}

static void stream_messages_are_golden(void **state)
{
    uint8_t bytes[SEGUE_HELLO_ROOM];
    struct segue_stream_message ask = {.transport = "tcp"}, back;
    uint32_t len = segue_stream_message_write(SEGUE_LINK_STREAM_ASK, &ask, bytes);
    assert_bytes(bytes, len, "030074637000");
    assert_ok(segue_stream_message_read(SEGUE_LINK_STREAM_ASK, bytes, len, &back));
    assert_string_equal(back.transport, "tcp");

    struct segue_stream_message grant = {"tcp", true, 0x2345, "0123456789abcdef", "no"};
    len = segue_stream_message_write(SEGUE_LINK_STREAM_GRANT, &grant, bytes);
    assert_bytes(bytes, len,
                 "0300746370452330313233343536373839616263646566"
                 "02006e6f01");
    assert_ok(segue_stream_message_read(SEGUE_LINK_STREAM_GRANT, bytes, len, &back));
    assert_int_equal(back.port, 0x2345);
    assert_memory_equal(back.secret, grant.secret, sizeof grant.secret);
    assert_true(back.secure);
    /* As it was before there were other hosts (R21). */
    assert_ok(segue_stream_message_read(SEGUE_LINK_STREAM_GRANT, bytes, --len, &back));
    assert_false(back.secure);
    for (uint32_t cut = 0; cut < len; cut++)
        assert_status(
            segue_stream_message_read(SEGUE_LINK_STREAM_GRANT, bytes, cut, &back),
            SEGUE_E_PROTOCOL);
}

static void greetings_name_keys(void **state)
{
    struct segue_keys ours = {.n = 2,
                              .key = {{.id = "\x7f\x3a\x91\xbc"}, {.id = "abcd"}}},
                      theirs = {.n = 1, .key = {{.id = "abcd"}}}, common = {0};
    uint8_t bytes[SEGUE_GREETING_BYTES];
    segue_greeting_write(&ours, bytes);
    assert_bytes(bytes, sizeof bytes, "5347555401027f3a91bc61626364");
    assert_ok(segue_greeting_read(bytes, &theirs, &common));
    assert_memory_equal(common.key[0].id, "abcd", 4);
    segue_greeting_write(&theirs, bytes);
    assert_bytes(bytes, sizeof bytes, "5347555401016162636400000000");
    /* Ours comes first, where both are known. */
    assert_ok(segue_greeting_read(bytes, &ours, &common));
    assert_int_equal(common.n, 1);
    assert_memory_equal(common.key[0].id, "abcd", 4);
    bytes[6] ^= 1;
    assert_status(segue_greeting_read(bytes, &ours, &common), SEGUE_E_AUTH);
    assert_string_equal(segue_error_detail(),
                        "wrong key: the peer has key 60626364, we have 7f3a91bc or "
                        "61626364");
    bytes[5] = 0;
    assert_status(segue_greeting_read(bytes, &ours, &common), SEGUE_E_PROTOCOL);
    bytes[5] = 3;
    assert_status(segue_greeting_read(bytes, &ours, &common), SEGUE_E_PROTOCOL);
    bytes[5] = 1;
    bytes[4] = 2;
    assert_status(segue_greeting_read(bytes, &ours, &common), SEGUE_E_MISMATCH);
    bytes[0] = 0x16; /* TLS without a greeting */
    assert_status(segue_greeting_read(bytes, &ours, &common), SEGUE_E_PROTOCOL);
}

static void openings_are_golden(void **state)
{
    static const char *const want[] = {"53475544", "5347554c", "53475554", "53475557"};
    uint8_t bytes[SEGUE_OPENING_BYTES];
    for (int i = SEGUE_OPENING_DATA; i <= SEGUE_OPENING_WHERE; i++) {
        segue_opening_write((enum segue_opening)i, bytes);
        assert_bytes(bytes, sizeof bytes, want[i - 1]);
        assert_int_equal(segue_opening_read(bytes), i);
        bytes[3] ^= 0x80;
        assert_int_equal(segue_opening_read(bytes), SEGUE_OPENING_NONE);
    }
}

static void preambles_carry_the_secret(void **state)
{
    uint8_t secret[SEGUE_SECRET_BYTES], back[SEGUE_SECRET_BYTES];
    uint8_t bytes[SEGUE_PREAMBLE_BYTES];
    memset(secret, 0x5a, sizeof secret);
    segue_preamble_write(secret, bytes);
    assert_bytes(bytes, sizeof bytes, "534755445a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a");
    assert_true(segue_preamble_read(bytes, back));
    assert_memory_equal(back, secret, sizeof secret);
    bytes[3] ^= 1;
    assert_false(segue_preamble_read(bytes, back));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(heads_are_eight_bytes),
    cmocka_unit_test(heads_have_limits),
    cmocka_unit_test(hello_is_golden),
    cmocka_unit_test(short_hellos_fail),
    cmocka_unit_test(strange_hellos_fail),
    cmocka_unit_test(errors_are_golden),
    cmocka_unit_test(stream_messages_are_golden),
    cmocka_unit_test(preambles_carry_the_secret),
    cmocka_unit_test(greetings_name_keys),
    cmocka_unit_test(openings_are_golden),
};
TEST_MAIN(tests)
