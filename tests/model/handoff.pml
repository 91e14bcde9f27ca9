/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand-off as rules (docs/protocol.md), small enough to be searched whole. docs/model.md says state by state what is
 * written here, and what is not. A process below is an object of src/handoff: offer (one a rank), serve, pair, claim,
 * group; every d_step is what an agent's thread does in one go (R6: "under one lock").
 *
 * What is counted: T tickets (NOFF offers a start of the producer), NP producer ranks with one block each that every
 * offer uses in turn, NE consumer engines of ND ranks with one block each, K hand-offs a consumer engine one after the
 * other. Time is not counted: a lease, a park or a deadline may end at any moment. Bytes are a number: which prompt's.
 *
 * BROKEN_x leaves out one wait or check of rule x; tests/model/check says which.
 */

/* ---- bounds: -D overrides (tests/model/configs) ---- */
#ifndef NP
#define NP 1 /* producer ranks */
#endif
#ifndef NE
#define NE 1 /* consumer engines */
#endif
#ifndef ND
#define ND 1 /* ranks of each */
#endif
#ifndef K
#define K 1 /* hand-offs a consumer engine tries, one after the other */
#endif
#ifndef NOFF
#define NOFF 1 /* offers a start of the producer makes */
#endif
#ifndef USES
#define USES 1 /* of each offer */
#endif
#ifndef PP
#define PP NP /* producer ranks a consumer rank overlaps: all, or 1 (rank d with rank d) */
#endif
#ifndef PUSH
#define PUSH 0 /* the producer writes (R14b) */
#endif
/* How often each may happen. */
#ifndef CRASH_P
#define CRASH_P 0
#endif
#ifndef CRASH_D
#define CRASH_D 0
#endif
#ifndef LOSE
#define LOSE 0 /* a message that is gone, nobody hears of it */
#endif
#ifndef CUT
#define CUT 0 /* a link that breaks, both ends hear of it, sometime */
#endif
#ifndef OTHER
#define OTHER 0 /* P's free block serves a request that is preempted before its offer (R16) */
#endif
#ifndef REVOKE
#define REVOKE 0
#endif
#ifndef CROSS
#define CROSS 0 /* a request meets the ticket of another prompt, whole or with a forged hash */
#endif

/* Deadlines, aborts, parking times and leases end at any moment; UPSET bounds how often, but for leases nobody needs. */
#ifdef UPSET
byte upset = UPSET;
#define may_upset   upset
#define has_upset() upset--
#else
#define may_upset   1
#define has_upset() skip
#endif

#define NX (NE * ND)          /* consumer ranks: x = engine * ND + rank */
#define NC (NX * K)           /* claims: c = attempt * NX + x */
#define NI (NC * PP)          /* pairs: i = c * PP + which producer */
#define T  ((CRASH_P + 1) * NOFF) /* tickets: 1..T, NOFF a start */
#define PT (NP * (T + 1))

#define C(i)   ((i) / PP)             /* the claim of a pair */
#define X(c)   ((c) % NX)             /* the rank of a claim */
#define A(c)   ((c) / NX)             /* its attempt */
#define E(x)   ((x) / ND)             /* the engine of a rank */
#define EI(i)  E(X(C(i)))
#if PP == 1 && NP > 1
#define P(i) (X(C(i)) % ND)
#else
#define P(i) ((i) % PP) /* the producer rank of a pair */
#endif
#define PART(i) (X(C(i)) * NP + P(i)) /* the part of the consumer's block a pair fills */
#define O(p, t) ((p) * (T + 1) + (t)) /* an offer at a rank */
#define G(i)    (A(C(i)) * NE + EI(i)) /* the group of a pair: one hand-off of one engine */
#define NG      (NE * K)
#define U(p, t, g) (O(p, t) * NG + (g))
#define INC(t) (((t) - 1) / NOFF)     /* the start that minted it */

#define BYTES_OTHER 14 /* of a request nobody offered */
#define BYTES_OWN   15 /* the consumer engine's own */

/* ---- offers: what a producer rank knows of each, R6 ---- */
#define UNSEEN 0 /* not heard of yet: claims wait (R2) */
#define LIVE   1 /* leased */
#define ENDED  2 /* judged stale from now on; copies of ours may still read it */
#define TOLD   3 /* the engine knows: its block may be used again */
byte off[PT];
bit told[PT];        /* what the engine has heard */
byte inc, minted;    /* this start; its offers so far */
byte own;            /* the ticket whose offer has the block; 0: free */
bit written[NP];     /* `ready` has retired (R14) */
byte memp[NP];       /* what the block holds */
bit pdead[NP];

/* ---- uses (R9), counted by every rank: one a group ---- */
#define FREE  0 /* it has not claimed here */
#define TAKEN 1
#define SPENT 2
#define BACK  3 /* given back: another may have it */
byte use[PT * NG];
byte left[PT];       /* of USES */
bit ended[PT * NG];  /* ghost: this rank has heard the group's END */

/* ---- serves: a producer rank's half of a pair ---- */
#define S_NONE   0
#define S_PARKED 1 /* the offer is not here, or not written yet (R2, R14) */
#define S_OPEN   2
#define S_OVER   3 /* judged or given up */
byte sst[NI];
byte st[NI], sh[NI]; /* the ticket and hash it was claimed with */

/* ---- pairs: a consumer rank's half ---- */
#define D_NONE      0
#define D_WAITING   1 /* `writable` has not retired (R14) */
#define D_CLAIMED   2
#define D_MOVING    3
#define D_COMMITTED 4
#define D_JUDGED    5
byte dst[NI];
bit mover[NI];       /* may still write: at the consumer (pull), at the producer (push) */
bit key[NI];         /* push: writes can land */
bit fin[NI];         /* push: the producer said that it writes no more */
byte memd[NX * NP];
bit busy[NX];        /* a kernel of the consumer still reads the block */

/* ---- claims and groups ---- */
#define NONE      0
#define VALID     1
#define STALE     2
#define LOST      3 /* and timeout: no answer */
#define REFUSED   5
#define CANCELLED 7
#define DEAD      9 /* not a verdict: its process died */
byte verdict[NC];
byte verdicts[NC], releases[NC]; /* events told */

#define G_IDLE 0 /* no request */
#define G_OPEN 1 /* claims are out */
#define G_OVER 2 /* every claim has its verdict, END is sent; blocks may be in quarantine */
#define G_DOWN 3 /* crashed */
byte group[NE];
byte attempt[NE], ticket[NE], hash[NE], want[NE]; /* want: the request's prompt */
byte got[T + 1];     /* ghost: how many engines got this ticket's prompt */

/* ---- wires ---- */
mtype = { OFFER, REVOKED, END_SPENT, END_BACK, CLAIM, COMMIT, CANCEL, ACCEPT, VERDICT, FIN };
chan c2p[NI] = [3] of { mtype, byte, byte };
chan p2c[NI] = [4] of { mtype, byte };
bit down[NI];        /* the link is gone: what is sent is lost */
bit cutp[NI], cutd[NI]; /* that side has not heard yet */
chan pq[NP] = [NOFF + REVOKE + K * NE] of { mtype, byte, byte, byte };
chan ends[NE] = [K] of { mtype, byte, byte };

byte crash_p = CRASH_P, crash_d = CRASH_D, lose = LOSE, cut = CUT, other = OTHER, revoke = REVOKE, cross = CROSS;

/* Of one step, no state; breadth-first search cannot leave it out. */
#ifndef SCRATCH
#define SCRATCH hidden
#endif
SCRATCH byte j, k, q, n, need, mt, mh, me, ma, mv;

#define to_p(i, m, a, b) if :: !down[i] -> c2p[i]!m(a, b) :: else fi
#define to_c(i, m, a)    if :: !down[i] -> p2c[i]!m(a) :: else fi

/* ==== producer rank ==== */

/* Push says that nothing will be written for this pair any more: at once, or when the mover has drained (R14b). */
inline serve_over(i)
{
    sst[i] = S_OVER;
#if PUSH
    if :: !mover[i] -> to_c(i, FIN, 0) :: else fi;
#endif
    skip
}

inline answer(i, v)
{
    to_c(i, VERDICT, v);
    serve_over(i)
}

/* A use that keeps another engine out belongs to a group that has not ended, as far as this rank knows (R9). */
inline uses_are_in_use(p, t)
{
    for (q : 0 .. NG - 1) {
        need = use[U(p, t, q)] != TAKEN || !ended[U(p, t, q)];
        assert(need)
    };
    skip
}

/* May this group claim? One use a group (R9). */
#ifdef BROKEN_R9
#define no_use_left(p, t, g) 0
#else
#define no_use_left(p, t, g) (use[U(p, t, g)] == FREE && !left[O(p, t)])
#endif

inline open_serve(i, p, t, g)
{
    if
    :: use[U(p, t, g)] == FREE ->
        use[U(p, t, g)] = TAKEN;
        left[O(p, t)] = left[O(p, t)] - (left[O(p, t)] > 0)
    :: else
    fi;
    if
#ifndef BROKEN_R14_READY
    :: !written[p] ->
        printf("@ P%d parks pair %d: offer %d is not written yet\n", p, i, t);
        sst[i] = S_PARKED
#endif
    :: else ->
        printf("@ P%d accepts pair %d on offer %d\n", p, i, t);
        sst[i] = S_OPEN;
#if PUSH
        mover[i] = 1;
#endif
        to_c(i, ACCEPT, 0)
    fi
}

/* A claim, new or parked, against the offer: R1, R2, R3, R9, R14. */
inline examine(i, p, t, g)
{
    if
    :: INC(t) != inc || off[O(p, t)] == ENDED || off[O(p, t)] == TOLD ->
        printf("@ P%d answers pair %d: stale, offer %d is no more\n", p, i, t);
        answer(i, STALE)
    :: INC(t) == inc && off[O(p, t)] == UNSEEN ->
        printf("@ P%d parks pair %d: offer %d is not here yet\n", p, i, t);
        sst[i] = S_PARKED
    :: INC(t) == inc && off[O(p, t)] == LIVE ->
        if
#ifndef BROKEN_R3_CLAIM
        :: sh[i] != t ->
            printf("@ P%d answers pair %d: refused, offer %d is of another prompt\n", p, i, t);
            answer(i, REFUSED)
#endif
        :: else ->
            if
            :: use[U(p, t, g)] >= SPENT ->
                printf("@ P%d answers pair %d: stale, its hand-off has ended\n", p, i);
                answer(i, STALE)
            :: use[U(p, t, g)] < SPENT && no_use_left(p, t, g) ->
                printf("@ P%d answers pair %d: refused, offer %d has no use left\n", p, i, t);
                uses_are_in_use(p, t);
                answer(i, REFUSED)
            :: else ->
                open_serve(i, p, t, g)
            fi
        fi
    fi
}

inline examine_parked(p, t)
{
    for (k : 0 .. NI - 1) {
        if
        :: P(k) == p && st[k] == t && sst[k] == S_PARKED -> examine(k, p, t, G(k))
        :: else
        fi
    };
    skip
}

/* Marked ended, its claims told, all in one step; the engine is told later (R6). */
inline offer_end(p, t)
{
    off[O(p, t)] = ENDED;
    for (k : 0 .. NI - 1) {
        if
        :: P(k) == p && st[k] == t && (sst[k] == S_PARKED || sst[k] == S_OPEN) ->
            answer(k, STALE)
        :: else
        fi
    };
    skip
}

inline use_back(p, t, g)
{
    if
    :: use[U(p, t, g)] == TAKEN ->
#ifndef BROKEN_R9_BACK
        use[U(p, t, g)] = BACK;
        left[O(p, t)]++;
#endif
        skip
    :: else
    fi
}

/* The last use is over: nobody will come any more (R8). */
inline last_use(p, t)
{
    need = left[O(p, t)];
    for (q : 0 .. NG - 1) {
        if :: use[U(p, t, q)] == TAKEN -> need = 1 :: else fi
    };
    if
    :: !need && off[O(p, t)] == LIVE -> offer_end(p, t)
    :: else
    fi
}

/* A group has ended: its use is spent, also one that never claimed (R10) ... */
inline end_spent(p, t, g)
{
    ended[U(p, t, g)] = 1;
    if
    :: use[U(p, t, g)] == FREE && left[O(p, t)] -> left[O(p, t)]--
    :: else
    fi;
    use[U(p, t, g)] = SPENT;
    last_use(p, t)
}

/* ... or goes back (R9); claims of it that come late find it over. */
inline end_back(p, t, g)
{
    ended[U(p, t, g)] = 1;
    if
#ifndef BROKEN_R9_LATE
    :: use[U(p, t, g)] == FREE -> use[U(p, t, g)] = BACK
#endif
    :: else -> use_back(p, t, g)
    fi
}

/* So it does when every link the group claimed over is gone. */
inline link_gone(i, p, t, g)
{
    need = 0;
    for (j : 0 .. NI - 1) {
        if
        :: P(j) == p && G(j) == g && sst[j] != S_NONE && (!down[j] || cutp[j]) -> need = 1
        :: else
        fi
    };
    if
    :: !need -> use_back(p, t, g)
    :: else
    fi
}

/* Its blocks are read by no copy of ours. */
#if !PUSH
#define writes_on(p) 0
#else
#define writes(i, p) (mover[i] && P(i) == p && st[i] == own)
#if NI == 1
#define writes_on(p) writes(0, p)
#elif NI == 2
#define writes_on(p) (writes(0, p) || writes(1, p))
#elif NI == 4
#define writes_on(p) (writes(0, p) || writes(1, p) || writes(2, p) || writes(3, p))
#endif
#endif

#define comes_not(e) (group[e] == G_IDLE && attempt[e] == K)
#if NE == 1
#define NOBODY_COMES comes_not(0)
#else
#define NOBODY_COMES (comes_not(0) && comes_not(1))
#endif

#if NP == 1
#define P_DEAD pdead[0]
#define P_TOLD told[O(0, own)]
#else
#define P_DEAD (pdead[0] || pdead[1])
#define P_TOLD (told[O(0, own)] && told[O(1, own)])
#endif

proctype offer(byte p)
{
end:
    do
    :: d_step { pq[p]?OFFER(mt, _, _) ->
        printf("@ P%d hears of offer %d\n", p, mt);
        off[O(p, mt)] = LIVE;
        left[O(p, mt)] = USES;
        examine_parked(p, mt) }
    :: d_step { !pdead[p] && own && !written[p] ->
        printf("@ P%d writes offer %d\n", p, own);
        memp[p] = own;
        written[p] = 1;
        examine_parked(p, own) }
    :: d_step { !pdead[p] && own && off[O(p, own)] == LIVE && !told[O(p, own)] && (may_upset || NOBODY_COMES) ->
        printf("@ P%d expires offer %d\n", p, own);
        if
        :: NOBODY_COMES
        :: else -> has_upset()
        fi;
#ifdef BROKEN_R6
        told[O(p, own)] = 1
#else
        offer_end(p, own)
#endif
        }
    :: d_step { pq[p]?REVOKED(mt, _, _) ->
        printf("@ P%d revokes offer %d\n", p, mt);
        if
        :: off[O(p, mt)] == LIVE -> offer_end(p, mt)
        :: else
        fi }
    :: d_step { pq[p]?END_SPENT(mt, me, ma) ->
        printf("@ P%d hears that E%d has used offer %d\n", p, me, mt);
        end_spent(p, mt, (ma - 1) * NE + me) }
    :: d_step { pq[p]?END_BACK(mt, me, ma) ->
        printf("@ P%d hears that E%d gives its use of offer %d back\n", p, me, mt);
        end_back(p, mt, (ma - 1) * NE + me) }
    :: d_step { !pdead[p] && own && off[O(p, own)] == ENDED && written[p] && !writes_on(p) ->
        printf("@ P%d tells its engine that offer %d has ended\n", p, own);
        off[O(p, own)] = TOLD;
        told[O(p, own)] = 1 }
    od
}

/* A byte arrives where pair i's bytes go. */
inline land(i)
{
#if PUSH
    if
    :: key[i] ->
        assert(!releases[C(i)]);    /* R7b, R14b */
        assert(!busy[X(C(i))]);     /* R14 */
        memd[PART(i)] = memp[P(i)]
    :: else
    fi
#else
    assert(!releases[C(i)]);        /* R7b, R12 */
    assert(!busy[X(C(i))]);         /* R14 */
    memd[PART(i)] = memp[P(i)]
#endif
}

proctype serve(byte i)
{
end:
    do
    :: d_step { c2p[i]?CLAIM(mt, mh) ->
        st[i] = mt;
        sh[i] = mh;
        examine(i, P(i), mt, G(i)) }
    :: d_step { c2p[i]?COMMIT(_, _) ->
        if
        :: sst[i] == S_OPEN ->
            printf("@ P%d judges pair %d: valid\n", P(i), i);
            to_c(i, VERDICT, VALID);
            serve_over(i)
        :: else ->
            printf("@ P%d judges pair %d: stale\n", P(i), i);
            to_c(i, VERDICT, STALE)
        fi }
    :: d_step { c2p[i]?CANCEL(_, _) ->
        printf("@ P%d hears that pair %d is given up\n", P(i), i);
        if
        :: sst[i] == S_NONE || sst[i] == S_OVER
        :: else -> serve_over(i)
        fi }
    :: d_step { cutp[i] ->
        printf("@ P%d notices that the link of pair %d is gone\n", P(i), i);
        cutp[i] = 0;
        if
        :: sst[i] == S_NONE || sst[i] == S_OVER
        :: else -> serve_over(i)
        fi;
        if
        :: sst[i] != S_NONE -> link_gone(i, P(i), st[i], G(i))
        :: else
        fi }
    :: d_step { sst[i] == S_PARKED && may_upset ->
        printf("@ P%d parks pair %d no longer\n", P(i), i);
        has_upset();
        answer(i, STALE) }
#if PUSH
    :: d_step { mover[i] ->
        printf("@ P%d copies pair %d\n", P(i), i);
        mover[i] = 0;
        land(i);
        to_c(i, FIN, 0) }
#endif
    od
}

inline relay(m, t, e, a)
{
    printf("@ P hears the end of E%d's hand-off of ticket %d\n", e, t);
    if
    :: INC(t) == inc -> for (j : 0 .. NP - 1) { pq[j]!m(t, e, a) }; skip
    :: else
    fi
}

proctype producer()
{
end:
    do
    :: d_step { !own && minted < NOFF && !P_DEAD ->
        minted++;
        own = inc * NOFF + minted;
        printf("@ P mints offer %d\n", own);
        for (j : 0 .. NP - 1) {
            memp[j] = 0;
            written[j] = 0;
            pq[j]!OFFER(own, 0, 0)
        };
        skip }
    :: d_step { !own && other && !P_DEAD ->
        printf("@ P uses its free block for another request\n");
        other--;
        for (j : 0 .. NP - 1) { memp[j] = BYTES_OTHER };
        skip }
    :: d_step { own && P_TOLD ->
        printf("@ P has its block back from offer %d\n", own);
        own = 0 }
    :: d_step { own && revoke ->
        printf("@ P takes offer %d back\n", own);
        revoke--;
        for (j : 0 .. NP - 1) { pq[j]!REVOKED(own, 0, 0) };
        skip }
    :: d_step { ends[0]?END_SPENT(mt, ma) -> relay(END_SPENT, mt, 0, ma) }
    :: d_step { ends[0]?END_BACK(mt, ma) -> relay(END_BACK, mt, 0, ma) }
#if NE > 1
    :: d_step { ends[1]?END_SPENT(mt, ma) -> relay(END_SPENT, mt, 1, ma) }
    :: d_step { ends[1]?END_BACK(mt, ma) -> relay(END_BACK, mt, 1, ma) }
#endif
    od
}

/* ==== consumer rank ==== */

inline judge(c, v)
{
    verdict[c] = v;
    verdicts[c]++;
    printf("@ D%d ends claim %d: verdict %d\n", X(c), c, v);
    for (j : (c) * PP .. (c) * PP + PP - 1) {
        if
        :: dst[j] == D_CLAIMED || dst[j] == D_MOVING || dst[j] == D_COMMITTED -> to_p(j, CANCEL, 0, 0)
        :: else
        fi;
        dst[j] = D_JUDGED;
        assert(v != VALID || memd[PART(j)] == want[E(X(c))]) /* the contract: of the offer, and of this prompt */
    };
    skip
}

inline commit(i)
{
    dst[i] = D_COMMITTED;
    to_p(i, COMMIT, 0, 0)
}

/* One pair's verdict; the claim is valid when all are (R8). */
inline pair_verdict(i, c, v)
{
    if
    :: verdict[c] != NONE
    :: verdict[c] == NONE && v == VALID && dst[i] == D_COMMITTED ->
        dst[i] = D_JUDGED;
        need = 0;
        for (j : (c) * PP .. (c) * PP + PP - 1) {
            if :: dst[j] != D_JUDGED -> need = 1 :: else fi
        }
        if :: !need -> judge(c, VALID) :: else fi
    :: verdict[c] == NONE && v == VALID && dst[i] != D_COMMITTED -> dst[i] = D_JUDGED; judge(c, LOST)
    :: verdict[c] == NONE && v != VALID -> dst[i] = D_JUDGED; judge(c, v)
    fi
}

#ifdef BROKEN_R14_WRITABLE
#define writable(x) 1
#else
#define writable(x) (!busy[x])
#endif

proctype pair(byte i)
{
end:
    do
    :: d_step { dst[i] == D_WAITING && writable(X(C(i))) ->
        printf("@ D%d claims pair %d: ticket %d of prompt %d\n", X(C(i)), i, ticket[EI(i)], hash[EI(i)]);
        dst[i] = D_CLAIMED;
        key[i] = PUSH;
        if
        :: pdead[P(i)] -> down[i] = 1; cutd[i] = 1
        :: else -> to_p(i, CLAIM, ticket[EI(i)], hash[EI(i)])
        fi }
    :: d_step { p2c[i]?ACCEPT(_) ->
        printf("@ D%d is accepted on pair %d\n", X(C(i)), i);
        if
        :: dst[i] == D_CLAIMED ->
            dst[i] = D_MOVING;
#if !PUSH
            mover[i] = 1;
#endif
#ifdef BROKEN_R7
            commit(i)
#endif
        :: else
        fi }
#if PUSH
    :: d_step { p2c[i]?FIN(_) ->
        printf("@ D%d hears that pair %d is written\n", X(C(i)), i);
        fin[i] = 1;
        if
        :: dst[i] == D_MOVING -> commit(i)
        :: else
        fi }
    :: d_step { dst[i] == D_JUDGED && key[i] && !fin[i] ->
        printf("@ D%d takes the key of pair %d away\n", X(C(i)), i);
        key[i] = 0 }
#else
    :: d_step { mover[i] ->
        printf("@ D%d copies pair %d\n", X(C(i)), i);
        mover[i] = 0;
        land(i);
        if
        :: dst[i] == D_MOVING -> commit(i)
        :: else
        fi }
#endif
    :: d_step { p2c[i]?VERDICT(mv) ->
        printf("@ D%d hears verdict %d of pair %d\n", X(C(i)), mv, i);
        pair_verdict(i, C(i), mv) }
    :: d_step { cutd[i] ->
        printf("@ D%d notices that the link of pair %d is gone\n", X(C(i)), i);
        cutd[i] = 0;
        if
        :: verdict[C(i)] == NONE && dst[i] != D_JUDGED -> judge(C(i), LOST)
        :: else
        fi }
    od
}

#if defined BROKEN_R12 || defined BROKEN_R14B
#define moves(i) 0
#elif PUSH
#define moves(i) (key[i] && !fin[i])
#else
#define moves(i) mover[i]
#endif
#if PP == 1
#define quiet(c) (!moves(c))
#else
#define quiet(c) (!moves((c) * 2) && !moves((c) * 2 + 1))
#endif

proctype claim(byte c)
{
end:
    do
    /* Its deadline, or its engine: preempted, aborted. */
    :: d_step { dst[c * PP] != D_NONE && verdict[c] == NONE && may_upset ->
        printf("@ D%d gives claim %d up\n", X(c), c);
        has_upset();
        judge(c, CANCELLED) }
    :: d_step { verdict[c] != NONE && verdict[c] != DEAD && !releases[c] && quiet(c) ->
        printf("@ D%d releases claim %d\n", X(c), c);
        releases[c]++ }
    od
}

/* ==== consumer engine ==== */

#define claim_of(e, d) ((attempt[e] - 1) * NX + (e) * ND + (d))
#define was_lost(c) (verdict[c] == LOST || verdict[c] == CANCELLED)
#if ND == 1
#define any_lost(e)     was_lost(claim_of(e, 0))
#define all_judged(e)   (verdict[claim_of(e, 0)] != NONE)
#define all_valid(e)    (verdict[claim_of(e, 0)] == VALID)
#define all_released(e) (releases[claim_of(e, 0)])
#else
#define any_lost(e)     (was_lost(claim_of(e, 0)) || was_lost(claim_of(e, 1)))
#define all_judged(e)   (verdict[claim_of(e, 0)] != NONE && verdict[claim_of(e, 1)] != NONE)
#define all_valid(e)    (verdict[claim_of(e, 0)] == VALID && verdict[claim_of(e, 1)] == VALID)
#define all_released(e) (releases[claim_of(e, 0)] && releases[claim_of(e, 1)])
#endif

#define may_open(e, t) (group[e] == G_IDLE && attempt[e] < K && t <= inc * NOFF + minted && t >= ticket[e])

inline open(e, t, h, w)
{
    ticket[e] = t;
    hash[e] = h;
    want[e] = w;
    attempt[e]++;
    group[e] = G_OPEN;
    for (q : 0 .. ND - 1) {
        busy[(e) * ND + q] = 1; /* by what the block was used for before */
        for (j : claim_of(e, q) * PP .. claim_of(e, q) * PP + PP - 1) { dst[j] = D_WAITING }
    };
    skip
}

inline zero(e, t)
{
    ticket[e] = t;
    attempt[e]++;
    ends[e]!END_SPENT(t, attempt[e])
}

#ifdef BROKEN_R3_TICKET
#define crossed(e, t) open(e, t, t, 13)
#else
#define crossed(e, t) attempt[e]++
#endif

#if CROSS
#define opens(e, t)                                                                                     \
    :: d_step { may_open(e, t) -> printf("@ E%d opens ticket %d\n", e, t); open(e, t, t, t) }           \
    :: d_step { may_open(e, t) -> printf("@ E%d opens ticket %d with no claim\n", e, t); zero(e, t) }   \
    :: d_step { may_open(e, t) && cross -> cross--;                                                     \
        printf("@ E%d opens ticket %d for another prompt\n", e, t); crossed(e, t) }                     \
    :: d_step { may_open(e, t) && cross -> cross--;                                                     \
        printf("@ E%d opens ticket %d with a forged hash\n", e, t); open(e, t, 13, 13) }
#else
#define opens(e, t)                                                                                     \
    :: d_step { may_open(e, t) -> printf("@ E%d opens ticket %d\n", e, t); open(e, t, t, t) }           \
    :: d_step { may_open(e, t) -> printf("@ E%d opens ticket %d with no claim\n", e, t); zero(e, t) }
#endif

proctype consumer(byte e)
{
end:
    do
    opens(e, 1)
#if T > 1
    opens(e, 2)
#endif
#if T > 2
    opens(e, 3)
#endif
#if T > 3
    opens(e, 4)
#endif
    :: d_step { busy[e * ND] ->
        printf("@ D%d may be written\n", e * ND);
        busy[e * ND] = 0 }
#if ND > 1
    :: d_step { busy[e * ND + 1] ->
        printf("@ D%d may be written\n", e * ND + 1);
        busy[e * ND + 1] = 0 }
#endif
    :: d_step { group[e] == G_OPEN && all_judged(e) ->
        group[e] = G_OVER;
        if
        :: all_valid(e) ->
            printf("@ E%d has ticket %d: valid\n", e, ticket[e]);
            got[ticket[e]]++;
            assert(got[ticket[e]] <= USES || cut < CUT || lose < LOSE || crash_d < CRASH_D || crash_p < CRASH_P); /* R9 */
            ends[e]!END_SPENT(ticket[e], attempt[e])
        :: else ->
            printf("@ E%d has ticket %d: not valid\n", e, ticket[e]);
            if
            :: hash[e] != ticket[e] /* an END of another hash ends nothing (R3) */
            :: hash[e] == ticket[e] && any_lost(e) -> ends[e]!END_BACK(ticket[e], attempt[e])
            :: hash[e] == ticket[e] && !any_lost(e) -> ends[e]!END_SPENT(ticket[e], attempt[e])
            fi
        fi }
    :: d_step { group[e] == G_OVER && all_released(e) ->
        printf("@ E%d has its blocks back\n", e);
        for (j : (e) * ND * NP .. (e) * ND * NP + ND * NP - 1) { memd[j] = BYTES_OWN };
        group[e] = G_IDLE }
    od
}

/* ==== what goes wrong ==== */

inline flush(i)
{
    do
    :: nempty(c2p[i]) -> c2p[i]?_, _, _
    :: empty(c2p[i]) -> break
    od;
    do
    :: nempty(p2c[i]) -> p2c[i]?_, _
    :: empty(p2c[i]) -> break
    od;
    skip
}

proctype wire(byte i)
{
end:
    do
    :: d_step { lose && nempty(c2p[i]) ->
        printf("@ a message of pair %d to P%d is lost\n", i, P(i));
        lose--;
        c2p[i]?_, _, _ }
    :: d_step { lose && nempty(p2c[i]) ->
        printf("@ a message of pair %d to D%d is lost\n", i, X(C(i)));
        lose--;
        p2c[i]?_, _ }
    :: d_step { cut && !down[i] && dst[i] >= D_CLAIMED && (dst[i] != D_JUDGED || sst[i] < S_OVER) ->
        printf("@ the link of pair %d breaks\n", i);
        cut--;
        down[i] = 1;
        flush(i);
        cutp[i] = 1;
        cutd[i] = 1 }
    od
}

/* Whoever talks to it hears of it, sometime; writes that are under way may still land until their key is taken away. */
inline rank_dies(p)
{
    pdead[p] = 1;
    for (k : 0 .. NI - 1) {
        if
        :: P(k) == p && dst[k] >= D_CLAIMED && !down[k] ->
            down[k] = 1;
            flush(k);
            cutd[k] = 1
        :: else
        fi;
        if
        :: P(k) == p && sst[k] != S_NONE -> sst[k] = S_OVER; cutp[k] = 0
        :: else
        fi
    };
    skip
}

inline engine_dies(e)
{
    group[e] = G_DOWN;
    for (k : 0 .. NI - 1) {
        if
        :: EI(k) == e && dst[k] != D_NONE ->
            if
            :: !down[k] -> down[k] = 1; flush(k); cutp[k] = (sst[k] != S_NONE)
            :: else
            fi;
            cutd[k] = 0;
            dst[k] = D_JUDGED;
            key[k] = 0;
#if !PUSH
            mover[k] = 0;
#endif
            if :: verdict[C(k)] == NONE -> verdict[C(k)] = DEAD :: else fi;
            if :: !releases[C(k)] -> verdict[C(k)] = DEAD :: else fi
        :: else
        fi
    };
    skip
}

#if CRASH_P || CRASH_D || LOSE
proctype faults()
{
end:
    do
#if CRASH_P
    :: d_step { crash_p && !pdead[0] ->
        printf("@ P0 dies\n");
        crash_p--;
        rank_dies(0) }
#if NP > 1
    :: d_step { crash_p && !pdead[1] ->
        printf("@ P1 dies\n");
        crash_p--;
        rank_dies(1) }
#endif
    :: d_step { P_DEAD ->
        printf("@ P starts anew\n");
        for (q : 0 .. NP - 1) {
            rank_dies(q);
            pdead[q] = 0;
            memp[q] = 0;
            written[q] = 0;
            do
            :: nempty(pq[q]) -> pq[q]?_, _, _, _
            :: empty(pq[q]) -> break
            od
        };
        for (q : 0 .. NE - 1) {
            do
            :: nempty(ends[q]) -> ends[q]?_, _, _
            :: empty(ends[q]) -> break
            od
        };
        inc++;
        minted = 0;
        own = 0 }
#endif
#if CRASH_D
    :: d_step { crash_d && group[0] != G_DOWN ->
        printf("@ E0 dies\n");
        crash_d--;
        engine_dies(0) }
    :: d_step { group[0] == G_DOWN ->
        printf("@ E0 starts anew\n");
        for (q : 0 .. ND * NP - 1) { memd[q] = 0 };
        group[0] = G_IDLE }
#endif
#if LOSE
    :: d_step { lose && nempty(ends[0]) ->
        printf("@ the end of E0's hand-off is lost\n");
        lose--;
        ends[0]?_, _, _ }
#endif
    od
}

#endif

/* ==== nothing can happen any more: has everything ended? ==== */

proctype check()
{
    timeout;
    d_step {
        assert(!own);                          /* P's blocks are back */
        for (j : 0 .. NP - 1) { assert(!pdead[j] && empty(pq[j])) };
        for (j : 0 .. NE - 1) { assert(group[j] == G_IDLE && empty(ends[j])) };
        for (j : 0 .. NC - 1) {
            if
            :: dst[j * PP] != D_NONE && verdict[j] != DEAD -> assert(verdicts[j] == 1 && releases[j] == 1)
            :: else -> assert(verdicts[j] <= 1 && releases[j] <= 1)
            fi
        };
        for (j : 0 .. NI - 1) {
            assert(empty(c2p[j]) && empty(p2c[j]));
            assert(!mover[j] && sst[j] != S_PARKED && sst[j] != S_OPEN)
        }
    }
}

init {
    byte v;
    atomic {
        for (v : 0 .. NP - 1) { run offer(v) };
        for (v : 0 .. NI - 1) { run serve(v); run pair(v); run wire(v) };
        for (v : 0 .. NC - 1) { run claim(v) };
        for (v : 0 .. NE - 1) { run consumer(v) };
        v = 0;
        run producer();
#if CRASH_P || CRASH_D || LOSE
        run faults();
#endif
        run check()
    }
}
