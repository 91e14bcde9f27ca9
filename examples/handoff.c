/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two engines in one file: a process that fills a KV cache and a process that wants it, with other block sizes and
 * another order of axes. What a real engine adds is the model; the calls are these.
 *
 *     cc handoff.c $(pkg-config --cflags --libs segue) && ./a.out
 *
 * docs/library.md walks through it.
 */
#include <segue/claim.h>
#include <segue/offer.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAYERS = 4, HEADS = 8, HEAD_SIZE = 64, TOKENS = 100 };

static const int32_t prompt[TOKENS] = {1, 2, 3}; /* token ids; both engines know them */

static void must(enum segue_status status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, segue_error_detail());
    exit(1);
}

/* ---- what both engines have: an agent, memory, and a cache over it ---- */

struct engine {
    segue_agent *agent;
    segue_device *device;
    segue_region *region;
    segue_cache *cache;
    struct segue_layout layout;
    void *memory;
};

static void engine_open(struct engine *e, const char *order, uint32_t block_tokens)
{
    must(segue_agent_create(NULL, &e->agent), "agent");
    must(segue_device_find(e->agent, "host", &e->device), "device");
    must(segue_layout_named(order, SEGUE_DTYPE_FP16, LAYERS, 64, block_tokens, HEADS,
                            HEAD_SIZE, &e->layout),
         "layout");
    uint64_t bytes = segue_layout_bytes(&e->layout);
    must(segue_alloc(e->device, bytes, &e->memory), "memory");
    must(segue_region_register(e->agent, e->device, e->memory, bytes, &e->region),
         "region");
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    opts.model = "example-model@1";
    opts.convention = "rope:half";
    opts.layout = e->layout;
    opts.region = e->region;
    must(segue_cache_open(e->agent, &opts, &e->cache), "cache");
}

static void engine_close(struct engine *e)
{
    segue_cache_close(e->cache);
    segue_region_deregister(e->region);
    segue_free(e->device, e->memory);
    segue_agent_destroy(e->agent);
}

/* Sleeps until the agent has something to say. A server would put segue_agent_fd into its own loop. */
static struct segue_event next_event(struct engine *e)
{
    struct segue_event event;
    struct pollfd ready = {.fd = segue_agent_fd(e->agent), .events = POLLIN};
    while (segue_event_next(e->agent, &event) == SEGUE_E_NOT_FOUND)
        if (poll(&ready, 1, 60000) == 0) {
            fprintf(stderr, "nothing happened for a minute\n");
            exit(1);
        }
    return event;
}

/* The keys of one (layer, token, head): where a kernel would write and read them. */
static char *key_at(struct engine *e, const uint32_t *blocks, int layer, int token,
                    int head)
{
    const struct segue_layout *l = &e->layout;
    uint32_t block = blocks[token / (int)l->block_tokens];
    return (char *)e->memory + l->k.offset + layer * l->k.layer + block * l->k.block +
           token % l->block_tokens * l->k.token + head * l->k.head;
}

/* ---- prefill ---- */

static void prefill(int to_router)
{
    struct engine e;
    engine_open(&e, "nhd", 64);
    const uint32_t blocks[] = {5, 2}; /* whatever the allocator gave: 2 x 64 >= 100 */

    for (int layer = 0; layer < LAYERS; layer++) /* the model's work */
        for (int token = 0; token < TOKENS; token++)
            for (int head = 0; head < HEADS; head++)
                memset(key_at(&e, blocks, layer, token, head),
                       (layer * 31 + token * 7 + head) & 0xff, e.layout.k.bytes);

    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = TOKENS;
    segue_prompt_hash(prompt, TOKENS, NULL, &opts.hash);
    struct segue_offer_id id;
    must(segue_offer_mint(e.agent, &opts, &id), "mint");
    must(segue_offer_create(e.cache, &id, blocks, 2, NULL), "offer");

    struct segue_ticket ticket; /* goes out as "kv_transfer_params" in the answer */
    char params[4096];
    size_t len;
    must(segue_offer_ticket(e.agent, &id, &ticket), "ticket");
    must(segue_ticket_params_write(&ticket, NULL, params, sizeof params, &len), "params");
    if (write(to_router, params, len) != (ssize_t)len || close(to_router) != 0)
        exit(1);

    struct segue_event event = next_event(&e); /* until then the blocks are the offer's */
    if (event.type == SEGUE_EVENT_OFFER_ENDED)
        printf("prefill: blocks 5 and 2 are free again\n");
    engine_close(&e);
}

/* ---- decode ---- */

static uint64_t wrong_bytes(struct engine *e, const uint32_t *blocks)
{
    uint64_t wrong = 0;
    for (int layer = 0; layer < LAYERS; layer++)
        for (int token = 0; token < TOKENS; token++)
            for (int head = 0; head < HEADS; head++)
                for (uint32_t i = 0; i < e->layout.k.bytes; i++)
                    wrong += (unsigned char)key_at(e, blocks, layer, token, head)[i] !=
                             ((layer * 31 + token * 7 + head) & 0xff);
    return wrong;
}

static int decode(int from_router)
{
    struct engine e;
    engine_open(&e, "hnd", 16);
    char params[4096], why[2048];
    ssize_t len = read(from_router, params, sizeof params);
    struct segue_ticket ticket;
    must(segue_ticket_params_read(params, len > 0 ? (size_t)len : 0, &ticket), "ticket");

    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.tokens = TOKENS;
    opts.digest = SEGUE_DIGEST_FULL;
    segue_prompt_hash(prompt, TOKENS, NULL, &opts.hash); /* of the prompt we were sent */
    uint64_t group, claim;
    must(segue_group_open(e.agent, &ticket, &opts, &group), "group");

    const uint32_t blocks[] = {0, 9, 4, 7, 1, 3, 8}; /* 7 x 16 >= 100 */
    struct segue_claim_opts claim_opts = SEGUE_CLAIM_OPTS_INIT;
    claim_opts.blocks = blocks;
    claim_opts.n_blocks = 7;
    must(segue_claim_post(e.agent, group, e.cache, &claim_opts, &claim), "claim");

    int status = 1;
    for (int ends = 0; ends < 3; ends++) { /* VERDICT, RELEASED, GROUP */
        struct segue_event event = next_event(&e);
        if (event.type != SEGUE_EVENT_VERDICT)
            continue;
        status = event.verdict != SEGUE_VERDICT_VALID || wrong_bytes(&e, blocks) != 0;
        printf("decode: %s, %llu bytes over %s %s\n", segue_verdict_name(event.verdict),
               (unsigned long long)event.report.bytes_moved, event.report.path,
               event.detail);
    }
    if (segue_path_explain(e.cache, ticket.engine_id, why, sizeof why) == SEGUE_OK)
        printf("why that path:\n%s", why);
    engine_close(&e);
    return status;
}

int main(void)
{
    int router[2], status; /* what carries the ticket; in life an HTTP router */
    if (pipe(router) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        close(router[0]);
        prefill(router[1]);
        return 0;
    }
    close(router[1]);
    int failed = decode(router[0]);
    return waitpid(child, &status, 0) != child || status != 0 || failed;
}
