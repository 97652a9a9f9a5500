/*
 * Offsets in inner packets that splitting and coalescing touch (RFC 791, 8200, 9293, 768), and the one parser that both
 * use. Everything is read from the bytes; what the kernel says about a packet is only compared with them.
 */
#ifndef ANYHOP_INNER_H
#define ANYHOP_INNER_H

#include <stdbool.h>
#include <stdint.h>

#include "checksum.h"

enum {
  IP4_LEN = 20,
  IP4_TOTAL = 2,
  IP4_ID = 4,
  IP4_FRAGMENT = 6,
  IP4_PROTOCOL = 9,
  IP4_CHECK = 10,
  IP4_SRC = 12,
  IP6_LEN = 40,
  IP6_PAYLOAD = 4,
  IP6_NEXT = 6,
  IP6_SRC = 8,
  PROTO_TCP = 6,
  PROTO_UDP = 17,
  TCP_LEN = 20,
  TCP_SEQ = 4,
  TCP_OFFSET = 12,
  TCP_FLAGS = 13,
  TCP_CHECK = 16,
  UDP_LEN = 8,
  UDP_LENGTH = 4,
  UDP_CHECK = 6,
};

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_ACK = 0x10, TCP_ECE = 0x40, TCP_CWR = 0x80 };

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t get32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put16(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v) {
  put16(p, v >> 16);
  put16(p + 2, v);
}

/* Where the parts of a TCP or UDP packet are. */
struct inner {
  bool v6;
  uint8_t protocol;
  int32_t ip_len;     /* bytes of the IP header */
  int32_t header_len; /* IP and TCP or UDP */
};

/*
 * Parses packet[0, len): TCP or UDP directly behind an IPv4 header (options allowed) or a bare IPv6 header. False when
 * it is another thing, a fragment, or a header does not fit. Does not look at the length fields.
 */
static inline bool inner_parse(const uint8_t *packet, int32_t len, struct inner *inner) {
  if (len < IP4_LEN) return false;
  inner->v6 = packet[0] >> 4 == 6;
  if (inner->v6) {
    inner->ip_len = IP6_LEN;
    if (len < IP6_LEN) return false;
    inner->protocol = packet[IP6_NEXT];
  } else {
    inner->ip_len = (packet[0] & 15) << 2;
    if (packet[0] >> 4 != 4 || inner->ip_len < IP4_LEN || inner->ip_len > len) return false;
    if ((get16(packet + IP4_FRAGMENT) & 0x3fff) != 0) return false;
    inner->protocol = packet[IP4_PROTOCOL];
  }
  const int32_t room = len - inner->ip_len;
  int32_t upper = UDP_LEN;
  if (inner->protocol == PROTO_TCP) {
    if (room < TCP_LEN) return false;
    upper = (packet[inner->ip_len + TCP_OFFSET] >> 4) << 2;
    if (upper < TCP_LEN) return false;
  } else if (inner->protocol != PROTO_UDP) {
    return false;
  }
  inner->header_len = inner->ip_len + upper;
  return upper <= room;
}

/* Length of the IP packet by its own field. */
static inline int32_t inner_length(const uint8_t *packet, bool v6) {
  return v6 ? IP6_LEN + get16(packet + IP6_PAYLOAD) : get16(packet + IP4_TOTAL);
}

static inline void inner_set_length(uint8_t *packet, bool v6, int32_t len) {
  if (v6) {
    put16(packet + IP6_PAYLOAD, (uint32_t)(len - IP6_LEN));
  } else {
    put16(packet + IP4_TOTAL, (uint32_t)len);
  }
}

/* Sum of the pseudo-header for an upper-layer packet of `len` bytes (RFC 9293 section 3.1, RFC 8200 section 8.1). */
static inline uint64_t inner_pseudo_sum(const uint8_t *packet, const struct inner *inner, int32_t len) {
  uint8_t tail[4] = {0, inner->protocol, 0, 0};
  put16(tail + 2, (uint32_t)len);
  const uint64_t sum = sum_bytes(tail, 4, 0);
  return inner->v6 ? sum_bytes(packet + IP6_SRC, 32, sum) : sum_bytes(packet + IP4_SRC, 8, sum);
}

/* Offset of the TCP or UDP checksum in its header. */
static inline int32_t inner_check_offset(const struct inner *inner) {
  return inner->protocol == PROTO_TCP ? TCP_CHECK : UDP_CHECK;
}

/* Writes the IPv4 header checksum. */
static inline void inner_set_ip4_check(uint8_t *packet, int32_t ip_len) {
  put16(packet + IP4_CHECK, 0);
  const uint16_t check = (uint16_t)~fold_sum(sum_bytes(packet, ip_len, 0));
  memcpy(packet + IP4_CHECK, &check, 2);
}

#endif
