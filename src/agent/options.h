/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's options: one table of names, defaults and limits (rule R21c). */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include <segue/agent.h>
#include "base/opts.h"

extern const struct segue_opt segue_agent_options[];

/* What: table defaults, then SEGUE_* variables, then what the caller set. Strings become
 * copies, freed by segue_agent_options_free; ipc_dir and engine_id get their computed
 * defaults. E_INVALID or E_RANGE naming the option. */
enum segue_status segue_agent_options_read(const struct segue_agent_opts *given,
                                           struct segue_agent_opts *out);
void segue_agent_options_free(struct segue_agent_opts *opts);

#endif
