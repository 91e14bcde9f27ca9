/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which path carries a hand-off. The candidates are one table in the order of preference;
 * each has one function that says why it cannot be used, or nothing. A candidate that can
 * be used but is slow for short runs goes to the end.
 */
#include "agent/select.h"
#include "base/status.h"
#include "transport/transport.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Below these a system call or a piece costs more than gathering the run into a slot. */
#define CMA_RUN 2048
#define TCP_RUN 4096

struct candidate {
    const char *name, *transport;
    enum segue_way way;
    uint32_t good_run; /* bytes; 0: whatever the runs */
    /* Writes the sentence and returns false when the path cannot be used. */
    bool (*usable)(const struct segue_select_input *in, size_t row, char why[200]);
};

static bool refuse(char why[200], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static bool refuse(char why[200], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, 200, fmt, args);
    va_end(args);
    return false;
}

/* ---- what several candidates ask ---- */

static bool on_one_host(const struct segue_select_input *in, char why[200])
{
    return in->same_host || refuse(why, "the peer is reached over the network");
}

static bool registered(const struct segue_select_side *side, size_t row, char why[200])
{
    const char *reason = side->why[row];
    if (side->rows & (1u << row))
        return true;
    if (reason && *reason)
        return refuse(why, "%s", reason);
    return refuse(why, "%s memory cannot be used by %s", side->device,
                  segue_transport_name(row));
}

static bool both_registered(const struct segue_select_input *in, size_t row,
                            char why[200])
{
    return registered(&in->remote, row, why) && registered(&in->local, row, why);
}

static bool converts_nothing(const struct segue_select_input *in, char why[200])
{
    return !in->converts || refuse(why, "element types differ on the two sides, which "
                                        "only a device copy can convert");
}

/* A copy straight into place does the whole relayout, so the device must be able to. */
static bool copies_into_place(const struct segue_select_input *in, char why[200])
{
    if (in->local.device_caps & SEGUE_DEVICE_STRIDED || (!in->strided && !in->converts))
        return true;
    return refuse(why, "%s copies contiguous runs only, and the two sides differ in %s",
                  in->local.device, in->strided ? "layout" : "element type");
}

/* ---- candidates ---- */

static bool shm_mapped(const struct segue_select_input *in, size_t row, char why[200])
{
    if (!on_one_host(in, why) || !both_registered(in, row, why))
        return false;
    if (!(in->local.device_caps & (SEGUE_DEVICE_VIEW | SEGUE_DEVICE_MAP_HOST)))
        return refuse(why, "%s cannot copy from host memory of another process",
                      in->local.device);
    return copies_into_place(in, why);
}

static bool ipc_mapped(const struct segue_select_input *in, size_t row, char why[200])
{
    if (!on_one_host(in, why))
        return false;
    if (!(in->remote.device_caps & SEGUE_DEVICE_EXPORT))
        return refuse(why, "%s memory cannot be mapped by another process",
                      in->remote.device);
    if (strcmp(in->local.device, in->remote.device) != 0)
        return refuse(why, "%s cannot map memory of %s", in->local.device,
                      in->remote.device);
    return both_registered(in, row, why) && copies_into_place(in, why);
}

static bool cma_direct(const struct segue_select_input *in, size_t row, char why[200])
{
    return on_one_host(in, why) && both_registered(in, row, why) &&
           converts_nothing(in, why);
}

static bool shm_packed(const struct segue_select_input *in, size_t row, char why[200])
{
    return on_one_host(in, why);
}

static bool tcp_direct(const struct segue_select_input *in, size_t row, char why[200])
{
    return both_registered(in, row, why) && converts_nothing(in, why);
}

static bool tcp_packed(const struct segue_select_input *in, size_t row, char why[200])
{
    return true;
}

static const struct candidate candidates[] = {
    {"shm/mapped", "shm", SEGUE_WAY_MAPPED, 0, shm_mapped},
    {"ipc/mapped", "ipc", SEGUE_WAY_MAPPED, 0, ipc_mapped},
    {"cma/direct", "cma", SEGUE_WAY_DIRECT, CMA_RUN, cma_direct},
    {"shm/packed", "shm", SEGUE_WAY_PACKED, 0, shm_packed},
    {"tcp/direct", "tcp", SEGUE_WAY_DIRECT, TCP_RUN, tcp_direct},
    {"tcp/packed", "tcp", SEGUE_WAY_PACKED, 0, tcp_packed},
};
#define CANDIDATES (sizeof candidates / sizeof *candidates)
_Static_assert(CANDIDATES <= SEGUE_PATHS_MAX, "every candidate has a place");

/* ---- names and lists ---- */

static size_t row_of(const struct candidate *c)
{
    size_t row = 0;
    while (segue_transport_name(row) &&
           strcmp(segue_transport_name(row), c->transport) != 0)
        row++;
    return row;
}

static bool is_word(const char *text, const char *word, size_t len)
{
    return strlen(text) == len && memcmp(text, word, len) == 0;
}

static bool names(const struct candidate *c, const char *word, size_t len)
{
    return is_word(c->name, word, len) || is_word(c->transport, word, len);
}

/* The next word of a comma list, without spaces around it; false at the end. */
static bool next_word(const char **list, const char **word, size_t *len)
{
    const char *at = *list;
    while (*at == ',' || *at == ' ')
        at++;
    *word = at;
    *len = strcspn(at, ", ");
    *list = at + *len;
    return *len > 0;
}

static bool is_listed(const struct candidate *c, const char *list)
{
    const char *word;
    size_t len;
    while (next_word(&list, &word, &len))
        if (names(c, word, len))
            return true;
    return false;
}

enum segue_status segue_path_list_check(const char *list)
{
    const char *word;
    size_t len;
    while (list && next_word(&list, &word, &len)) {
        size_t i = 0;
        while (i < CANDIDATES && !names(&candidates[i], word, len))
            i++;
        if (i == CANDIDATES)
            return segue_fail(
                SEGUE_E_INVALID,
                "'%.*s' is no path; there are shm/mapped, ipc/mapped, "
                "cma/direct, shm/packed, tcp/direct and tcp/packed, and their "
                "transports",
                (int)len, word);
    }
    return SEGUE_OK;
}

const char *segue_path_name(struct segue_path path)
{
    for (size_t i = 0; i < CANDIDATES; i++)
        if (candidates[i].way == path.way && row_of(&candidates[i]) == path.row)
            return candidates[i].name;
    return "?";
}

bool segue_path_find(const char *name, size_t len, struct segue_path *out)
{
    for (size_t i = 0; i < CANDIDATES; i++)
        if (is_word(candidates[i].name, name, len)) {
            *out = (struct segue_path){(uint8_t)row_of(&candidates[i]),
                                       candidates[i].way};
            return true;
        }
    return false;
}

/* ---- the choice ---- */

static bool is_set(const char *list)
{
    return list && *list;
}

static bool usable(const struct candidate *c, const struct segue_select_input *in,
                   char why[200])
{
    if (is_set(in->exclude) && is_listed(c, in->exclude))
        return refuse(why, "excluded by configuration");
    if (is_set(in->require) && !is_listed(c, in->require))
        return refuse(why, "configuration requires %.100s", in->require);
    return c->usable(in, row_of(c), why);
}

void segue_select(const struct segue_select_input *in, struct segue_select_output *out)
{
    struct segue_path slow[CANDIDATES];
    size_t n_slow = 0;
    out->n = out->n_refused = 0;
    out->why[0] = 0;
    for (size_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *c = &candidates[i];
        struct segue_path path = {(uint8_t)row_of(c), c->way};
        char why[200];
        if (!usable(c, in, why)) {
            out->refused[out->n_refused].path = path;
            memcpy(out->refused[out->n_refused++].why, why, sizeof why);
        } else if (in->run < c->good_run) {
            slow[n_slow++] = path;
        } else {
            out->path[out->n++] = path;
        }
    }
    for (size_t i = 0; i < n_slow; i++)
        out->path[out->n++] = slow[i];
}

void segue_select_text(const struct segue_select_output *out, char *text, size_t cap)
{
    size_t len = 0;
    if (cap)
        text[0] = 0;
    for (size_t i = 0; i < out->n + out->n_refused && len < cap; i++) {
        bool refused = i >= out->n;
        struct segue_path path = refused ? out->refused[i - out->n].path : out->path[i];
        bool told = i == 0 && !refused && out->why[0];
        len += (size_t)snprintf(text + len, cap - len, "%s%s %s%s", i ? "\n" : "",
                                segue_path_name(path),
                                refused ? "refused: "
                                : i     ? "possible"
                                : told  ? "chosen: "
                                        : "chosen",
                                refused ? out->refused[i - out->n].why
                                : told  ? out->why
                                        : "");
    }
}
