/* SPDX-License-Identifier: Apache-2.0 */
/* Text through the tokenizer and back, and out again through UTF-8 and stop strings as a
 * stream does: nothing is lost, and what is shown is always whole characters. */
#include "fake/vocabulary.h"
#include "stop.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool held)
{
    if (!held)
        abort();
}

static void stream(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                   char *stop)
{
    struct utf8_stream utf8 = {0};
    struct stop_finder finder;
    stop_open(&finder, &stop, stop[0] != '\0', false);
    int found = -1;
    for (size_t i = 0; i < count && found < 0; i++) {
        struct gguf_text bytes = tokenizer_bytes(tokenizer, ids[i], true);
        char text[UTF8_ROOM(32)];
        size_t shown, length = utf8_feed(&utf8, bytes.at, bytes.len, text);
        found = stop_feed(&finder, text, length, true, &shown);
        check(found != -2 && shown <= finder.length);
        check(utf8_prefix(finder.text, shown) == shown);
        check(found < 0 || strncmp(finder.text + shown, stop, strlen(stop)) == 0);
        stop_shown(&finder, shown);
    }
    stop_close(&finder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *tokenizer;
    if (tokenizer == NULL)
        tokenizer = fake_tokenizer();
    if (size < 1)
        return 0;
    const char *text = (const char *)data + 1;
    size_t length = size - 1, count, n = 0;
    uint32_t *ids;
    check(tokenizer_encode(tokenizer, text, length, &ids, &count) == 0);
    for (size_t i = 0; i < count; i++) {
        struct gguf_text bytes = tokenizer_bytes(tokenizer, ids[i], true);
        check(bytes.len <= length - n && memcmp(bytes.at, text + n, bytes.len) == 0);
        n += bytes.len;
    }
    check(n == length);
    char stop[8] = "";
    size_t at = data[0] % size, most = length - at < 4 ? length - at : 4;
    if (utf8_prefix(text + at, most) == most && memchr(text + at, 0, most) == NULL)
        memcpy(stop, text + at, most);
    stream(tokenizer, ids, count, stop);
    free(ids);
    return 0;
}
