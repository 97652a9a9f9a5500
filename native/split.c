/*
 * Splitting of super-packets; what and why is in split.h. Called from the seal loop for rows with COL_SEG > 0.
 */
#include "split.h"

bool split_begin(struct split *split, uint8_t *packet, int32_t len, int32_t header_len, int32_t seg) {
  split->patched = -1;
  if (seg <= 0 || !inner_parse(packet, len, &split->inner)) return false;
  if (split->inner.header_len != header_len || header_len > SUPER_HEADER_MAX || header_len >= len) return false;
  if ((len - header_len - 1) / seg >= SUPER_SEGMENTS_MAX || len > 0xffff) return false;
  split->packet = packet;
  split->payload_end = len;
  split->seg = seg;
  split->next = header_len;
  split->index = 0;
  memcpy(split->header, packet, (size_t)header_len);
  split->seq = split->inner.protocol == PROTO_TCP ? get32(packet + split->inner.ip_len + TCP_SEQ) : 0;
  split->id = split->inner.v6 ? 0 : get16(packet + IP4_ID);
  return true;
}

void split_end(struct split *split) {
  if (split->patched < 0) return;
  memcpy(split->packet + split->patched, split->saved, (size_t)split->inner.header_len);
  split->patched = -1;
}

/* Turns a copy of the common header at `at` into that of the segment with `payload` bytes. */
static void write_header(const struct split *split, uint8_t *at, int32_t payload, bool last) {
  const struct inner *inner = &split->inner;
  const int32_t upper_len = inner->header_len - inner->ip_len + payload;
  uint8_t *upper = at + inner->ip_len;
  inner_set_length(at, inner->v6, inner->header_len + payload);
  if (!inner->v6) {
    put16(at + IP4_ID, (uint32_t)split->id + (uint32_t)split->index);
    inner_set_ip4_check(at, inner->ip_len);
  }
  if (inner->protocol == PROTO_TCP) {
    put32(upper + TCP_SEQ, split->seq + (uint32_t)split->index * (uint32_t)split->seg);
    if (!last) upper[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (split->index > 0) upper[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
  } else {
    put16(upper + UDP_LENGTH, (uint32_t)upper_len);
  }
  uint8_t *check_at = upper + inner_check_offset(inner);
  put16(check_at, 0);
  uint16_t check = (uint16_t)~fold_sum(sum_bytes(upper, upper_len, inner_pseudo_sum(at, inner, upper_len)));
  if (check == 0 && inner->protocol == PROTO_UDP) check = 0xffff; /* RFC 768: 0 means none */
  memcpy(check_at, &check, 2);
}

const uint8_t *split_next(struct split *split, int32_t *len) {
  const int32_t header_len = split->inner.header_len;
  split_end(split);
  if (split->next >= split->payload_end) return NULL;
  const int32_t rest = split->payload_end - split->next;
  const int32_t payload = rest < split->seg ? rest : split->seg;
  const int32_t at = split->next - header_len;
  uint8_t *header = split->packet + at;
  memcpy(split->saved, header, (size_t)header_len);
  split->patched = at;
  memcpy(header, split->header, (size_t)header_len);
  write_header(split, header, payload, payload == rest);
  split->next += payload;
  split->index++;
  *len = header_len + payload;
  return header;
}
