/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The working set of a cache on a device whose memory the CPU cannot address: host memory of the same shape, in which the
 * engine computes, and what of it the device has as well.
 *
 * Blocks go out when they are offered and come in when they were loaded, by segue_copy; nothing is copied that is on the
 * other side already. Whoever holds a block (engine/blocks.h) may call for it, from any thread; two threads never hold the
 * same block.
 */
#ifndef ENGINE_WORKSET_H
#define ENGINE_WORKSET_H

#include "cache.h"

#include <segue/device.h>

struct workset;

/* What: the working set of `cache` (planned), whose device memory is at `address`; sets cache->base. -1: no memory. The
 * struct cache is copied, the device borrowed. */
int workset_open(struct workset **out, struct cache *cache, segue_device *device,
                 void *address);
void workset_close(struct workset *set); /* NULL is allowed */

/* What: the engine writes tokens of `block` from `token` on: the device's are old. */
void workset_wrote(struct workset *set, uint32_t block, uint32_t token);

/* What: brings the device up to date for a sequence's tokens [0, tokens), or the host for [first, tokens), which begins a
 * block. Adds what was copied to *bytes. -1 with the sentence: the device failed. Blocks meanwhile. */
int workset_push(struct workset *set, const uint32_t *blocks, uint32_t tokens,
                 uint64_t *bytes);
int workset_pull(struct workset *set, const uint32_t *blocks, uint32_t first,
                 uint32_t tokens, uint64_t *bytes);

#endif
