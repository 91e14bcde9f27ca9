/* SPDX-License-Identifier: Apache-2.0 */
#include "conformance/handoff_pair.h"

#include "test.h"
#include "handoff/ticket.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[64];

const char *engines_setup(void)
{
    strcpy(dir, "/tmp/segue-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

void engines_cleanup(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

/* ---- engines ---- */

static void rank_open(struct engine *e, uint32_t r, const char *model)
{
    uint64_t len = segue_layout_bytes(&e->layout);
    segue_device *device = e->rank_device[r];
    segue_agent *agent = e->rank_agent[r];
    assert_ok(segue_alloc(device, len, &e->address[r]));
    void *view;
    e->mirrored = segue_device_view(device, e->address[r], len, &view) ==
                  SEGUE_E_UNSUPPORTED;
    e->view[r] = e->mirrored ? calloc(1, len) : view;
    assert_ok(segue_region_register(agent, device, e->address[r], len, &e->region[r]));
    struct segue_cache_opts opts = SEGUE_CACHE_OPTS_INIT;
    opts.model = model ? model : "test-model";
    opts.convention = "rope:half";
    opts.layout = e->layout;
    opts.rank = r;
    opts.ranks = e->geometry.ranks;
    opts.head_first = r * e->layout.heads;
    opts.heads_total = e->heads;
    opts.region = e->region[r];
    assert_ok(segue_cache_open(agent, &opts, &e->cache[r]));
}

static void ranks_open(struct engine *e, const struct geometry *g, const char *model)
{
    e->geometry = *g;
    e->layout = (struct segue_layout)SEGUE_LAYOUT_INIT;
    assert_ok(segue_layout_named(g->order, g->dtype, e->layers, e->blocks,
                                 g->block_tokens, e->heads / g->ranks, e->head_size,
                                 &e->layout));
    for (uint32_t r = 0; r < g->ranks; r++)
        rank_open(e, r, model);
    for (uint32_t r = 0; e->apart && r < g->ranks; r++)
        assert_ok(segue_endpoint_join(e->rank_agent[r]));
}

static void ranks_close(struct engine *e)
{
    for (uint32_t r = 0; r < e->geometry.ranks; r++) {
        segue_cache_close(e->cache[r]);
        segue_region_deregister(e->region[r]);
        segue_free(e->rank_device[r], e->address[r]);
        if (e->mirrored)
            free(e->view[r]);
    }
}

static void agents_open(struct engine *e, const struct geometry *g,
                        struct segue_agent_opts *opts)
{
    static uint8_t incarnation[16];
    incarnation[0]++;
    if (e->apart)
        opts->incarnation = incarnation;
    assert_ok(segue_agent_create(opts, &e->agent));
    if (e->apart)
        assert_ok(segue_endpoint_open(e->agent, g->ranks));
    assert_ok(segue_device_find(e->agent, g->device, &e->device));
    for (uint32_t r = 0; r < RANKS_MAX; r++) {
        e->rank_agent[r] = e->agent;
        e->rank_device[r] = e->device;
        if (!e->apart || r >= g->ranks)
            continue;
        opts->endpoint = segue_agent_address(e->agent);
        opts->rank = r;
        opts->ranks = g->ranks;
        assert_ok(segue_agent_create(opts, &e->rank_agent[r]));
        assert_ok(segue_device_find(e->rank_agent[r], g->device, &e->rank_device[r]));
    }
}

void engine_open(struct engine *e, const struct geometry *g,
                 const struct segue_agent_opts *from, const char *model)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    if (from)
        opts = *from;
    if (!opts.ipc_dir)
        opts.ipc_dir = dir;
    uint32_t layers = e->layers ? e->layers : 3, heads = e->heads ? e->heads : 4;
    uint32_t head_size = e->head_size ? e->head_size : 16,
             blocks = e->blocks ? e->blocks : 24;
    *e = (struct engine){.layers = layers,
                         .heads = heads,
                         .head_size = head_size,
                         .blocks = blocks,
                         .apart = e->apart};
    agents_open(e, g, &opts);
    ranks_open(e, g, model);
}

void engine_change(struct engine *e, const struct geometry *g)
{
    ranks_close(e);
    ranks_open(e, g, NULL);
}

void engine_close(struct engine *e)
{
    ranks_close(e);
    for (uint32_t r = 0; e->apart && r < e->geometry.ranks; r++)
        segue_agent_destroy(e->rank_agent[r]);
    segue_agent_destroy(e->agent);
}

/* ---- pattern ---- */

/* What the device's memory holds is looked at, or written, as a whole. */
static void mirror(struct engine *e, bool out)
{
    size_t len = segue_layout_bytes(&e->layout);
    for (uint32_t r = 0; e->mirrored && r < e->geometry.ranks; r++)
        assert_ok(out ? segue_copy(e->rank_device[r], e->address[r], len, e->view[r], len,
                                   len, 1)
                      : segue_copy(e->rank_device[r], e->view[r], len, e->address[r], len,
                                   len, 1));
}

typedef void visit(char *at, uint32_t bytes, uint64_t id, void *user);

/* Calls fn for every (layer, token, head, part) of tokens [first, tokens) with a number of the model's coordinates. */
static void walk(struct engine *e, const uint32_t *blocks, uint32_t first,
                 uint32_t tokens, visit *fn, void *user)
{
    const struct segue_layout *l = &e->layout;
    for (uint32_t r = 0; r < e->geometry.ranks; r++)
        for (uint32_t layer = 0; layer < l->layers; layer++)
            for (uint32_t t = first; t < tokens; t++)
                for (uint32_t h = 0; h < l->heads; h++)
                    for (int part = 0; part < 2; part++) {
                        const struct segue_layout_part *p = part ? &l->v : &l->k;
                        char *at = e->view[r] + p->offset + layer * p->layer +
                                   blocks[t / l->block_tokens] * p->block +
                                   t % l->block_tokens * p->token + h * p->head;
                        uint64_t id = (((uint64_t)layer * 64 + (r * l->heads + h)) * 2 +
                                       (uint64_t)part)
                                          << 32 |
                                      t;
                        fn(at, p->bytes, id, user);
                    }
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

static void write_pattern(char *at, uint32_t bytes, uint64_t id, void *user)
{
    for (uint32_t i = 0; i < bytes; i++)
        at[i] = (char)mix(id * 257 + i + *(uint32_t *)user * 7919u);
}

uint64_t engine_fill(struct engine *e, const uint32_t *blocks, uint32_t first,
                     uint32_t tokens, uint32_t salt)
{
    mirror(e, false);
    walk(e, blocks, first, tokens, write_pattern, &salt);
    mirror(e, true);
    return 0;
}

struct differ {
    uint32_t salt;
    uint64_t n;
};

static void check_pattern(char *at, uint32_t bytes, uint64_t id, void *user)
{
    struct differ *d = user;
    for (uint32_t i = 0; i < bytes; i++)
        d->n += at[i] != (char)mix(id * 257 + i + d->salt * 7919u);
}

uint64_t engine_differs(struct engine *e, const uint32_t *blocks, uint32_t first,
                        uint32_t tokens, uint32_t salt)
{
    struct differ d = {salt, 0};
    mirror(e, false);
    walk(e, blocks, first, tokens, check_pattern, &d);
    return d.n;
}

static void paint_over(char *at, uint32_t bytes, uint64_t id, void *user)
{
    memset(at, *(int *)user, bytes);
}

uint64_t engine_stray(struct engine *e, const uint32_t *blocks, uint32_t first,
                      uint32_t tokens, int background)
{
    uint64_t n = 0, len = segue_layout_bytes(&e->layout);
    mirror(e, false);
    walk(e, blocks, first, tokens, paint_over, &background);
    for (uint32_t r = 0; r < e->geometry.ranks; r++)
        for (uint64_t i = 0; i < len; i++)
            n += e->view[r][i] != (char)background;
    return n;
}

void engine_paint(struct engine *e, int background)
{
    for (uint32_t r = 0; r < e->geometry.ranks; r++)
        memset(e->view[r], background, segue_layout_bytes(&e->layout));
    mirror(e, true);
}

uint32_t engine_needs(const struct engine *e, uint32_t tokens)
{
    return (tokens + e->geometry.block_tokens - 1) / e->geometry.block_tokens;
}

void engine_blocks(const struct engine *e, uint32_t seed, uint32_t *blocks, uint32_t n)
{
    uint32_t all[1024];
    assert_true(n <= e->blocks && e->blocks <= 1024);
    for (uint32_t i = 0; i < e->blocks; i++)
        all[i] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i + (uint32_t)(mix(seed * 1000003u + i) % (e->blocks - i)),
                 kept = all[i];
        all[i] = all[j];
        all[j] = kept;
        blocks[i] = all[i];
    }
}

/* ---- events ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct segue_event engine_event(struct engine *e, enum segue_event_type type,
                                double seconds)
{
    double end = now() + seconds;
    struct segue_event event;
    for (;;) {
        if (segue_event_next(e->agent, &event) == SEGUE_OK) {
            if (event.type != type)
                fail_msg("event %d (%s: %s) instead of %d", event.type,
                         segue_verdict_name(event.verdict), event.detail, type);
            return event;
        }
        double left = end - now();
        if (left <= 0)
            fail_msg("no event %d within %.1f s", type, seconds);
        struct pollfd p = {segue_agent_fd(e->agent), POLLIN, 0};
        poll(&p, 1, (int)(left * 1000) + 1);
    }
}

bool engine_quiet(struct engine *e, double seconds)
{
    struct segue_event event;
    struct pollfd p = {segue_agent_fd(e->agent), POLLIN, 0};
    poll(&p, 1, (int)(seconds * 1000));
    return segue_event_next(e->agent, &event) == SEGUE_E_NOT_FOUND;
}

/* ---- hand-offs ---- */

struct segue_prompt_hash prompt_of(uint32_t salt)
{
    struct segue_prompt_hash hash;
    int32_t token = (int32_t)salt;
    segue_prompt_hash(&token, 1, "test", &hash);
    return hash;
}

struct segue_ticket engine_offer(struct engine *p, const uint32_t *blocks,
                                 uint32_t tokens, uint32_t salt)
{
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = tokens;
    opts.hash = prompt_of(salt);
    struct segue_offer_id id;
    struct segue_ticket ticket;
    assert_ok(segue_offer_mint(p->agent, &opts, &id));
    for (uint32_t r = 0; r < p->geometry.ranks; r++)
        assert_ok(
            segue_offer_create(p->cache[r], &id, blocks, engine_needs(p, tokens), NULL));
    assert_ok(segue_offer_ticket(p->agent, &id, &ticket));
    return ticket;
}

static enum segue_status prove(struct segue_agent *agent, void *ticket)
{
    struct segue_ticket *t = ticket;
    memcpy(t->host, agent->boot_id, sizeof t->host);
    return segue_ticket_prove(agent, t);
}

void engine_prove(struct engine *p, struct segue_ticket *ticket)
{
    assert_ok(segue_agent_call(p->agent, prove, ticket));
}

uint64_t engine_claim(struct engine *d, const struct segue_ticket *ticket,
                      const uint32_t *blocks, uint32_t first, uint32_t salt,
                      enum segue_digest digest, uint64_t *claims)
{
    struct segue_group_opts opts = SEGUE_GROUP_OPTS_INIT;
    opts.ranks = d->geometry.ranks;
    opts.tokens = ticket->tokens;
    opts.hash = prompt_of(salt);
    opts.digest = digest;
    opts.timeout_ns = 20000000000u;
    uint64_t group;
    assert_ok(segue_group_open(d->agent, ticket, &opts, &group));
    for (uint32_t r = 0; r < d->geometry.ranks; r++) {
        struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
        claim.blocks = blocks;
        claim.n_blocks = engine_needs(d, ticket->tokens);
        claim.first = first;
        uint64_t id;
        assert_ok(segue_claim_post(d->agent, group, d->cache[r], &claim,
                                   claims ? &claims[r] : &id));
    }
    return group;
}

struct segue_event engine_settled(struct engine *d, enum segue_verdict want,
                                  double seconds)
{
    uint32_t verdicts = 0, released = 0, groups = 0;
    struct segue_event last = {0};
    double end = now() + seconds;
    while (verdicts < d->geometry.ranks || released < d->geometry.ranks || groups < 1) {
        struct segue_event event;
        if (segue_event_next(d->agent, &event) != SEGUE_OK) {
            if (now() > end)
                fail_msg("%u verdicts, %u released, %u groups within %.1f s", verdicts,
                         released, groups, seconds);
            struct pollfd p = {segue_agent_fd(d->agent), POLLIN, 0};
            poll(&p, 1, 50);
            continue;
        }
        if (event.type == SEGUE_EVENT_VERDICT) {
            verdicts++;
            if (event.verdict != want)
                fail_msg("verdict %s (%s), want %s", segue_verdict_name(event.verdict),
                         event.detail, segue_verdict_name(want));
            last = event;
        } else if (event.type == SEGUE_EVENT_RELEASED) {
            released++;
        } else if (event.type == SEGUE_EVENT_GROUP) {
            groups++;
            assert_int_equal(event.verdict, want);
        } else {
            fail_msg("event %d", event.type);
        }
    }
    assert_int_equal(verdicts, d->geometry.ranks); /* exactly one each (R7b) */
    assert_int_equal(released, d->geometry.ranks);
    assert_int_equal(groups, 1);
    return last;
}
