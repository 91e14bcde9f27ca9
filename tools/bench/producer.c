/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's process: fills a cache, and offers and sends what it is asked for. */
#include "bench/pair_inside.h"
#include "bench/reference.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* No two blocks alike. */
static void fill(struct bench_side *side)
{
    uint64_t x = 1;
    for (uint64_t i = 0; i + 8 <= side->room; i += 8) {
        x += 0x9e3779b97f4a7c15u;
        uint64_t y = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
        memcpy(side->memory + i, &y, sizeof y);
    }
}

static bool offer(struct bench_pair *pair, uint32_t turn, struct segue_ticket *ticket)
{
    struct bench_side *side = &pair->from;
    struct segue_event event;
    while (segue_event_next(side->agent, &event) == SEGUE_OK)
        ; /* ends of earlier offers */
    struct segue_offer_opts opts = SEGUE_OFFER_OPTS_INIT;
    opts.tokens = pair->setup.shape.tokens;
    int32_t token = (int32_t)turn;
    segue_prompt_hash(&token, 1, "bench", &opts.hash);
    struct segue_offer_id id;
    enum segue_status status = segue_offer_mint(side->agent, &opts, &id);
    if (status >= 0)
        status = segue_offer_create(side->cache, &id, bench_side_blocks(side, turn),
                                    side->needed, NULL);
    if (status >= 0)
        status = segue_offer_ticket(side->agent, &id, ticket);
    return status >= 0 || bench_pair_fail(pair, "%s", segue_error_detail());
}

static void serve(struct bench_pair *pair, const struct bench_request *request, bool open)
{
    struct bench_answer answer = {.ok = open, .memory = pair->from.memory};
    switch (request->what) {
    case BENCH_ASK_READY:
        break;
    case BENCH_ASK_OFFER:
        answer.ok = open && offer(pair, (uint32_t)request->value, &answer.ticket);
        break;
    case BENCH_ASK_SEND:
        if (!open || !bench_send(pair->stream, pair->from.memory, request->value))
            _exit(1);
        return;
    case BENCH_ASK_CPU:
        answer.cpu_ns = bench_cpu_ns();
        break;
    }
    snprintf(answer.why, sizeof answer.why, "%.255s", pair->why);
    send(pair->control, &answer, sizeof answer, MSG_NOSIGNAL);
}

_Noreturn void bench_producer(struct bench_pair *pair)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the parent ends it */
    bool open = bench_side_open(pair, &pair->from, NULL);
    if (open)
        fill(&pair->from);
    struct bench_request request;
    while (recv(pair->control, &request, sizeof request, 0) == sizeof request)
        serve(pair, &request, open);
    bench_side_close(&pair->from);
    _exit(0);
}
