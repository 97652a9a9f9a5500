/*
 * One super-packet as the packets that it stands for, one after the other and without a copy of the payload: each
 * segment's header is written in front of its payload, over the end of the segment before, and the bytes that stood
 * there are put back when the next one is asked for. So the source is unchanged at the end and can be split again, for
 * another receiver. Readable twin: src/drivers/twin_split.ts. Segmentation as the kernel's own (tcp_gso_segment,
 * __udp_gso_segment): length, IPv4 identification and sequence number count on, FIN and PSH stand on the last segment,
 * CWR on the first (RFC 3168 section 6.1.2), every checksum is computed.
 */
#ifndef ANYHOP_SPLIT_H
#define ANYHOP_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "inner.h"
#include "layout.h"

struct split {
  uint8_t *packet;
  struct inner inner;
  int32_t payload_end; /* bytes of the whole packet */
  int32_t seg;
  int32_t next;    /* offset of the payload of the next segment */
  int32_t index;   /* number of the next segment */
  int32_t patched; /* offset of the header that was written last, -1 = none */
  uint32_t seq;
  uint16_t id;
  uint8_t header[SUPER_HEADER_MAX];
  uint8_t saved[SUPER_HEADER_MAX];
};

/*
 * Begins with the super-packet packet[0, len) of `seg` payload bytes a segment. False when it is none: `header_len` is
 * not that of its headers, no payload, too many segments. Length and checksum fields are not looked at.
 */
bool split_begin(struct split *split, uint8_t *packet, int32_t len, int32_t header_len, int32_t seg);

/* The next segment, valid until the next call. NULL after the last one; then the source is as it was. */
const uint8_t *split_next(struct split *split, int32_t *len);

/* Puts the source back when the caller stops early. */
void split_end(struct split *split);

#endif
