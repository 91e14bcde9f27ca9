/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds that are wrong on purpose: `meson setup -Dmutate=NAME` leaves out one wait or check that a rule of
 * docs/protocol.md names, so that it can be shown that a test turns red (scripts/test-mutants). Each is one line in
 * src/handoff, and a variant of the same name in tests/model; docs/model.md says what each leads to.
 */
#ifndef BASE_MUTATE_H
#define BASE_MUTATE_H

#include <base/mutation.h> /* made by meson, in the build folder: SEGUE_MUTATION */

enum segue_mutation {
    SEGUE_MUTATE_NONE,
    SEGUE_MUTATE_R3_TICKET,
    SEGUE_MUTATE_R3_CLAIM,
    SEGUE_MUTATE_R6,
    SEGUE_MUTATE_R7,
    SEGUE_MUTATE_R9,
    SEGUE_MUTATE_R9_BACK,
    SEGUE_MUTATE_R9_LATE,
    SEGUE_MUTATE_R12,
    SEGUE_MUTATE_R14_READY,
    SEGUE_MUTATE_R14_WRITABLE,
};

/* Constant: a build without -Dmutate holds nothing of it. */
#define SEGUE_MUTATED(name) (SEGUE_MUTATION == SEGUE_MUTATE_##name)

#endif
