/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the engines' reports of their hand-offs. */
#include "demo_handoff.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static uint64_t count_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

const json_t *handoff_find(const json_t *list, const char *role, const char *id)
{
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *entry = json_array_get(list, i);
        if (strcmp(text_of(entry, "role"), role) == 0 &&
            strcmp(text_of(entry, "request_id"), id) == 0)
            return entry;
    }
    return NULL;
}

double handoff_ms(const json_t *entry, const char *name)
{
    const json_t *value = json_object_get(json_object_get(entry, "ms"), name);
    return json_is_number(value) ? json_number_value(value) : -1;
}

uint64_t handoff_engine_bytes(const json_t *entry)
{
    return count_of(json_object_get(entry, "bytes"), "engine");
}

/* An engine that hashed nothing says 0. */
static void read_digest(const json_t *digest, const char *name, char *out, size_t size)
{
    const char *text = text_of(digest, name);
    snprintf(out, size, "%s", text[strspn(text, "0")] ? text : "");
}

/* "shm/mapped refused: why", "cma/direct possible", "shm/packed chosen": the first word is
 * the path, what follows "refused: " the reason. */
static void read_explained(const json_t *lines, struct handoff *out)
{
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));
        const char *space = line ? strchr(line, ' ') : NULL;
        size_t n = out->explained_count, len = space ? (size_t)(space - line) : 0;
        if (!len || n == HANDOFF_PATHS || len >= sizeof out->explained[n].path)
            continue;
        const char *why = space + 1;
        if (strncmp(why, "refused: ", 9) == 0)
            why += 9;
        else if (strcmp(why, "possible") == 0)
            why = "possible, but another is better";
        memcpy(out->explained[n].path, line, len);
        out->explained[n].path[len] = '\0';
        snprintf(out->explained[n].why, sizeof out->explained[n].why, "%s", why);
        out->explained_count++;
    }
}

void handoff_read(const json_t *entry, struct handoff *out)
{
    const json_t *bytes = json_object_get(entry, "bytes");
    const json_t *digest = json_object_get(entry, "kv_digest");
    *out = (struct handoff){
        .found = entry != NULL,
        .tokens = (uint32_t)count_of(entry, "tokens"),
        .moved = count_of(bytes, "moved"),
        .staged_host = count_of(bytes, "staged_host"),
        .engine = handoff_engine_bytes(entry),
        .digest = count_of(bytes, "digest"),
        .claim_wait_ms = handoff_ms(entry, "claim_wait"),
        .copy_ms = handoff_ms(entry, "copy"),
        .commit_ms = handoff_ms(entry, "commit"),
        .first_token_ms = handoff_ms(entry, "first_token"),
    };
    snprintf(out->verdict, sizeof out->verdict, "%s", text_of(entry, "verdict"));
    snprintf(out->detail, sizeof out->detail, "%s", text_of(entry, "detail"));
    snprintf(out->path, sizeof out->path, "%s", text_of(entry, "path"));
    read_digest(digest, "producer", out->producer, sizeof out->producer);
    read_digest(digest, "consumer", out->consumer, sizeof out->consumer);
    read_explained(json_object_get(entry, "explain"), out);
}

bool handoff_digests_equal(const struct handoff *handoff)
{
    return handoff->producer[0] && strcmp(handoff->producer, handoff->consumer) == 0;
}
