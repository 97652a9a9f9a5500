/*
 * Packets for the device, merged where they are neighbours of one TCP or UDP flow, so that the kernel takes many in one
 * write and handles them as one. Stands between the columns and the device's write. Merged is only what the kernel's own
 * segmentation would take apart into the very same packets (split.c is its model), and only packets whose checksums are
 * right. Order within a flow is kept; other packets never overtake a flow that they could belong to. Readable twin:
 * src/drivers/twin_coalesce.ts.
 */
#ifndef ANYHOP_COALESCE_H
#define ANYHOP_COALESCE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "env.h"

/* Where frames (virtio_net_hdr and packet) go: a device, or memory in the tests. */
struct frame_sink {
  /* 0 or an errno. A refused frame has not left, not even in part. */
  int (*write)(struct frame_sink *sink, const struct iovec *iov, int count);
};

/*
 * Writes input rows [0, n) with verdict TO_DEVICE as frames; merges TCP with `tcp`, UDP with `udp`. Rows of a refused frame get
 * DEVICE_BUSY or DEVICE_REFUSED.
 */
void coalesce_write(struct env *env, int32_t n, bool tcp, bool udp, struct frame_sink *sink);

/* The verdict that a failed write means. */
int32_t device_verdict(int error);

#endif
