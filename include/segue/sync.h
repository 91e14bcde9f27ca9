/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When device work is done: how an engine tells Segue what to wait for, so that no
 * half-written block is ever read and no block that is still being read is overwritten
 * (rule R14). The handle is captured during the call, on the caller's thread.
 */
#ifndef SEGUE_SYNC_H
#define SEGUE_SYNC_H

#include <segue/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum segue_sync_kind {
    SEGUE_SYNC_NONE = 0, /* "I have synchronised": all work before this call is done */
    SEGUE_SYNC_EVENT,    /* `handle` is an event of `device` that was recorded */
    SEGUE_SYNC_STREAM, /* `handle` is a stream of `device`: everything submitted to it so
                          far */
};

struct segue_sync {
    enum segue_sync_kind kind;
    segue_device *device; /* whose handle it is; unused for NONE */
    void *handle; /* native: CUevent, CUstream, ze_event_handle_t, struct segue_sim_stream
                     *, ... Borrowed for the call. */
};

#ifdef __cplusplus
}
#endif
#endif
