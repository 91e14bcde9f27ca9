/* SPDX-License-Identifier: Apache-2.0 */
/* Between key.c and key_file.c. */
#ifndef BASE_KEY_INSIDE_H
#define BASE_KEY_INSIDE_H

#include "base/key.h"

/* What: computes the id from the secret. */
void segue_key_identify(struct segue_key *key);

#endif
