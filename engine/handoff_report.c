/* SPDX-License-Identifier: Apache-2.0 */
/* What the last hand-offs did, for people and for `segue demo` (GET /segue/handoffs). */
#include "handoff_inside.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void handoff_report_add(struct handoff *h, const struct handoff_item *item)
{
    struct handoff_report *r = &h->reports[h->n_reports++ % HANDOFF_REPORTS];
    *r = (struct handoff_report){
        .offered = item->offers,
        .tokens = item->tokens,
        .verdict = item->verdict,
        .claim = item->report,
        .engine_bytes = item->engine_bytes,
        .ticket_ns = item->offers ? item->made_ns - item->began_ns : 0};
    if (h->opts.tp > h->opts.kv_heads) { /* what several ranks have is told once */
        r->claim.bytes_expected /= h->opts.tp / h->opts.kv_heads;
        r->claim.bytes_moved /= h->opts.tp / h->opts.kv_heads;
    }
    memcpy(r->name, item->name, sizeof r->name);
    memcpy(r->detail, item->detail, sizeof r->detail);
    memcpy(r->peer, item->peer, sizeof r->peer);
    memcpy(r->path, item->report.path, sizeof r->path);
    if (!item->offers && segue_path_explain(h->ranks[0].cache, item->peer, r->explain,
                                            sizeof r->explain) < 0)
        r->explain[0] = 0;
}

void handoff_first_token(struct handoff *h, const char *request, double ms)
{
    pthread_mutex_lock(&h->lock);
    for (uint64_t i = h->n_reports; i > 0 && i + HANDOFF_REPORTS > h->n_reports; i--) {
        struct handoff_report *r = &h->reports[(i - 1) % HANDOFF_REPORTS];
        if (!r->offered && strcmp(r->name, request) == 0) {
            r->first_token_ms = ms;
            break;
        }
    }
    pthread_mutex_unlock(&h->lock);
}

static json_t *lines(const char *text)
{
    json_t *array = json_array();
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, "\n");
        if (len)
            json_array_append_new(array, json_stringn_nocheck(p, len));
        p += len + (p[len] == '\n');
    }
    return array;
}

static json_t *hex(uint64_t digest)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    return json_string(text);
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static json_t *one(const struct handoff_report *r)
{
    const struct segue_claim_report *c = &r->claim;
    if (r->offered)
        return json_pack("{s:s, s:s, s:i, s:{s:I}, s:{s:f}}", "request_id", r->name,
                         "role", "prefill", "tokens", (int)r->tokens, "bytes", "engine",
                         (json_int_t)r->engine_bytes, "ms", "ticket", ms(r->ticket_ns));
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:{s:I, s:I, s:I, s:I, s:I}, "
        "s:{s:o, s:o}, s:{s:f, s:f, s:f, s:o}, s:o}",
        "request_id", r->name, "role", "decode", "producer", r->peer, "verdict",
        segue_verdict_name(r->verdict), "detail", r->detail, "path", r->path, "tokens",
        (int)r->tokens, "bytes", "expected", (json_int_t)c->bytes_expected, "moved",
        (json_int_t)c->bytes_moved, "staged_host", (json_int_t)c->bytes_staged, "engine",
        (json_int_t)r->engine_bytes, "digest", (json_int_t)c->bytes_digest, "kv_digest",
        "producer", hex(c->digest_producer), "consumer", hex(c->digest_consumer), "ms",
        "claim_wait", ms(c->wait_ns), "copy", ms(c->copy_ns), "commit", ms(c->commit_ns),
        "first_token", r->first_token_ms > 0 ? json_real(r->first_token_ms) : json_null(),
        "explain", lines(r->explain));
}

char *handoff_reports(struct handoff *h)
{
    json_t *array = json_array();
    pthread_mutex_lock(&h->lock);
    uint64_t first = h->n_reports > HANDOFF_REPORTS ? h->n_reports - HANDOFF_REPORTS : 0;
    for (uint64_t i = first; i < h->n_reports; i++)
        json_array_append_new(array, one(&h->reports[i % HANDOFF_REPORTS]));
    pthread_mutex_unlock(&h->lock);
    char *text = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    return text;
}
