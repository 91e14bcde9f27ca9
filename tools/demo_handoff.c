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

/* "shm/mapped: the sentence". A line without a path belongs to none and is left out. */
static void read_explained(const json_t *lines, struct handoff *out)
{
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const char *line = json_string_value(json_array_get(lines, i));
        const char *colon = line ? strstr(line, ": ") : NULL;
        if (!colon || out->explained_count == HANDOFF_PATHS)
            continue;
        size_t n = out->explained_count, len = (size_t)(colon - line);
        if (len == 0 || len >= sizeof out->explained[n].path)
            continue;
        memcpy(out->explained[n].path, line, len);
        out->explained[n].path[len] = '\0';
        snprintf(out->explained[n].why, sizeof out->explained[n].why, "%s", colon + 2);
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
        .engine = count_of(bytes, "engine"),
        .digest = count_of(bytes, "digest"),
        .claim_wait_ms = handoff_ms(entry, "claim_wait"),
        .copy_ms = handoff_ms(entry, "copy"),
        .commit_ms = handoff_ms(entry, "commit"),
        .first_token_ms = handoff_ms(entry, "first_token"),
    };
    snprintf(out->verdict, sizeof out->verdict, "%s", text_of(entry, "verdict"));
    snprintf(out->detail, sizeof out->detail, "%s", text_of(entry, "detail"));
    snprintf(out->path, sizeof out->path, "%s", text_of(entry, "path"));
    snprintf(out->producer, sizeof out->producer, "%s", text_of(digest, "producer"));
    snprintf(out->consumer, sizeof out->consumer, "%s", text_of(digest, "consumer"));
    read_explained(json_object_get(entry, "explain"), out);
}

bool handoff_digests_equal(const struct handoff *handoff)
{
    return handoff->producer[0] && strcmp(handoff->producer, handoff->consumer) == 0;
}
