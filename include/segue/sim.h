/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and events of the sim devices, so that an engine on sim:cuda launches its
 * kernels as on the real thing: they run late, on the device's own thread, and who does
 * not wait reads what was there before.
 */
#ifndef SEGUE_SIM_H
#define SEGUE_SIM_H

#include <segue/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct segue_sim_stream segue_sim_stream;
typedef struct segue_sim_event segue_sim_event;

/* What: an in-order queue of work on a sim device. Owned: destroy it (which waits until
 * it is empty). Any thread. */
SEGUE_API enum segue_status segue_sim_stream_create(segue_device *device,
                                                    segue_sim_stream **out);
SEGUE_API void segue_sim_stream_destroy(segue_sim_stream *stream);

/* What: runs fn(user) on the device's thread after all earlier work of the stream and at
 * least `delay_ns` later. Any thread. */
SEGUE_API enum segue_status segue_sim_launch(segue_sim_stream *stream,
                                             void (*fn)(void *user), void *user,
                                             uint64_t delay_ns);

/* What: an event that retires when the stream's work so far has. Owned: destroy it any
 * time; who waits on it keeps it. Any thread. */
SEGUE_API enum segue_status segue_sim_event_record(segue_sim_stream *stream,
                                                   segue_sim_event **out);
SEGUE_API void segue_sim_event_destroy(segue_sim_event *event);

/* What: blocks until the stream is empty or `timeout_ns` passed (E_TIMEOUT). Any thread.
 */
SEGUE_API enum segue_status segue_sim_stream_wait(segue_sim_stream *stream,
                                                  uint64_t timeout_ns);

#ifdef __cplusplus
}
#endif
#endif
