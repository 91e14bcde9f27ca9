/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims, the consumer's half: "bring that offer's tokens into these blocks of mine". One group an engine and hand-off,
 * one claim a rank. A claim ends twice: VERDICT, then RELEASED; only after RELEASED may its blocks be used for anything
 * else (rule R7b). `valid` means the bytes are visible to any device work submitted after the event was seen.
 */
#ifndef SEGUE_CLAIM_H
#define SEGUE_CLAIM_H

#include <segue/ticket.h>

#ifdef __cplusplus
extern "C" {
#endif

enum segue_digest {
    SEGUE_DIGEST_OFF = 0,
    SEGUE_DIGEST_SAMPLE = 1, /* the first and the last layer */
    SEGUE_DIGEST_FULL = 2,   /* every byte, on both sides */
};

struct segue_group_opts {
    size_t size;    /* sizeof, set by SEGUE_GROUP_OPTS_INIT */
    uint32_t ranks; /* how many claims this engine will post; zero: 1 */
    struct segue_prompt_hash
        hash; /* of the prompt this engine was asked to decode: must be the ticket's (rule R3) */
    uint32_t tokens; /* its tokens; must be the ticket's */
    enum segue_digest digest;
    uint64_t
        timeout_ns; /* deadline of every claim from its posting; zero: the agent's claim_ns */
    void *user;
    uint32_t
        siblings; /* answers that will share these claims (n > 1): each counts as one use of
                          the ticket's (rule R9); zero: 1 */
    uint64_t
        use; /* in a rank with a process of its own: the number of the engine's group at its
                     endpoint, which holds and ends; zero: this is it */
};
#define SEGUE_GROUP_OPTS_INIT                                                            \
    {                                                                                    \
        .size = sizeof(struct segue_group_opts)                                          \
    }

/* What: opens the group of one hand-off. It ends with one GROUP event, after its last claim's VERDICT, or at once when it
 * is closed without claims. The producer is told then (`end`), so that it can free its blocks. Any thread.
 * Errors: E_MISMATCH when hash or tokens are not the ticket's, E_REFUSED when the ticket's proof does not fit (forged,
 * damaged, made with a key that this agent does not have) or its address may not be followed. */
SEGUE_API enum segue_status segue_group_open(segue_agent *agent,
                                             const struct segue_ticket *ticket,
                                             const struct segue_group_opts *opts,
                                             uint64_t *group);

/* What: gives the hand-off up or ends it without claims (everything cached already, request refused: rule R10): open
 * claims are cancelled, the producer is told that this use is over. GROUP follows. Any thread. E_NOT_FOUND: already ended. */
SEGUE_API enum segue_status segue_group_close(segue_agent *agent, uint64_t group);

/* What: how a rank in a process of its own ended its part of the group: the engine says so at its endpoint, once a rank.
 * GROUP follows the last. Any thread. E_NOT_FOUND: already ended. E_INVALID: no verdict, or more than ranks. */
SEGUE_API enum segue_status segue_group_report(segue_agent *agent, uint64_t group,
                                               enum segue_verdict verdict,
                                               const char *detail);

struct segue_claim_opts {
    size_t size; /* sizeof, set by SEGUE_CLAIM_OPTS_INIT */
    const uint32_t
        *blocks; /* destination blocks of the whole prompt in token order (copied) */
    uint32_t n_blocks;
    uint32_t
        first; /* tokens [0, first) are there already (prefix cache): their blocks are not written */
    const struct segue_sync
        *writable; /* the blocks may be written once this has retired; NULL: now */
    void *user;
};
#define SEGUE_CLAIM_OPTS_INIT                                                            \
    {                                                                                    \
        .size = sizeof(struct segue_claim_opts)                                          \
    }

/* What: claims tokens [first, ticket.tokens) into this rank's cache. Returns at once. Any thread.
 * Errors: E_RANGE naming the block id or count, E_BUSY when a block has another open claim, E_NOT_FOUND: no such group. */
SEGUE_API enum segue_status segue_claim_post(segue_agent *agent, uint64_t group,
                                             segue_cache *cache,
                                             const struct segue_claim_opts *opts,
                                             uint64_t *claim);

/* What: gives up; VERDICT cancelled (unless it was judged before) and RELEASED follow. E_NOT_FOUND: ended. Any thread. */
SEGUE_API enum segue_status segue_claim_cancel(segue_agent *agent, uint64_t claim);

/* What: "the request waits here, keep the offer": renews the lease now and until the group's first claim or its end, at
 * most 300 s (rule R11). Any thread. */
SEGUE_API enum segue_status segue_group_hold(segue_agent *agent, uint64_t group);

/* What: the transcript of the path choice for the last claim between this cache and that engine: what was chosen and one
 * line why each other was refused. Text, NUL terminated, cut at `cap`. E_NOT_FOUND before first contact. Any thread. */
SEGUE_API enum segue_status segue_path_explain(segue_cache *cache, const char *engine_id,
                                               char *text, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
