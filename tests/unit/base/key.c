/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: what a file may hold, who may read it, how keys are replaced, what is derived. */
#include "test.h"
#include "base/key.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define C "ee112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char folder[64], path[80];

static int make_folder(void **state)
{
    strcpy(folder, "/tmp/segue-key-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/key", folder);
    return 0;
}

static int drop_folder(void **state)
{
    unlink(path);
    return rmdir(folder);
}

/* Golden: whoever changes how keys are derived makes every deployed key another. */
static void derived_values(void **state)
{
    static const uint8_t id[] = {0x2c, 0xc4, 0x7b, 0xa1},
                         mac[] = {0x89, 0xc1, 0x0d, 0x05, 0x33, 0xd6, 0x3f, 0xe4,
                                  0x28, 0x60, 0x6f, 0x5d, 0x87, 0x9f, 0xf0, 0xf2};
    const char *text = "segue-key 1\ncurrent " A "\n";
    struct segue_keys keys;
    uint8_t out[SEGUE_MAC_BYTES];
    char words[32];
    assert_ok(segue_keys_parse(text, strlen(text), "f", &keys));
    assert_int_equal(keys.n, 1);
    assert_memory_equal(keys.key[0].id, id, sizeof id);
    segue_key_mac(&keys.key[0], "segue test", "abc", 3, out);
    assert_memory_equal(out, mac, sizeof mac);
    segue_key_mac(&keys.key[0], "segue tesu", "abc", 3, out);
    assert_memory_not_equal(out, mac, sizeof mac);
    segue_keys_text(&keys, words, sizeof words);
    assert_string_equal(words, "2cc47ba1");
}

static void what_files_may_hold(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: it is one */
    } rows[] = {
        {"segue-key 1\ncurrent " A, NULL},
        {"# x\n\nsegue-key 1\r\ncurrent " A "\r\n# y\nnext " B "\n", NULL},
        {"segue-key 1\ncurrent " A "\nprevious " B "\n", NULL},
        {"", "line 0: there is no current key"},
        {"segue-key 1\n", "no current key"},
        {"segue-key 2\ncurrent " A, "line 1: this is no key file"},
        {"current " A, "line 1: this is no key file"},
        {"segue-key 1\ncurrent " A "\nprevious " B "\nnext " C, "line 4: a third key"},
        {"segue-key 1\nnext " A, "line 2: the first key must be"},
        {"segue-key 1\ncurrent " A "\ncurrent " B, "line 3: the first key must be"},
        {"segue-key 1\ncurrent " A "\nnext " A, "line 3: the same key again"},
        {"segue-key 1\ncurrent " A "0", "line 2: this must be"},
        {"segue-key 1\ncurrent 0011", "line 2: this must be"},
        {"segue-key 1\ncurrent  " A, "line 2: this must be"},
        {"segue-key 1\ncurrentx" A, "line 2: this must be"},
        {"segue-key 1\n current " A, "line 2: this must be"},
        {"segue-key 1\ncurrent 0G112233445566778899aabbccddeeff"
         "00112233445566778899aabbccddeeff",
         "line 2: this must be"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct segue_keys keys = {.n = 77};
        enum segue_status status = segue_keys_parse(rows[i].text, strlen(rows[i].text),
                                                    "f", &keys);
        if (!rows[i].want) {
            assert_ok(status);
            assert_int_equal(keys.key[0].role, SEGUE_KEY_CURRENT);
            continue;
        }
        assert_status(status, SEGUE_E_INVALID);
        assert_int_equal(keys.n, 77);
        if (!strstr(segue_error_detail(), rows[i].want))
            fail_msg("'%s', want '%s'", segue_error_detail(), rows[i].want);
        /* A damaged secret is still most of a secret. */
        assert_null(strstr(segue_error_detail(), "00112233"));
    }
}

static void three_steps_to_a_new_key(void **state)
{
    struct segue_key_info before[2], now[2];
    size_t n;
    assert_ok(segue_key_file_make(path));
    assert_status(segue_key_file_make(path), SEGUE_E_BUSY);
    assert_ok(segue_key_file_read(path, before, &n));
    assert_int_equal(n, 1);
    assert_ok(segue_key_file_rotate(path));
    assert_ok(segue_key_file_read(path, now, &n));
    assert_int_equal(n, 2);
    assert_string_equal(now[0].secret, before[0].secret);
    assert_int_equal(now[1].role, SEGUE_KEY_NEXT);
    assert_string_not_equal(now[1].secret, now[0].secret);
    memcpy(before, now, sizeof now);
    assert_ok(segue_key_file_rotate(path));
    assert_ok(segue_key_file_read(path, now, &n));
    assert_int_equal(n, 2);
    assert_string_equal(now[0].id, before[1].id);
    assert_int_equal(now[0].role, SEGUE_KEY_CURRENT);
    assert_string_equal(now[1].id, before[0].id);
    assert_int_equal(now[1].role, SEGUE_KEY_PREVIOUS);
    assert_ok(segue_key_file_rotate(path));
    assert_ok(segue_key_file_read(path, now, &n));
    assert_int_equal(n, 1);
    assert_string_equal(now[0].id, before[1].id);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    unlink(path);
}

static void files_that_are_not_ours_alone(void **state)
{
    struct segue_keys keys;
    assert_status(segue_keys_read(path, &keys), SEGUE_E_NOT_FOUND);
    assert_ok(segue_key_file_make(path));
    for (unsigned bit = 1; bit <= 040; bit <<= 1) {
        assert_int_equal(chmod(path, 0600 | bit), 0);
        assert_status(segue_keys_read(path, &keys), SEGUE_E_REFUSED);
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_ok(segue_keys_read(path, &keys));
    if (geteuid() == 0) {
        assert_int_equal(chmod(path, 0600) | chown(path, 12345, 0), 0);
        assert_status(segue_keys_read(path, &keys), SEGUE_E_REFUSED);
        assert_non_null(strstr(segue_error_detail(), "belongs to user 12345"));
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_status(segue_keys_read(path, &keys), SEGUE_E_REFUSED);
    unlink(path);
    assert_status(segue_keys_read(folder, &keys), SEGUE_E_REFUSED);
    /* Longer than any key file. */
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(write(fd, "#", 1), 1);
    close(fd);
    assert_status(segue_keys_read(path, &keys), SEGUE_E_INVALID);
    unlink(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(derived_values),
    cmocka_unit_test(what_files_may_hold),
    cmocka_unit_test(three_steps_to_a_new_key),
    cmocka_unit_test(files_that_are_not_ours_alone),
};
TEST_MAIN_AROUND(tests, make_folder, drop_folder)
