/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer's half of the pair, and what both halves have in common. */
#include "bench.h"
#include "bench/pair.h"
#include "bench/pair_inside.h"
#include "bench/reference.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint64_t smallest_room = 64 << 20; /* twice a large last-level cache */

bool bench_pair_fail(struct bench_pair *pair, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(pair->why, sizeof pair->why, format, args);
    va_end(args);
    return false;
}

/* ---- sides ---- */

static uint32_t blocks_of(uint32_t tokens, uint32_t block_tokens)
{
    return (tokens + block_tokens - 1) / block_tokens;
}

static uint64_t token_bytes(const struct bench_shape *shape)
{
    return (uint64_t)shape->layers * shape->heads * shape->head_size *
           (shape->latent ? 1 : 2) * segue_dtype_size(shape->dtype);
}

/* Fisher and Yates; the same order in every run. */
static void shuffle(uint32_t *order, uint32_t n, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t j = (uint32_t)((seed >> 33) % i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static bool side_plan(struct bench_pair *pair, struct bench_side *side,
                      const struct bench_paging *paging, uint64_t seed)
{
    const struct bench_shape *shape = &pair->setup.shape;
    uint64_t block_bytes = token_bytes(shape) * paging->block_tokens;
    side->needed = blocks_of(shape->tokens, paging->block_tokens);
    /* Whole hand-offs, so that each turn's blocks are apart from the last one's. */
    uint64_t each = block_bytes * side->needed;
    uint32_t turns = (uint32_t)((smallest_room + each - 1) / each);
    uint32_t blocks = pair->setup.blocks ? pair->setup.blocks : turns * side->needed;
    side->layout = (struct segue_layout)SEGUE_LAYOUT_INIT;
    if (segue_layout_sized(paging->order, shape->dtype, shape->layers, blocks,
                           paging->block_tokens, shape->heads, shape->head_size,
                           shape->latent ? 0 : shape->head_size, &side->layout) < 0)
        return bench_pair_fail(pair, "%s", segue_error_detail());
    side->room = segue_layout_bytes(&side->layout);
    side->order = calloc(blocks, sizeof *side->order);
    side->blocks = calloc(side->needed, sizeof *side->blocks);
    if (!side->order || !side->blocks)
        return bench_pair_fail(pair, "no memory for %u block ids", blocks);
    shuffle(side->order, blocks, seed);
    return true;
}

const uint32_t *bench_side_blocks(struct bench_side *side, uint32_t turn)
{
    uint32_t turns = side->layout.blocks / side->needed;
    memcpy(side->blocks, side->order + (size_t)(turn % turns) * side->needed,
           side->needed * sizeof *side->blocks);
    return side->blocks;
}

bool bench_side_open(struct bench_pair *pair, struct bench_side *side,
                     const char *require)
{
    struct segue_agent_opts opts = SEGUE_AGENT_OPTS_INIT;
    opts.ipc_dir = pair->dir.path;
    opts.require = require;
    opts.mover_threads = pair->setup.threads;
    opts.fault = side == &pair->from ? pair->setup.fault_from : pair->setup.fault_to;
    struct segue_cache_opts cache = SEGUE_CACHE_OPTS_INIT;
    cache.model = "bench";
    cache.convention = "none";
    cache.layout = side->layout;
    cache.ranks = 1;
    void *memory = NULL;
    enum segue_status status = segue_agent_create(&opts, &side->agent);
    if (status >= 0)
        status = segue_device_find(side->agent, "host", &side->device);
    if (status >= 0)
        status = segue_alloc(side->device, side->room, &memory);
    side->memory = memory;
    if (status >= 0)
        status = segue_region_register(side->agent, side->device, memory, side->room,
                                       &side->region);
    cache.region = side->region;
    if (status >= 0)
        status = segue_cache_open(side->agent, &cache, &side->cache);
    return status >= 0 || bench_pair_fail(pair, "%s", segue_error_detail());
}

/* Its agent ends; it can be opened again. */
static void side_leave(struct bench_side *side)
{
    segue_cache_close(side->cache);
    segue_region_deregister(side->region);
    if (side->device)
        segue_free(side->device, side->memory);
    segue_agent_destroy(side->agent);
    side->cache = NULL;
    side->region = NULL;
    side->device = NULL;
    side->agent = NULL;
}

void bench_side_close(struct bench_side *side)
{
    side_leave(side);
    free(side->order);
    free(side->blocks);
}

/* ---- the child ---- */

static bool ask(struct bench_pair *pair, enum bench_ask what, uint64_t value,
                struct bench_answer *answer)
{
    struct bench_request request;
    memset(&request, 0, sizeof request); /* the padding travels too */
    request.what = what;
    request.value = value;
    if (send(pair->control, &request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        return bench_pair_fail(pair, "the producer is gone");
    if (!answer)
        return true;
    if (recv(pair->control, answer, sizeof *answer, 0) != sizeof *answer)
        return bench_pair_fail(pair, "the producer is gone");
    return answer->ok || bench_pair_fail(pair, "the producer: %s", answer->why);
}

static bool start_child(struct bench_pair *pair)
{
    int control[2], stream[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
        return bench_pair_fail(pair, "no socket: %s", strerror(errno));
    if (!bench_sockets(stream)) {
        close(control[0]);
        close(control[1]);
        return bench_pair_fail(pair, "no loopback socket: %s", strerror(errno));
    }
    fflush(NULL);
    pair->child = fork();
    if (pair->child == 0) {
        close(control[0]);
        close(stream[0]);
        close(pair->dir.lock); /* the folder is its parent's */
        pair->control = control[1];
        pair->stream = stream[1];
        bench_producer(pair);
    }
    close(control[1]);
    close(stream[1]);
    pair->control = control[0];
    pair->stream = stream[0];
    return pair->child > 0 || bench_pair_fail(pair, "no process: %s", strerror(errno));
}

/* ---- pieces for process_vm_readv ---- */

/* As many as the hand-off has where both sides keep blocks alike: one a block and layer. */
static void pieces(struct bench_pair *pair)
{
    const struct segue_layout *l = &pair->to.layout, *k = &pair->from.layout;
    const uint32_t *from = bench_side_blocks(&pair->from, pair->turn),
                   *to = bench_side_blocks(&pair->to, pair->turn);
    uint32_t tokens = pair->setup.shape.tokens;
    uint64_t token = pair->bytes / l->layers / tokens;
    size_t n = 0;
    for (uint32_t t = 0; t < tokens; t += l->block_tokens)
        for (uint32_t layer = 0; layer < l->layers; layer++, n++) {
            uint32_t left = tokens - t < l->block_tokens ? tokens - t : l->block_tokens;
            pair->pieces_from[n] = (struct iovec){
                pair->far + layer * k->k.layer + from[t / k->block_tokens] * k->k.block +
                    t % k->block_tokens * k->k.token,
                left * token};
            pair->pieces_to[n] = (struct iovec){pair->to.memory + layer * l->k.layer +
                                                    to[t / l->block_tokens] * l->k.block,
                                                left * token};
        }
}

double bench_pair_read(struct bench_pair *pair)
{
    pair->turn++;
    pieces(pair);
    uint64_t start = bench_now_ns();
    if (!bench_read(pair->child, pair->pieces_to, pair->pieces_from,
                    (size_t)pair->to.needed * pair->setup.shape.layers)) {
        bench_pair_fail(pair, "process_vm_readv: %s", strerror(errno));
        return 0;
    }
    return (double)(bench_now_ns() - start) / 1e9;
}

double bench_pair_copy(struct bench_pair *pair, unsigned threads)
{
    if (!pair->copy)
        pair->copy = bench_copy_faster(pair->to.memory, pair->source, pair->bytes);
    pair->copied += pair->bytes;
    if (pair->copied + pair->bytes > pair->to.room)
        pair->copied = 0;
    char *to = pair->to.memory + pair->copied, *from = pair->source + pair->copied;
    uint64_t start = bench_now_ns();
    if (threads == 2)
        bench_copy_by_two(pair->copy, to, from, pair->bytes);
    else
        pair->copy(to, from, pair->bytes);
    return (double)(bench_now_ns() - start) / 1e9;
}

double bench_pair_receive(struct bench_pair *pair)
{
    uint64_t start = bench_now_ns();
    if (!ask(pair, BENCH_ASK_SEND, pair->bytes, NULL))
        return 0;
    if (!bench_receive(pair->stream, pair->to.memory, pair->bytes)) {
        bench_pair_fail(pair, "the loopback socket broke");
        return 0;
    }
    return (double)(bench_now_ns() - start) / 1e9;
}

/* ---- life ---- */

static bool plan(struct bench_pair *pair)
{
    const struct bench_setup *s = &pair->setup;
    pair->bytes = token_bytes(&s->shape) * s->shape.tokens;
    if (!side_plan(pair, &pair->from, &s->from, 11) ||
        !side_plan(pair, &pair->to, &s->to, 23))
        return false;
    size_t n = (size_t)s->shape.layers * pair->to.needed;
    pair->pieces_to = calloc(n, sizeof *pair->pieces_to);
    pair->pieces_from = calloc(n, sizeof *pair->pieces_from);
    if (!pair->pieces_to || !pair->pieces_from)
        return bench_pair_fail(pair, "no memory for %zu pieces", n);
    if (!folder_make(&pair->dir, BENCH_FOLDER))
        return bench_pair_fail(pair, "no folder for sockets: %s", strerror(errno));
    return true;
}

bool bench_pair_open_producer(struct bench_pair *pair, const struct bench_setup *setup)
{
    *pair = (struct bench_pair){.setup = *setup, .control = -1, .stream = -1};
    struct bench_answer answer;
    if (!plan(pair) || !start_child(pair) || !ask(pair, BENCH_ASK_READY, 0, &answer))
        return false;
    pair->far = answer.memory;
    return true;
}

bool bench_pair_open(struct bench_pair *pair, const struct bench_setup *setup)
{
    if (!bench_pair_open_producer(pair, setup))
        return false;
    if (!bench_side_open(pair, &pair->to, setup->path))
        return false;
    void *source;
    if (segue_alloc(pair->to.device, pair->to.room, &source) < 0)
        return bench_pair_fail(pair, "%s", segue_error_detail());
    pair->source = source;
    memset(pair->source, 1, pair->to.room);
    struct bench_times times;
    return bench_pair_hand_over(pair, SEGUE_DIGEST_FULL, &times) &&
           bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &times);
}

void bench_pair_close(struct bench_pair *pair)
{
    if (pair->to.device)
        segue_free(pair->to.device, pair->source);
    bench_side_close(&pair->to);
    free(pair->from.order); /* its agent is the child's */
    free(pair->from.blocks);
    free(pair->pieces_to);
    free(pair->pieces_from);
    if (pair->control >= 0)
        close(pair->control); /* tells the child to end */
    if (pair->stream >= 0)
        close(pair->stream);
    if (pair->child > 0)
        waitpid(pair->child, NULL, 0);
    folder_remove(&pair->dir);
}

/* ---- hand-offs ---- */

static bool next_event(struct bench_pair *pair, struct segue_event *event)
{
    while (segue_event_next(pair->to.agent, event) != SEGUE_OK) {
        struct pollfd p = {segue_agent_fd(pair->to.agent), POLLIN, 0};
        if (poll(&p, 1, 60000) == 0)
            return bench_pair_fail(pair, "no event within a minute");
    }
    return true;
}

/* VERDICT, RELEASED and GROUP, in whatever order they come. */
static bool settle(struct bench_pair *pair, uint64_t start, struct bench_times *times)
{
    struct segue_event event;
    for (int seen = 0; seen < 3; seen++) {
        if (!next_event(pair, &event))
            return false;
        if (event.type != SEGUE_EVENT_VERDICT)
            continue;
        times->total = (double)(bench_now_ns() - start) / 1e9;
        times->data = (double)event.report.copy_ns / 1e9;
        if (event.verdict != SEGUE_VERDICT_VALID)
            return bench_pair_fail(pair, "the verdict is %s: %s",
                                   segue_verdict_name(event.verdict), event.detail);
        if (strcmp(event.report.path, pair->setup.path) != 0 ||
            event.report.bytes_moved != pair->bytes)
            return bench_pair_fail(pair, "%llu bytes over %s instead of %llu over %s",
                                   (unsigned long long)event.report.bytes_moved,
                                   event.report.path, (unsigned long long)pair->bytes,
                                   pair->setup.path);
        /* What is sent may be on its way before its accept is read. */
        if (strncmp(pair->setup.path, "tcp/", 4) == 0)
            times->data += (double)event.report.wait_ns / 1e9;
    }
    return true;
}

bool bench_pair_ask_offer(struct bench_pair *pair, struct segue_ticket *ticket)
{
    struct bench_answer answer;
    if (!ask(pair, BENCH_ASK_OFFER, ++pair->turn, &answer))
        return false;
    *ticket = answer.ticket;
    return true;
}

bool bench_pair_hand_over(struct bench_pair *pair, enum segue_digest digest,
                          struct bench_times *times)
{
    struct segue_ticket ticket;
    if (!bench_pair_ask_offer(pair, &ticket))
        return false;
    struct segue_group_opts group = SEGUE_GROUP_OPTS_INIT;
    group.tokens = ticket.tokens;
    group.hash = ticket.hash;
    group.digest = digest;
    struct segue_claim_opts claim = SEGUE_CLAIM_OPTS_INIT;
    claim.blocks = bench_side_blocks(&pair->to, pair->turn);
    claim.n_blocks = pair->to.needed;
    uint64_t group_id, claim_id;
    if (segue_group_open(pair->to.agent, &ticket, &group, &group_id) < 0)
        return bench_pair_fail(pair, "%s", segue_error_detail());
    uint64_t start = bench_now_ns();
    if (segue_claim_post(pair->to.agent, group_id, pair->to.cache, &claim, &claim_id) < 0)
        return bench_pair_fail(pair, "%s", segue_error_detail());
    return settle(pair, start, times);
}

/* Bytes of shared memory in this process's page tables. */
static uint64_t resident(void)
{
    unsigned long long size, all, shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu %llu %llu", &size, &all, &shared) != 3)
        shared = 0;
    if (file)
        fclose(file);
    return shared * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool contact(struct bench_pair *pair, struct bench_contact *out)
{
    struct bench_times first, second;
    const struct timespec moment = {0, 200000};
    if (!bench_side_open(pair, &pair->to, pair->setup.path))
        return false;
    uint64_t before = resident(), start = bench_now_ns(), now = start;
    if (!bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &first))
        return false;
    while (resident() < before + pair->from.room) {
        now = bench_now_ns();
        if (now - start > 60000000000u)
            return bench_pair_fail(pair, "the peer's cache is not mapped after a minute");
        nanosleep(&moment, NULL);
    }
    out->map_in = (double)(bench_now_ns() - start) / 1e9;
    if (!bench_pair_hand_over(pair, SEGUE_DIGEST_OFF, &second))
        return false;
    out->first = first.total;
    out->second = second.total;
    return true;
}

bool bench_pair_contact(struct bench_pair *pair, struct bench_contact *out)
{
    bool well = contact(pair, out);
    side_leave(&pair->to);
    return well;
}

uint64_t bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_pair_cpu_ns(struct bench_pair *pair)
{
    struct bench_answer answer;
    return ask(pair, BENCH_ASK_CPU, 0, &answer) ? answer.cpu_ns + bench_cpu_ns() : 0;
}
