/*
 * A frame from the device: virtio_net_hdr and packet, as a row. Every claim of the header is checked against the packet.
 */
#ifndef ANYHOP_DEVICE_FRAME_H
#define ANYHOP_DEVICE_FRAME_H

#include "env.h"

/*
 * Fills input row i from the frame slab[at, at + len), which the caller has checked against the slab. LIVE: a plain
 * packet with whole checksums (SEG 0), or a super-packet of two segments or more. INNER_MALFORMED: the header lies.
 */
void frame_to_row(struct env *env, int32_t i, int32_t at, int32_t len);

/* Fills input row i from a packet without a frame header. */
void packet_to_row(struct env *env, int32_t i, int32_t at, int32_t len);

/* Adds frameToRow and framesOf: both halves of the device without a device, for the tests. 0 or -1. */
int device_frame_register(napi_env napi, napi_value exports);

#endif
