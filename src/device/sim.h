/* SPDX-License-Identifier: Apache-2.0 */
/* A sim device from inside: sim.c is its memory and copies, sim_queue.c what runs late on
 * its thread. */
#ifndef DEVICE_SIM_H
#define DEVICE_SIM_H

#include <segue/sim.h>
#include "device/device.h"
#include "device/ram.h"

struct segue_sim {
    struct segue_device base;
    struct segue_ram ram;
    struct segue_pool *pool;
    uint64_t gbps, latency_us; /* 0: as fast as it goes */

    pthread_mutex_t lock; /* everything below, and all streams and events */
    pthread_cond_t wake;  /* the thread has something to look at */
    pthread_cond_t moved; /* work ended, a wait was called */
    pthread_t thread;
    struct segue_list streams;
    struct segue_list ready; /* waits whose event has retired */
    struct segue_list paced; /* copies that are done early */
    struct segue_wait *calling;
    uint64_t free_ns; /* when the copy engine has caught up */
    bool ending;
};

/* Starts and ends the thread. Ending waits for nothing: nothing may be in flight. */
enum segue_status segue_sim_start(struct segue_sim *sim);
void segue_sim_stop(struct segue_sim *sim);

/* The device verbs of these names. */
enum segue_status segue_sim_sync(struct segue_device *dev, const struct segue_sync *sync,
                                 struct segue_wait *wait);
void segue_sim_unwait(struct segue_device *dev, struct segue_wait *wait);

/* Ends a copy that began at a pace: now, or when its time has come. */
void segue_sim_end_paced(struct segue_sim *sim, struct segue_copy_job *job,
                         uint64_t due_ns);

#endif
