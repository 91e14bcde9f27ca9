/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault schedules: what is to go wrong, at which step of a hand-off, and how (docs/faults.md has the format). A schedule
 * is text, a rule a line:
 *
 *     WHO STEP[#N] WHAT [AMOUNT]      d mid-copy delay 300ms
 *
 * Whoever passes a step asks the schedule what is planned there, and does the part of it that only he can do; what
 * concerns the whole process is done here. Without a schedule (NULL) every question costs one comparison.
 *
 * Any thread.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <segue/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can be done, the unit of its amount and the amount when none is given, and who does it. */
#define SEGUE_FAULT_MAP(X)                                                               \
    X(KILL, "kill", NONE, 0, PROCESS) /* SIGKILL to itself */                            \
    X(RESTART, "restart", NONE, 0,                                                       \
      PROCESS)                        /* the same: who started it starts it again */     \
    X(STOP, "stop", NONE, 0, PROCESS) /* SIGSTOP to itself */                            \
    X(NO_FDS, "no-fds", TIME, 1000, PROCESS)       /* no descriptor can be opened */     \
    X(NO_MEMORY, "no-memory", TIME, 1000, PROCESS) /* no page can be mapped */           \
    X(NO_SHM, "no-shm", TIME, 1000, PROCESS)       /* no shared memory can be sized */   \
    X(SAY, "say", NONE, 0, PROCESS)                /* nothing but the log line */        \
    X(DELAY, "delay", TIME, 100, STEP)  /* this step, and what follows it, waits */      \
    X(CUT, "cut", NONE, 0, STEP)        /* both directions end, without a goodbye */     \
    X(MUTE, "mute", NONE, 0, STEP)      /* half-open: nothing passes any more */         \
    X(DROP, "drop", NONE, 0, FRAME)     /* this message only */                          \
    X(TWICE, "twice", NONE, 0, FRAME)   /* this message comes again */                   \
    X(SHORT, "short", COUNT, 1, STREAM) /* from now on so many bytes a read */           \
    X(EAGAIN, "eagain", COUNT, 1000, STREAM) /* so many wake-ups find nothing */         \
    X(FAIL, "fail", NONE, 0, BYTES)          /* the fabric says it failed */             \
    X(FLIP, "flip", NONE, 0, ARRIVED)        /* one bit of what has arrived */           \
    X(SWAP, "swap", NONE, 0, NAMED)          /* the first two blocks change places */

enum segue_fault_what {
#define SEGUE_FAULT_ENUM(id, word, unit, amount, doer) SEGUE_FAULT_##id,
    SEGUE_FAULT_MAP(SEGUE_FAULT_ENUM)
#undef SEGUE_FAULT_ENUM
        SEGUE_FAULT_COUNT
};

/* What a step lets happen; PROCESS everywhere. */
enum segue_fault_doer {
    SEGUE_FAULT_PROCESS = 0,
    SEGUE_FAULT_STEP = 1 << 0,
    SEGUE_FAULT_FRAME = 1 << 1,
    SEGUE_FAULT_STREAM = 1 << 2,
    SEGUE_FAULT_BYTES = 1 << 3,
    SEGUE_FAULT_ARRIVED = 1 << 4,
    SEGUE_FAULT_NAMED = 1 << 5,
};

/* A step that schedules may name. A table of them ends with a row without name. */
struct segue_fault_step {
    const char *name;
    unsigned doers; /* enum segue_fault_doer, of what can be done there besides PROCESS */
};

struct segue_fault {
    enum segue_fault_what what;
    uint64_t amount; /* ns, or a count */
};

struct segue_faults; /* one agent's share of a schedule */

/* What: the rules of `text` that are for `who` ("*" is everybody). Every rule is checked, those for others too. Owned:
 * segue_faults_release. E_INVALID: the sentence names the line, the word, and what would be right. */
enum segue_status segue_faults_parse(const char *text, size_t len, const char *who,
                                     const struct segue_fault_step *steps,
                                     struct segue_faults **out);

/* What: another owner, and one less; the last frees it. NULL is legal. */
struct segue_faults *segue_faults_retain(struct segue_faults *faults);
void segue_faults_release(struct segue_faults *faults);

/* What: `step` is being passed. True: something is planned for this time that the caller has to do (never PROCESS: that
 * has been done). A rule that fires says so in the log, area "fault". NULL: false. */
bool segue_fault_at(struct segue_faults *faults, const char *step,
                    struct segue_fault *out);

/* What: whether any rule names one of these steps (NULL at the end), fired or not. */
bool segue_faults_name(const struct segue_faults *faults, const char *const *steps);

/* What: what concerns the whole process, done now; limits come back after `amount` ns. */
void segue_fault_process(const struct segue_fault *fault);

#endif
