/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path selection: a pure function from what both sides can do to a ranked list of paths,
 * with one sentence for every candidate that was refused (DESIGN D4 of docs/design.md).
 * The same transcript feeds the log, segue_path_explain and reports.
 */
#ifndef AGENT_SELECT_H
#define AGENT_SELECT_H

#include <segue/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum segue_way {
    SEGUE_WAY_MAPPED, /* one device copy from the peer's mapped memory */
    SEGUE_WAY_DIRECT, /* one-sided read, or a stream between final places */
    SEGUE_WAY_PACKED, /* gathered into a slot, sent, scattered */
};

struct segue_path {
    uint8_t row; /* transport */
    enum segue_way way;
};
#define SEGUE_PATHS_MAX 8

/* What: "shm/mapped"; "?" when there is no such path. Static storage. */
const char *segue_path_name(struct segue_path path);
/* What: the path called so; false: none. */
bool segue_path_find(const char *name, size_t len, struct segue_path *out);
/* What: whether every word of a comma list is a path or a transport; E_INVALID naming the
 * one that is not. NULL is legal. */
enum segue_status segue_path_list_check(const char *list);

/* One side's memory, as selection sees it. */
struct segue_select_side {
    const char *device;   /* name, for sentences */
    uint32_t device_caps; /* enum segue_device_caps */
    uint32_t rows; /* bit per transport row: this side's memory is registered with it */
    const char *why[8]; /* by row: why it is not; may be NULL */
};

struct segue_select_input {
    struct segue_select_side local, remote; /* consumer, producer */
    bool same_host;
    uint32_t run;   /* shortest contiguous bytes that both sides share */
    bool strided;   /* the plan is more than long contiguous runs */
    bool converts;  /* element types differ */
    uint64_t bytes; /* about how much will move */
    const char *require,
        *exclude; /* comma lists of path names or transport names; NULL: none */
};

struct segue_select_output {
    struct segue_path path[SEGUE_PATHS_MAX]; /* best first */
    size_t n;
    char why[160]; /* of the chosen path: how it converts, filled in by who knows */
    struct {
        struct segue_path path;
        char why[200];
    } refused[SEGUE_PATHS_MAX];
    size_t n_refused;
};

void segue_select(const struct segue_select_input *in, struct segue_select_output *out);

/* What: the transcript as text, a line a path: "shm/mapped chosen: WHY", "tcp/packed
 * possible", "ipc/mapped refused: WHY"; NUL terminated, cut at cap. */
void segue_select_text(const struct segue_select_output *out, char *text, size_t cap);

#endif
