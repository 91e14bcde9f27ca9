/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes nobody can guess: ids, nonces, seeds, secrets. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What: fills all n bytes from the kernel's generator. It cannot return without having
 * done so: a system without getrandom ends the process, as an id or a secret that can be
 * guessed would be worse. Any thread. */
void segue_random_fill(void *out, size_t n);

/* What: 64 random bits. Any thread. */
uint64_t segue_random_u64(void);

#endif
