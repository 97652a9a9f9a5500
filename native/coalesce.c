/*
 * Merging of packets for the device; the rules are in coalesce.h. A train is a run of segments of one flow that waits
 * for its next one; a handful of trains are open at a time, the oldest is written when another flow needs its place, and
 * all at the end of the batch. Nothing waits for a later batch: that would cost latency.
 */
#include "coalesce.h"

#include <errno.h>
#include <linux/virtio_net.h>

#include "inner.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Flows that are merged side by side. */
#define TRAINS 8
#define PACKET_MAX 65535

struct train {
  int32_t count; /* 0 = free */
  bool verified; /* the first packet's checksums; they are only looked at when a second packet comes */
  struct inner inner;
  const uint8_t *first;
  int32_t seg; /* payload bytes of every packet but the last */
  int32_t len; /* of the merged packet */
  uint32_t next_seq;
  uint16_t next_id;
  int32_t rows[SEGMENTS_MAX];
};

struct coalescer {
  struct env *env;
  struct frame_sink *sink;
  bool tcp;
  bool udp;
  int oldest;
  struct train trains[TRAINS];
};

int32_t device_verdict(int error) {
  /* Full queue, no memory, or the interface is down (EIO): the next packet may pass. Others: this packet never will. */
  return error == EIO || error == EAGAIN || error == ENOBUFS || error == ENOMEM ? DEVICE_BUSY : DEVICE_REFUSED;
}

static const uint8_t *packet_of(const struct env *env, int32_t row) { return env->slab + IN(env, COL_AT)[row]; }

static void write_plain(struct env *env, struct frame_sink *sink, int32_t row) {
  struct virtio_net_hdr plain = {0};
  const struct iovec iov[2] = {
      {.iov_base = &plain, .iov_len = sizeof plain},
      {.iov_base = env->slab + IN(env, COL_AT)[row], .iov_len = (size_t)IN(env, COL_LEN)[row]},
  };
  const int error = sink->write(sink, iov, 2);
  if (error != 0) IN(env, COL_VERDICT)[row] = device_verdict(error);
}

/* The header of all segments as one, with the sum that the kernel completes (VIRTIO_NET_HDR_F_NEEDS_CSUM). */
static void write_super_header(const struct coalescer *c, const struct train *t, uint8_t *header) {
  const struct inner *inner = &t->inner;
  const uint8_t *last = packet_of(c->env, t->rows[t->count - 1]);
  uint8_t *upper = header + inner->ip_len;
  memcpy(header, t->first, (size_t)inner->header_len);
  inner_set_length(header, inner->v6, t->len);
  if (!inner->v6) inner_set_ip4_check(header, inner->ip_len);
  if (inner->protocol == PROTO_TCP) {
    upper[TCP_FLAGS] |= last[inner->ip_len + TCP_FLAGS] & TCP_PSH;
  } else {
    put16(upper + UDP_LENGTH, (uint32_t)(t->len - inner->ip_len));
  }
  const uint16_t partial = fold_sum(inner_pseudo_sum(header, inner, t->len - inner->ip_len));
  memcpy(upper + inner_check_offset(inner), &partial, 2);
}

/* Writes what the train holds and frees it. */
static void write_train(struct coalescer *c, struct train *t) {
  struct env *env = c->env;
  const int32_t count = t->count;
  const int32_t header_len = t->inner.header_len;
  if (count == 1) write_plain(env, c->sink, t->rows[0]);
  if (count > 1) {
    uint8_t frame[sizeof(struct virtio_net_hdr) + SUPER_HEADER_MAX];
    const bool tcp = t->inner.protocol == PROTO_TCP;
    const struct virtio_net_hdr super = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = !tcp         ? VIRTIO_NET_HDR_GSO_UDP_L4
                    : t->inner.v6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                  : VIRTIO_NET_HDR_GSO_TCPV4,
        .hdr_len = (uint16_t)header_len,
        .gso_size = (uint16_t)t->seg,
        .csum_start = (uint16_t)t->inner.ip_len,
        .csum_offset = (uint16_t)inner_check_offset(&t->inner),
    };
    memcpy(frame, &super, sizeof super);
    write_super_header(c, t, frame + sizeof super);
    struct iovec iov[SEGMENTS_MAX + 1];
    iov[0] = (struct iovec){.iov_base = frame, .iov_len = sizeof super + (size_t)header_len};
    for (int32_t k = 0; k < count; k++) {
      const int32_t row = t->rows[k];
      iov[k + 1] = (struct iovec){
          .iov_base = env->slab + IN(env, COL_AT)[row] + header_len,
          .iov_len = (size_t)(IN(env, COL_LEN)[row] - header_len),
      };
    }
    const int error = c->sink->write(c->sink, iov, count + 1);
    if (error != 0) {
      for (int32_t k = 0; k < count; k++) IN(env, COL_VERDICT)[t->rows[k]] = device_verdict(error);
    }
  }
  t->count = 0;
}

static bool same_flow(const struct train *t, const uint8_t *packet, const struct inner *inner) {
  if (inner->v6 != t->inner.v6 || inner->protocol != t->inner.protocol) return false;
  if (memcmp(packet + inner->ip_len, t->first + t->inner.ip_len, 4) != 0) return false;
  return inner->v6 ? memcmp(packet + IP6_SRC, t->first + IP6_SRC, 32) == 0
                   : memcmp(packet + IP4_SRC, t->first + IP4_SRC, 8) == 0;
}

/* Whether the packet may be part of a train at all: whole, with payload, no options of IPv4, no flag that ends things. */
static bool may_merge(const uint8_t *packet, int32_t len, const struct inner *inner) {
  const uint8_t *upper = packet + inner->ip_len;
  if (len <= inner->header_len || inner_length(packet, inner->v6) != len || len > PACKET_MAX) return false;
  if (!inner->v6 && inner->ip_len != IP4_LEN) return false;
  if (inner->protocol == PROTO_UDP) return get16(upper + UDP_CHECK) != 0 && get16(upper + UDP_LENGTH) == len - inner->ip_len;
  return (upper[TCP_FLAGS] & ~(TCP_PSH | TCP_ECE)) == TCP_ACK;
}

static bool checksums_right(const uint8_t *packet, int32_t len, const struct inner *inner) {
  if (!inner->v6 && fold_sum(sum_bytes(packet, IP4_LEN, 0)) != 0xffff) return false;
  const int32_t upper_len = len - inner->ip_len;
  return fold_sum(sum_bytes(packet + inner->ip_len, upper_len, inner_pseudo_sum(packet, inner, upper_len))) == 0xffff;
}

/* Whether `packet` is what segmentation would make of the train's next segment, checksums aside. */
static bool continues(const struct train *t, const uint8_t *packet, int32_t len, const struct inner *inner) {
  const int32_t payload = len - inner->header_len;
  const uint8_t *first = t->first;
  if (inner->header_len != t->inner.header_len || payload > t->seg || t->count == SEGMENTS_MAX ||
      t->len + payload > PACKET_MAX)
    return false;
  if (inner->v6) {
    /* Traffic class and flow label; hop limit. */
    if (memcmp(packet, first, 4) != 0 || packet[7] != first[7]) return false;
  } else {
    /* TOS; reserved bit and DF; TTL. */
    if (packet[1] != first[1] || memcmp(packet + IP4_FRAGMENT, first + IP4_FRAGMENT, 3) != 0) return false;
    if (get16(packet + IP4_ID) != t->next_id) return false;
  }
  if (inner->protocol == PROTO_UDP) return true;
  const uint8_t *a = packet + inner->ip_len;
  const uint8_t *b = first + inner->ip_len;
  const size_t options = (size_t)(inner->header_len - inner->ip_len - TCP_LEN);
  return get32(a + TCP_SEQ) == t->next_seq && memcmp(a + 8, b + 8, 5) == 0 && /* acknowledgment, data offset */
         ((a[TCP_FLAGS] ^ b[TCP_FLAGS]) & ~TCP_PSH) == 0 && memcmp(a + 14, b + 14, 2) == 0 && /* window */
         memcmp(a + 18, b + 18, options + 2) == 0; /* urgent pointer, options */
}

/* Adds a packet that continues the train; a short or pushed one ends it. */
static void append(struct coalescer *c, struct train *t, int32_t row, const uint8_t *packet, int32_t len) {
  const int32_t payload = len - t->inner.header_len;
  t->rows[t->count++] = row;
  t->len += payload;
  t->next_seq += (uint32_t)payload;
  t->next_id++;
  const bool pushed = t->inner.protocol == PROTO_TCP && (packet[t->inner.ip_len + TCP_FLAGS] & TCP_PSH) != 0;
  if (payload < t->seg || pushed) write_train(c, t);
}

static void begin(struct coalescer *c, struct train *t, int32_t row, const uint8_t *packet, int32_t len,
                  const struct inner *inner) {
  t->count = 0;
  t->verified = false;
  t->inner = *inner;
  t->first = packet;
  t->seg = len - inner->header_len;
  t->len = inner->header_len;
  t->next_seq = inner->protocol == PROTO_TCP ? get32(packet + inner->ip_len + TCP_SEQ) : 0;
  t->next_id = inner->v6 ? 0 : get16(packet + IP4_ID);
  append(c, t, row, packet, len);
}

/* A free train; the longest-open one is written when there is none. */
static struct train *free_train(struct coalescer *c) {
  for (int k = 0; k < TRAINS; k++) {
    if (c->trains[k].count == 0) return &c->trains[k];
  }
  struct train *t = &c->trains[c->oldest];
  c->oldest = (c->oldest + 1) % TRAINS;
  write_train(c, t);
  return t;
}

static void write_all(struct coalescer *c) {
  for (int k = 0; k < TRAINS; k++) {
    if (c->trains[k].count > 0) write_train(c, &c->trains[k]);
  }
}

static void take(struct coalescer *c, int32_t row) {
  const uint8_t *packet = packet_of(c->env, row);
  const int32_t len = IN(c->env, COL_LEN)[row];
  struct inner inner;
  if (!inner_parse(packet, len, &inner)) {
    /* A fragment or an ICMP error may belong to any of the flows. */
    write_all(c);
    write_plain(c->env, c->sink, row);
    return;
  }
  struct train *t = NULL;
  for (int k = 0; k < TRAINS && t == NULL; k++) {
    if (c->trains[k].count > 0 && same_flow(&c->trains[k], packet, &inner)) t = &c->trains[k];
  }
  if (!(inner.protocol == PROTO_UDP ? c->udp : c->tcp) || !may_merge(packet, len, &inner)) {
    if (t != NULL) write_train(c, t);
    write_plain(c->env, c->sink, row);
    return;
  }
  if (t != NULL && continues(t, packet, len, &inner) && checksums_right(packet, len, &inner)) {
    if (!t->verified) t->verified = checksums_right(t->first, IN(c->env, COL_LEN)[t->rows[0]], &t->inner);
    if (t->verified) {
      append(c, t, row, packet, len);
      return;
    }
  }
  if (t != NULL) write_train(c, t);
  begin(c, t != NULL ? t : free_train(c), row, packet, len, &inner);
}

void coalesce_write(struct env *env, int32_t n, bool tcp, bool udp, struct frame_sink *sink) {
  struct coalescer c;
  c.env = env;
  c.sink = sink;
  c.tcp = tcp;
  c.udp = udp;
  c.oldest = 0;
  for (int k = 0; k < TRAINS; k++) c.trains[k].count = 0;
  int32_t *verdict = IN(env, COL_VERDICT);
  for (int32_t i = 0; i < n; i++) {
    if (verdict[i] != TO_DEVICE) continue;
    if (in_slab(env, IN(env, COL_AT)[i], IN(env, COL_LEN)[i])) {
      take(&c, i);
    } else {
      verdict[i] = DEVICE_REFUSED;
    }
  }
  write_all(&c);
}
