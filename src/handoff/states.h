/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of everything in a hand-off: which state follows on what. These tables are the rules; docs/wire.md section 6
 * shows them (a test holds the two against each other), and no state changes but through segue_step.
 *
 * A table is three lists: STATES(X) X(NAME, "name"), the first being the one an object is made in; EVENTS(X) alike; and
 * RULES(X) X(STATE, EVENT, STATE). What is in no rule cannot be: an event of our own then is a bug, and one that a peer
 * chooses is asked about first (segue_may).
 */
#ifndef HANDOFF_STATES_H
#define HANDOFF_STATES_H

#include <stdbool.h>
#include <stdint.h>

/* An offer, at one producer agent. */
#define SEGUE_OFFER_STATES(X)                                                            \
    X(MINTED, "minted") /* no cache's blocks can be read yet: claims are parked (R2) */  \
    X(OFFERED, "offered") /* of one cache at least they can */                           \
    X(ENDING, "ending")   /* judged over (R6), but somebody here still reads */          \
    X(ENDED, "ended")     /* OFFER_ENDED: the blocks are the engine's again */
#define SEGUE_OFFER_EVENTS(X)                                                            \
    X(READY, "ready") /* a cache's `ready` has retired (R14) */                          \
    X(END, "end")     /* its last use, its lease, a revocation or a reset */             \
    X(QUIET, "quiet") /* no copy, digest or wait of ours is left */
#define SEGUE_OFFER_RULES(X)                                                             \
    X(MINTED, READY, OFFERED)                                                            \
    X(MINTED, END, ENDING)                                                               \
    X(OFFERED, READY, OFFERED)                                                           \
    X(OFFERED, END, ENDING)                                                              \
    X(ENDING, QUIET, ENDED)

/* An offer's lease. */
#define SEGUE_LEASE_STATES(X)                                                            \
    X(HELD, "held")       /* nobody reads; holds prolong it, up to a cap (R11) */        \
    X(CLAIMED, "claimed") /* claims are open; they prolong it, up to a cap */            \
    X(OVER, "over")
#define SEGUE_LEASE_EVENTS(X)                                                            \
    X(HOLD, "hold")                                                                      \
    X(CLAIM, "claim")                                                                    \
    X(RENEW, "renew")                                                                    \
    X(LEFT, "left") /* the last open claim has ended */                                  \
    X(END, "end")   /* the offer's end: time has run out, or something else */
#define SEGUE_LEASE_RULES(X)                                                             \
    X(HELD, HOLD, HELD)                                                                  \
    X(HELD, CLAIM, CLAIMED)                                                              \
    X(HELD, END, OVER)                                                                   \
    X(CLAIMED, HOLD, CLAIMED)                                                            \
    X(CLAIMED, CLAIM, CLAIMED)                                                           \
    X(CLAIMED, RENEW, CLAIMED)                                                           \
    X(CLAIMED, LEFT, HELD)                                                               \
    X(CLAIMED, END, OVER)                                                                \
    X(OVER, LEFT, OVER)

/* One consumer engine's use of an offer, at one producer agent (R9). */
#define SEGUE_USE_STATES(X)                                                              \
    X(TAKEN, "taken")                                                                    \
    X(SPENT, "spent") /* counts against `uses` for good */                               \
    X(BACK, "back")   /* given back: another may have it */
#define SEGUE_USE_EVENTS(X)                                                              \
    X(CLAIM, "claim") /* another cache of the same engine claims */                      \
    X(END, "end")     /* END, but for lost and cancelled */                              \
    X(FAIL, "fail")   /* END lost, timeout or cancelled */                               \
    X(DEATH, "death") /* the last link that claimed in it has gone */
#define SEGUE_USE_RULES(X)                                                               \
    X(TAKEN, CLAIM, TAKEN)                                                               \
    X(TAKEN, END, SPENT)                                                                 \
    X(TAKEN, FAIL, BACK)                                                                 \
    X(TAKEN, DEATH, BACK)

/* A claim at the producer: one consumer cache reading one of ours. */
#define SEGUE_SERVE_STATES(X)                                                            \
    X(PARKED, "parked") /* the blocks are not written yet (R2, R14) */                   \
    X(OPEN, "open")     /* accepted */                                                   \
    X(COMMITTED,                                                                         \
      "committed")  /* the consumer has every byte; our digest may not be done */        \
    X(OVER, "over") /* judged or given up; freed when quiet */
#define SEGUE_SERVE_EVENTS(X)                                                            \
    X(READY, "ready")                                                                    \
    X(COMMIT, "commit")                                                                  \
    X(JUDGE, "judge")                                                                    \
    X(END, "end") /* the offer ended, the parking time or the path did */                \
    X(CANCEL, "cancel")                                                                  \
    X(LOST, "lost") /* its link has gone */
#define SEGUE_SERVE_RULES(X)                                                             \
    X(PARKED, READY, OPEN)                                                               \
    X(PARKED, END, OVER)                                                                 \
    X(PARKED, CANCEL, OVER)                                                              \
    X(PARKED, LOST, OVER)                                                                \
    X(OPEN, COMMIT, COMMITTED)                                                           \
    X(OPEN, END, OVER)                                                                   \
    X(OPEN, CANCEL, OVER)                                                                \
    X(OPEN, LOST, OVER)                                                                  \
    X(COMMITTED, JUDGE, OVER)                                                            \
    X(COMMITTED, END, OVER)                                                              \
    X(COMMITTED, CANCEL, OVER)                                                           \
    X(COMMITTED, LOST, OVER)

/* A consumer rank's claim. */
#define SEGUE_CLAIM_STATES(X)                                                            \
    X(WAITING, "waiting")   /* for `writable` (R14) or for the producer's caches */      \
    X(PAIRED, "paired")     /* its pairs run */                                          \
    X(JUDGED, "judged")     /* VERDICT (R7b); its blocks are in quarantine */            \
    X(RELEASED, "released") /* nothing can touch its blocks any more */
#define SEGUE_CLAIM_EVENTS(X)                                                            \
    X(BEGIN, "begin")                                                                    \
    X(JUDGE, "judge")                                                                    \
    X(QUIET, "quiet")
#define SEGUE_CLAIM_RULES(X)                                                             \
    X(WAITING, BEGIN, PAIRED)                                                            \
    X(WAITING, JUDGE, JUDGED)                                                            \
    X(PAIRED, JUDGE, JUDGED)                                                             \
    X(JUDGED, QUIET, RELEASED)

/* A pair: a claim's share from one producer cache. */
#define SEGUE_PAIR_STATES(X)                                                             \
    X(ROUTING, "routing")     /* the path is being opened */                             \
    X(CLAIMED, "claimed")     /* CLAIM sent */                                           \
    X(MOVING, "moving")       /* accepted, bytes on their way */                         \
    X(DIGESTING, "digesting") /* all here, being hashed */                               \
    X(COMMITTED, "committed") /* COMMIT sent (R7) */                                     \
    X(JUDGED, "judged")
#define SEGUE_PAIR_EVENTS(X)                                                             \
    X(ROUTED, "routed")                                                                  \
    X(ACCEPT, "accept")                                                                  \
    X(DIGEST, "digest") /* the last byte is here, and a digest was asked for */          \
    X(COMMIT, "commit") /* the last byte is here, or hashed */                           \
    X(VERDICT, "verdict")                                                                \
    X(STOP, "stop") /* our side ends it */
/* A stream may be through before its accept is read. */
#define SEGUE_PAIR_RULES(X)                                                              \
    X(ROUTING, ROUTED, CLAIMED)                                                          \
    X(ROUTING, STOP, JUDGED)                                                             \
    X(CLAIMED, ACCEPT, MOVING)                                                           \
    X(CLAIMED, DIGEST, DIGESTING)                                                        \
    X(CLAIMED, COMMIT, COMMITTED)                                                        \
    X(CLAIMED, VERDICT, JUDGED)                                                          \
    X(CLAIMED, STOP, JUDGED)                                                             \
    X(MOVING, DIGEST, DIGESTING)                                                         \
    X(MOVING, COMMIT, COMMITTED)                                                         \
    X(MOVING, VERDICT, JUDGED)                                                           \
    X(MOVING, STOP, JUDGED)                                                              \
    X(DIGESTING, COMMIT, COMMITTED)                                                      \
    X(DIGESTING, VERDICT, JUDGED)                                                        \
    X(DIGESTING, STOP, JUDGED)                                                           \
    X(COMMITTED, VERDICT, JUDGED)                                                        \
    X(COMMITTED, STOP, JUDGED)

/* A consumer engine's group. */
#define SEGUE_GROUP_STATES(X)                                                            \
    X(DIALLING, "dialling")                                                              \
    X(ASKING, "asking") /* linked; the producer describes its caches */                  \
    X(READY, "ready")                                                                    \
    X(FAILED, "failed")                                                                  \
    X(OVER, "over") /* its verdict is told, END sent where there is a link (R8) */
#define SEGUE_GROUP_EVENTS(X)                                                            \
    X(LINKED, "linked")                                                                  \
    X(TOLD, "told") /* the caches are known, or nobody will claim */                     \
    X(FAIL, "fail")                                                                      \
    X(FINISH, "finish")
#define SEGUE_GROUP_RULES(X)                                                             \
    X(DIALLING, LINKED, ASKING)                                                          \
    X(DIALLING, FAIL, FAILED)                                                            \
    X(ASKING, TOLD, READY)                                                               \
    X(ASKING, FAIL, FAILED)                                                              \
    X(ASKING, FINISH, OVER)                                                              \
    X(READY, FAIL, FAILED)                                                               \
    X(READY, FINISH, OVER)                                                               \
    X(FAILED, FINISH, OVER)

/* Name in code, name for people and the document. */
#define SEGUE_MACHINES(X)                                                                \
    X(OFFER, offer)                                                                      \
    X(LEASE, lease)                                                                      \
    X(USE, use)                                                                          \
    X(SERVE, serve)                                                                      \
    X(CLAIM, claim)                                                                      \
    X(PAIR, pair)                                                                        \
    X(GROUP, group)

#define SEGUE_STATE_OF_OFFER(name, text) SEGUE_OFFER_##name,
#define SEGUE_STATE_OF_LEASE(name, text) SEGUE_LEASE_##name,
#define SEGUE_STATE_OF_USE(name, text)   SEGUE_USE_##name,
#define SEGUE_STATE_OF_SERVE(name, text) SEGUE_SERVE_##name,
#define SEGUE_STATE_OF_CLAIM(name, text) SEGUE_CLAIM_##name,
#define SEGUE_STATE_OF_PAIR(name, text)  SEGUE_PAIR_##name,
#define SEGUE_STATE_OF_GROUP(name, text) SEGUE_GROUP_##name,
#define SEGUE_EVENT_OF_OFFER(name, text) SEGUE_OFFER_ON_##name,
#define SEGUE_EVENT_OF_LEASE(name, text) SEGUE_LEASE_ON_##name,
#define SEGUE_EVENT_OF_USE(name, text)   SEGUE_USE_ON_##name,
#define SEGUE_EVENT_OF_SERVE(name, text) SEGUE_SERVE_ON_##name,
#define SEGUE_EVENT_OF_CLAIM(name, text) SEGUE_CLAIM_ON_##name,
#define SEGUE_EVENT_OF_PAIR(name, text)  SEGUE_PAIR_ON_##name,
#define SEGUE_EVENT_OF_GROUP(name, text) SEGUE_GROUP_ON_##name,

/* SEGUE_OFFER_MINTED, ..., SEGUE_OFFER_STATES_N; SEGUE_OFFER_ON_READY, ..., SEGUE_OFFER_EVENTS_N; and so for each. */
#define SEGUE_MACHINE_ENUMS(NAME, name)                                                  \
    enum segue_##name##_state{SEGUE_##NAME##_STATES(SEGUE_STATE_OF_##NAME)               \
                                  SEGUE_##NAME##_STATES_N};                              \
    enum segue_##name##_event{SEGUE_##NAME##_EVENTS(SEGUE_EVENT_OF_##NAME)               \
                                  SEGUE_##NAME##_EVENTS_N};
SEGUE_MACHINES(SEGUE_MACHINE_ENUMS)

struct segue_machine {
    const char *name;
    const char *const *states, *const *events;
    uint8_t n_states, n_events;
    const uint8_t *next; /* [state][event]: 1 + the state that follows; 0: cannot be */
};

#define SEGUE_MACHINE_EXTERN(NAME, name)                                                 \
    extern const struct segue_machine segue_##name##_machine;
SEGUE_MACHINES(SEGUE_MACHINE_EXTERN)

/* What: is there a rule for this event in this state? */
bool segue_may(const struct segue_machine *machine, uint8_t state, unsigned event);

/* What: takes the step. Without a rule: asserts; built without assertions it says so in the log, leaves the state as it
 * is, fails with E_INTERNAL naming machine, state and event, and answers false. */
bool segue_step(const struct segue_machine *machine, uint8_t *state, unsigned event);

#endif
