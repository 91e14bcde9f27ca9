/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fixed team of threads that run one function together and wait for each other.
 *
 * Waiting is a short spin where that pays (never with more members than processors), then
 * a futex: a team without work costs nothing.
 */
#ifndef ENGINE_TEAM_H
#define ENGINE_TEAM_H

#include <stdint.h>

struct team;

/* A team of n members: the caller of team_run and n - 1 threads. -1: no threads. */
int team_open(struct team **out, uint32_t n);
void team_close(struct team *team); /* NULL is allowed; no run may be going on */

/* Runs work(argument, member) on every member, 0 being the caller, and returns when all
 * have returned. One caller at a time. */
void team_run(struct team *team, void (*work)(void *argument, uint32_t member),
              void *argument);

/* For use inside work, by all members alike, each with its own number: nobody passes
 * before all have come, and all see what any wrote before. */
void team_barrier(struct team *team, uint32_t member);

#endif
