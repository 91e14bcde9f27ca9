/* SPDX-License-Identifier: Apache-2.0 */
/* Options of an agent: defaults, environment, the caller's, in this order. */
#include "agent/options.h"
#include "agent/select.h"
#include "base/random.h"
#include "base/sized.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB      (UINT64_C(1) << 20)
#define HOUR_NS  (3600 * UINT64_C(1000000000))
#define FIELD(f) offsetof(struct segue_agent_opts, f)

static const char *const encrypts[] = {"control", "data", NULL};
static const char *const answers[] = {"no", "yes", NULL};

const struct segue_opt segue_agent_options[] = {
    {"engine-id", FIELD(engine_id), SEGUE_OPT_STRING,
     .doc = "what people call this engine"},
    {"ipc-dir", FIELD(ipc_dir), SEGUE_OPT_STRING, .doc = "folder of the control sockets"},
    {"key", FIELD(key), SEGUE_OPT_STRING, .doc = "file of the cluster key"},
    {"require", FIELD(require), SEGUE_OPT_STRING, .doc = "use these paths only"},
    {"exclude", FIELD(exclude), SEGUE_OPT_STRING, .doc = "do not use these paths"},
    {"mover-threads", FIELD(mover_threads), SEGUE_OPT_U32, "1", 1, 64,
     .doc = "threads that copy"},
    {"ring-bytes", FIELD(ring_bytes), SEGUE_OPT_BYTES, "32MiB", MIB, 64 * 1024 * MIB,
     .doc = "staging ring of packed hand-offs"},
    {"lease-ns", FIELD(lease_ns), SEGUE_OPT_DURATION, "20s", 1, HOUR_NS,
     .doc = "how long an unclaimed offer lives after its last hold"},
    {"renew-ns", FIELD(renew_ns), SEGUE_OPT_DURATION, "5s", 1, HOUR_NS,
     .doc = "how often an open claim renews its lease"},
    {"hold-ns", FIELD(hold_ns), SEGUE_OPT_DURATION, "300s", 1, 24 * HOUR_NS,
     .doc = "by how much holds and renewals may prolong an offer in all"},
    {"park-ns", FIELD(park_ns), SEGUE_OPT_DURATION, "30s", 1, HOUR_NS,
     .doc = "how long a claim may wait for its offer"},
    {"connect-ns", FIELD(connect_ns), SEGUE_OPT_DURATION, "2s", 1, HOUR_NS,
     .doc = "deadline of a first contact"},
    {"claim-ns", FIELD(claim_ns), SEGUE_OPT_DURATION, "30s", 1, 24 * HOUR_NS,
     .doc = "deadline of a claim that names none"},
    {"idle-ns", FIELD(idle_ns), SEGUE_OPT_DURATION, "60s", 1, 24 * HOUR_NS,
     .doc = "a link without business is closed after this"},
    {"fault", FIELD(fault), SEGUE_OPT_STRING,
     .doc = "a fault schedule: break hand-offs on purpose (docs/faults.md)"},
    {"listen", FIELD(listen), SEGUE_OPT_STRING,
     .doc = "ADDRESS:PORT for peers on other hosts"},
    {"advertise", FIELD(advertise), SEGUE_OPT_STRING,
     .doc = "ADDRESS where they reach it, when it is another"},
    {"encrypt", FIELD(encrypt), SEGUE_OPT_ENUM, "control", .words = encrypts,
     .doc = "what is encrypted on the way to other hosts"},
    {"insecure", FIELD(insecure), SEGUE_OPT_ENUM, "no", .words = answers,
     .doc = "talk to other hosts without a key"},
    {"silent-ns", FIELD(silent_ns), SEGUE_OPT_DURATION, "5s", 2000 * UINT64_C(1000000),
     HOUR_NS, .doc = "a host silent as long as this is gone"},
    {"peer-claims", FIELD(peer_claims), SEGUE_OPT_U32, "1024", 1, 1 << 20,
     .doc = "open claims of one peer, waiting ones included"},
    {0},
};

static enum segue_status check_paths(const char *option, const char *list)
{
    enum segue_status status = segue_path_list_check(list);
    if (status < 0)
        segue_fail(status, "option %s: %s", option, segue_error_detail());
    return status;
}

static enum segue_status out_of_limits(const struct segue_opt *row, uint64_t value)
{
    return segue_fail(SEGUE_E_RANGE,
                      "option %s: %" PRIu64 " is not within %" PRIu64 " and %" PRIu64,
                      row->name, value, row->min, row->max);
}

static uint32_t count_words(const struct segue_opt *row)
{
    uint32_t n = 0;
    while (row->words[n])
        n++;
    return n;
}

/* What the caller set, field by field; zero keeps what is there. */
static enum segue_status take_given(const struct segue_agent_opts *given,
                                    struct segue_agent_opts *out)
{
    for (const struct segue_opt *row = segue_agent_options; row->name; row++) {
        const char *from = (const char *)given + row->offset;
        char *to = (char *)out + row->offset;
        uint64_t number = 0;
        const char *text = NULL;
        uint32_t small;
        switch (row->kind) {
        case SEGUE_OPT_STRING:
            memcpy(&text, from, sizeof text);
            if (text)
                memcpy(to, &text, sizeof text);
            continue;
        case SEGUE_OPT_ENUM:
            memcpy(&small, from, sizeof small);
            if (small >= count_words(row))
                return segue_fail(SEGUE_E_INVALID, "option %s: there is no %u", row->name,
                                  small);
            if (small)
                memcpy(to, &small, sizeof small);
            continue;
        case SEGUE_OPT_U32:
            memcpy(&small, from, sizeof small);
            number = small;
            if (number && number >= row->min && number <= row->max)
                memcpy(to, &small, sizeof small);
            break;
        default:
            memcpy(&number, from, sizeof number);
            if (number && number >= row->min && number <= row->max)
                memcpy(to, &number, sizeof number);
        }
        if (number && (number < row->min || number > row->max))
            return out_of_limits(row, number);
    }
    return SEGUE_OK;
}

static bool is_set(const char *text)
{
    return text && *text;
}

/* What is missing of engine id and folder, computed. */
static bool compute_missing(struct segue_agent_opts *opts, char **id, char **folder)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!is_set(opts->engine_id) &&
        asprintf(id, "segue-%016" PRIx64, segue_random_u64()) < 0)
        return false;
    if (is_set(opts->ipc_dir))
        return true;
    return (runtime && runtime[0] == '/'
                ? asprintf(folder, "%s/segue", runtime)
                : asprintf(folder, "/tmp/segue-%u", (unsigned)geteuid())) > 0;
}

/* Makes every string our own; an empty one becomes NULL. */
static enum segue_status own_strings(struct segue_agent_opts *opts)
{
    char *id = NULL, *folder = NULL;
    bool good = compute_missing(opts, &id, &folder);
    for (const struct segue_opt *row = segue_agent_options; row->name; row++) {
        const char **field = (const char **)((char *)opts + row->offset);
        if (row->kind != SEGUE_OPT_STRING)
            continue;
        bool set = is_set(*field);
        *field = good && set ? strdup(*field) : NULL;
        good = good && (!set || *field);
    }
    if (id)
        opts->engine_id = id;
    if (folder)
        opts->ipc_dir = folder;
    return good ? SEGUE_OK
                : segue_fail(SEGUE_E_MEMORY, "no memory for an agent's options");
}

/* No rows: an environment is inherited, and no two agents are the same rank. */
static enum segue_status take_rank(const struct segue_agent_opts *given,
                                   struct segue_agent_opts *out)
{
    out->incarnation = given->incarnation;
    out->endpoint = given->endpoint;
    out->rank = given->rank;
    out->ranks = given->ranks;
    if (!given->endpoint ? given->rank || given->ranks
                         : !given->incarnation || given->rank >= given->ranks)
        return segue_fail(SEGUE_E_INVALID,
                          "rank %u of %u: with an endpoint an agent needs its "
                          "incarnation, and a rank below their number",
                          given->rank, given->ranks);
    return SEGUE_OK;
}

enum segue_status segue_agent_options_read(const struct segue_agent_opts *given,
                                           struct segue_agent_opts *out)
{
    struct segue_agent_opts known, opts = SEGUE_AGENT_OPTS_INIT;
    SEGUE_TRY(segue_sized_take("struct segue_agent_opts", given, &known, sizeof known));
    segue_opts_defaults(segue_agent_options, &opts);
    SEGUE_TRY(segue_opts_environment(segue_agent_options, &opts));
    SEGUE_TRY(take_given(&known, &opts));
    if (opts.engine_id && strlen(opts.engine_id) > 63)
        return segue_fail(SEGUE_E_INVALID, "option engine-id: %zu bytes, 63 are allowed",
                          strlen(opts.engine_id));
    if (is_set(opts.ipc_dir) && opts.ipc_dir[0] != '/')
        return segue_fail(SEGUE_E_INVALID,
                          "option ipc-dir: '%s' is no absolute path; peers elsewhere "
                          "could not find it",
                          opts.ipc_dir);
    SEGUE_TRY(take_rank(&known, &opts));
    SEGUE_TRY(check_paths("require", opts.require));
    SEGUE_TRY(check_paths("exclude", opts.exclude));
    enum segue_status status = own_strings(&opts);
    if (status < 0)
        segue_agent_options_free(&opts);
    else
        *out = opts;
    return status;
}

void segue_agent_options_free(struct segue_agent_opts *opts)
{
    for (const struct segue_opt *row = segue_agent_options; row->name; row++)
        if (row->kind == SEGUE_OPT_STRING)
            free(*(char **)((char *)opts + row->offset));
    *opts = (struct segue_agent_opts){0};
}
