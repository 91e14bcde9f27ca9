/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets and kv_transfer_params: what is written is read back, and nothing else is. */
#include "test.h"

#include "base/key.h"
#include "handoff/ticket.h"
#include <string.h>

static struct segue_ticket sample(void)
{
    struct segue_ticket t = {
        .id.sequence = 42, .tokens = 199, .uses = 1, .engine_id = "prefill-0"};
    memset(t.id.incarnation, 0xab, sizeof t.id.incarnation);
    memset(t.hash.bytes, 0xcd, sizeof t.hash.bytes);
    strcpy(t.address, "unix:/run/segue/prefill-0.sock");
    strcpy(t.network, "tcp:10.0.0.1:9000");
    memset(t.host, 0xef, sizeof t.host);
    memset(t.key, 0x12, sizeof t.key);
    memset(t.mac, 0x34, sizeof t.mac);
    return t;
}

static void round_trip(void **state)
{
    struct segue_ticket t = sample(), back;
    struct segue_params_extra extra = {
        .request_id = "cmpl-\"1\"", .host = "10.0.0.1", .port = 8000, .tp_size = 2};
    char text[2048];
    size_t len;
    assert_ok(segue_ticket_params_write(&t, &extra, text, sizeof text, &len));
    assert_int_equal(len, strlen(text));
    /* The keys that proxies carry (section 7 of the design). */
    const char *const keys[] = {"\"do_remote_prefill\":true",
                                "\"do_remote_decode\":false",
                                "\"remote_engine_id\":\"prefill-0\"",
                                "\"remote_block_ids\":[]",
                                "\"remote_host\":\"10.0.0.1\"",
                                "\"remote_port\":8000",
                                "\"remote_request_id\":\"cmpl-\\\"1\\\"\"",
                                "\"tp_size\":2",
                                "\"uses\":1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strstr(text, keys[i]))
            fail_msg("no %s in %s", keys[i], text);
    assert_ok(segue_ticket_params_read(text, len, &back));
    assert_memory_equal(&back, &t, sizeof t);
}

/* The example of docs/wire.md section 5, computed from its words alone. */
static void golden_bytes(void **state)
{
    static const char want[] =
        "01abababababababababababababababab2a00000000000000cdcdcdcdcdcdcd"
        "cdcdcdcdcdcdcdcdcdc700000001000000090070726566696c6c2d301e00756e"
        "69783a2f72756e2f73656775652f70726566696c6c2d302e736f636b11007463"
        "703a31302e302e302e313a39303030efefefefefefefefefefefefefefefef2c"
        "c47ba160df0bbe1da2bfd25c586975524950e4";
    static const char key[] =
        "segue-key 1\ncurrent "
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    struct segue_ticket t = sample(), back;
    struct segue_keys keys;
    char text[2048];
    uint8_t bytes[SEGUE_TICKET_ROOM];
    struct segue_writer w = segue_writer_make(bytes, sizeof bytes);
    size_t len;
    assert_ok(segue_keys_parse(key, strlen(key), "f", &keys));
    memcpy(t.key, keys.key[0].id, sizeof t.key);
    segue_ticket_write_proved(&w, &t);
    segue_key_mac(&keys.key[0], "segue ticket 1", bytes, w.len, t.mac);
    assert_ok(segue_ticket_params_write(&t, NULL, text, sizeof text, &len));
    if (!strstr(text, want))
        fail_msg("%s\nin %s", want, text);
    snprintf(text, sizeof text, "{\"segue\":{\"ticket\":\"%s\"}}", want);
    assert_ok(segue_ticket_params_read(text, strlen(text), &back));
    assert_memory_equal(&back, &t, sizeof t);
}

static void too_small_a_buffer(void **state)
{
    struct segue_ticket t = sample();
    char text[64];
    size_t len = 7;
    assert_status(segue_ticket_params_write(&t, NULL, text, sizeof text, &len),
                  SEGUE_E_LIMIT);
    assert_int_equal(len, 7);
}

static void hostile_objects(void **state)
{
    static const struct {
        const char *text;
        enum segue_status want;
    } rows[] = {
        {"{}", SEGUE_E_NOT_FOUND},
        {"{\"segue\":null}", SEGUE_E_NOT_FOUND},
        {"[]", SEGUE_E_INVALID},
        {"{\"segue\":1}", SEGUE_E_INVALID},
        {"{\"segue\":{}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":1}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"\"}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"0\"}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"zz\"}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"01\"}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"02\"}}", SEGUE_E_INVALID},
        {"{\"segue\":{\"ticket\":\"01\"},\"segue\":{\"ticket\":\"01\"}}",
         SEGUE_E_INVALID},
        {"{\"segue\":", SEGUE_E_INVALID},
        {"", SEGUE_E_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_ticket t;
        enum segue_status got = segue_ticket_params_read(rows[i].text,
                                                         strlen(rows[i].text), &t);
        if (got != rows[i].want)
            fail_msg("%s: %s, want %s", rows[i].text, segue_status_name(got),
                     segue_status_name(rows[i].want));
    }
}

/* Every truncation and every flipped digit of a good ticket is refused or reads as some ticket; none crashes. */
static void damaged_tickets(void **state)
{
    struct segue_ticket t = sample(), back;
    char text[2048];
    size_t len;
    assert_ok(segue_ticket_params_write(&t, NULL, text, sizeof text, &len));
    const char *ticket = strstr(text, "\"ticket\":\"") + 10;
    size_t at = (size_t)(ticket - text), hex = strcspn(ticket, "\"");
    for (size_t cut = 0; cut < hex; cut++) {
        char damaged[1024];
        snprintf(damaged, sizeof damaged, "{\"segue\":{\"ticket\":\"%.*s\"}}", (int)cut,
                 ticket);
        assert_status(segue_ticket_params_read(damaged, strlen(damaged), &back),
                      SEGUE_E_INVALID);
    }
    for (size_t i = 0; i < hex; i++) {
        char kept = text[at + i];
        text[at + i] = kept == 'f' ? '0' : 'f';
        (void)segue_ticket_params_read(text, len, &back);
        text[at + i] = kept;
    }
}

static void hashes_tell_prompts_apart(void **state)
{
    int32_t a[] = {1, 2, 3}, b[] = {1, 2, 4};
    struct segue_prompt_hash x, y;
    segue_prompt_hash(a, 3, "m", &x);
    segue_prompt_hash(a, 3, "m", &y);
    assert_memory_equal(&x, &y, sizeof x);
    segue_prompt_hash(b, 3, "m", &y);
    assert_memory_not_equal(&x, &y, sizeof x);
    segue_prompt_hash(a, 2, "m", &y);
    assert_memory_not_equal(&x, &y, sizeof x);
    segue_prompt_hash(a, 3, "n", &y);
    assert_memory_not_equal(&x, &y, sizeof x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(round_trip),         cmocka_unit_test(golden_bytes),
    cmocka_unit_test(too_small_a_buffer), cmocka_unit_test(hostile_objects),
    cmocka_unit_test(damaged_tickets),    cmocka_unit_test(hashes_tell_prompts_apart),
};
TEST_MAIN(tests)
