/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices: whose memory a region is. The caller says which; Segue compares it with what
 * the driver says and never guesses.
 *
 * Names: "host" (alias cpu); "sim:cuda", "sim:xpu", "sim:gaudi", "sim:tpu": accelerators
 * made of host memory that nobody may touch directly, with the abilities of the device
 * they are named after (segue/sim.h).
 */
#ifndef SEGUE_DEVICE_H
#define SEGUE_DEVICE_H

#include <segue/agent.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct segue_device segue_device;

/* What: the agent's device called `name`, opened on first use. Borrowed: lives as long as
 * the agent. Any thread. Errors: E_NOT_FOUND naming what there is, E_UNSUPPORTED with the
 * reason why it cannot be used here. */
SEGUE_API enum segue_status segue_device_find(segue_agent *agent, const char *name,
                                              segue_device **out);

/* What: its name as given to segue_device_find, aliases resolved. Borrowed. Any thread.
 */
SEGUE_API const char *segue_device_name(const segue_device *device);

/* What: a CPU pointer to `len` bytes of this device's memory at `address` that a kernel
 * of that device may use. Only host and sim have one. Borrowed: valid until the memory is
 * freed. Any thread. Errors: E_UNSUPPORTED (copy instead), E_RANGE. */
SEGUE_API enum segue_status segue_device_view(segue_device *device, const void *address,
                                              size_t len, void **view);

/* What: memory of this device that can be handed to peers: page aligned, zeroed,
 * populated. Unit: bytes. Owned: segue_free it, after the regions over it are
 * deregistered. `address` is the device's address: do not touch it unless the device is
 * host. Any thread. Errors: E_MEMORY with how much was asked and what there is. */
SEGUE_API enum segue_status segue_alloc(segue_device *device, size_t size,
                                        void **address);

/* What: frees it; NULL is legal. Blocks until copies in flight on it are done. Any
 * thread. */
SEGUE_API void segue_free(segue_device *device, void *address);

/* What: copies `rows` rows of `len` bytes, `dst_pitch` and `src_pitch` bytes apart,
 * between this device's memory and host memory or inside either; returns when the bytes
 * are there. Which side is the device's is found by address. Any thread. Errors: E_RANGE,
 * E_DEVICE. */
SEGUE_API enum segue_status segue_copy(segue_device *device, void *dst, size_t dst_pitch,
                                       const void *src, size_t src_pitch, size_t len,
                                       size_t rows);

#ifdef __cplusplus
}
#endif
#endif
