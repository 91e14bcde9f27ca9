/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP over libcurl. The environment's proxies are left out: everything is on this host. */
#include "demo_http.h"
#include "demo_progress.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 16 << 20, TICK_MS = 100 };

static size_t on_bytes(char *bytes, size_t one, size_t len, void *user)
{
    struct http_call *call = user;
    if (call->answer) {
        answer_feed(call->answer, bytes, len, (demo_now() - call->began) * 1e3);
        return len;
    }
    char *grown = call->used + len < MOST_BYTES
                      ? realloc(call->bytes, call->used + len + 1)
                      : NULL;
    if (!grown)
        return 0;
    call->bytes = grown;
    memcpy(grown + call->used, bytes, len);
    call->used += len;
    grown[call->used] = '\0';
    return len;
}

static struct curl_slist *headers_of(const struct http_call *call)
{
    char line[96];
    struct curl_slist *list = NULL;
    if (call->body)
        list = curl_slist_append(list, "Content-Type: application/json");
    if (call->request_id) {
        snprintf(line, sizeof line, "X-Request-Id: %s", call->request_id);
        list = curl_slist_append(list, line);
    }
    /* Nothing is gained by waiting for a "100 Continue". */
    return curl_slist_append(list, "Expect:");
}

static CURL *prepare(struct http_call *call, const struct curl_slist *headers,
                     double seconds)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_URL, call->url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(seconds * 1e3));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    if (call->body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(call->body));
    }
    return easy;
}

static void take_ended(CURLM *multi)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(multi, &left));) {
        struct http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        call->ended = true;
        if (message->data.result == CURLE_OK)
            curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE,
                              &call->status);
        else
            snprintf(call->error, sizeof call->error, "%s",
                     curl_easy_strerror(message->data.result));
    }
}

static void drive(CURLM *multi, bool (*stop)(void *user), void *user)
{
    for (int running = 1; running;) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return;
        take_ended(multi);
        if (!running || (stop && stop(user)))
            return;
        demo_progress_tick();
        curl_multi_poll(multi, NULL, 0, TICK_MS, NULL);
    }
}

void http_calls(struct http_call *calls, size_t count, double seconds,
                bool (*stop)(void *user), void *user)
{
    CURLM *multi = curl_multi_init();
    CURL **handles = calloc(count, sizeof *handles);
    struct curl_slist **headers = calloc(count, sizeof *headers);
    if (!multi || !handles || !headers)
        abort();
    for (size_t i = 0; i < count; i++) {
        headers[i] = headers_of(&calls[i]);
        handles[i] = prepare(&calls[i], headers[i], seconds);
        if (handles[i])
            curl_multi_add_handle(multi, handles[i]);
        calls[i].began = demo_now();
    }
    drive(multi, stop, user);
    for (size_t i = 0; i < count; i++) {
        if (!calls[i].ended)
            snprintf(calls[i].error, sizeof calls[i].error, "given up");
        if (handles[i])
            curl_multi_remove_handle(multi, handles[i]);
        curl_easy_cleanup(handles[i]);
        curl_slist_free_all(headers[i]);
        if (calls[i].answer)
            answer_end(calls[i].answer);
    }
    curl_multi_cleanup(multi);
    free(handles);
    free(headers);
}

json_t *http_json(const char *url, char *error)
{
    struct http_call call = {0};
    json_error_t where;
    snprintf(call.url, sizeof call.url, "%s", url);
    http_calls(&call, 1, 10, NULL, NULL);
    json_t *root = call.used ? json_loadb(call.bytes, call.used, 0, &where) : NULL;
    if (call.status != 200 || !root) {
        if (call.error[0])
            snprintf(error, 128, "%s", call.error);
        else if (call.status != 200)
            snprintf(error, 128, "status %ld", call.status);
        else
            snprintf(error, 128, "no JSON");
        json_decref(root);
        root = NULL;
    }
    free(call.bytes);
    return root;
}
