/*
 * Reading of frames: completes the checksum that the kernel left to us, and decides plain or super-packet. A TCP or UDP
 * super-packet is described by its own headers alone; hdr_len, csum_start and csum_offset of the kernel are hints that
 * may be absent, so they are not used for it.
 */
#include "device_frame.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "coalesce.h"
#include "napi_util.h"
#include "split.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

void packet_to_row(struct env *env, int32_t i, int32_t at, int32_t len) {
  IN(env, COL_AT)[i] = at;
  IN(env, COL_LEN)[i] = len;
  IN(env, COL_VERDICT)[i] = LIVE;
  IN(env, COL_TUNNEL)[i] = -1;
  IN(env, COL_SOCK)[i] = -1;
  IN(env, COL_TOS)[i] = 0;
  IN(env, COL_FLAGS)[i] = 0;
  IN(env, COL_SEG)[i] = 0;
  IN(env, COL_HDR)[i] = 0;
}

/* Completes a checksum whose field holds the sum of the pseudo-header. False: it would lie outside the packet. */
static bool complete_checksum(uint8_t *packet, int32_t len, int32_t start, int32_t offset) {
  if (start + offset + 2 > len) return false;
  uint16_t check = (uint16_t)~fold_sum(sum_bytes(packet + start, len - start, 0));
  if (check == 0) check = 0xffff; /* RFC 768; TCP does not tell them apart */
  memcpy(packet + start + offset, &check, 2);
  return true;
}

/* Whether the packet is of the kind that `gso_type` says. */
static bool is_kind(uint8_t gso_type, const struct inner *inner) {
  switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return inner->protocol == PROTO_TCP && !inner->v6;
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return inner->protocol == PROTO_TCP && inner->v6;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return inner->protocol == PROTO_UDP;
    default:
      return false;
  }
}

static bool accept_super(struct env *env, int32_t i, uint8_t *packet, int32_t len, uint8_t gso_type, int32_t seg) {
  struct split split;
  struct inner inner;
  if (!inner_parse(packet, len, &inner) || !is_kind(gso_type, &inner)) return false;
  if (inner_length(packet, inner.v6) != len || !split_begin(&split, packet, len, inner.header_len, seg)) return false;
  if (len - inner.header_len > seg) {
    IN(env, COL_SEG)[i] = seg;
    IN(env, COL_HDR)[i] = inner.header_len;
    return true;
  }
  /* One segment only: what splitting makes of it is the packet. */
  int32_t whole;
  return split_next(&split, &whole) != NULL;
}

void frame_to_row(struct env *env, int32_t i, int32_t at, int32_t len) {
  struct virtio_net_hdr frame;
  const int32_t header = (int32_t)sizeof frame;
  if (len < header) {
    packet_to_row(env, i, at, 0);
    IN(env, COL_VERDICT)[i] = INNER_MALFORMED;
    return;
  }
  memcpy(&frame, env->slab + at, sizeof frame);
  uint8_t *packet = env->slab + at + header;
  packet_to_row(env, i, at + header, len - header);
  const uint8_t gso_type = frame.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
  bool good = true;
  if (gso_type != VIRTIO_NET_HDR_GSO_NONE) {
    good = accept_super(env, i, packet, len - header, gso_type, frame.gso_size);
  } else if ((frame.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
    good = complete_checksum(packet, len - header, frame.csum_start, frame.csum_offset);
  }
  if (!good) IN(env, COL_VERDICT)[i] = INNER_MALFORMED;
}

/* frameToRow(i, at, len) -> 0 or -EINVAL: what a device read of that frame would make of row i. */
static napi_value frame_to_row_js(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t i = int_of(napi, a.v[0], -1);
  const int32_t at = int_of(napi, a.v[1], -1);
  const int32_t len = int_of(napi, a.v[2], -1);
  if (i < 0 || i >= rows_of(&env->in, IN_ROWS) || !in_slab(env, at, len)) return return_int(napi, -EINVAL);
  frame_to_row(env, i, at, len);
  return return_int(napi, 0);
}

/* Memory in the place of a device: frames behind each other, each after its length in four bytes. */
struct memory_sink {
  struct frame_sink sink;
  uint8_t *bytes;
  size_t used;
  size_t size;
};

static int write_memory(struct frame_sink *sink, const struct iovec *iov, int count) {
  struct memory_sink *memory = (struct memory_sink *)(void *)sink;
  size_t len = 0;
  for (int k = 0; k < count; k++) len += iov[k].iov_len;
  if (len + 4 > memory->size - memory->used) return ENOBUFS;
  const uint32_t word = (uint32_t)len;
  memcpy(memory->bytes + memory->used, &word, 4);
  memory->used += 4;
  for (int k = 0; k < count; k++) {
    memcpy(memory->bytes + memory->used, iov[k].iov_base, iov[k].iov_len);
    memory->used += iov[k].iov_len;
  }
  return 0;
}

/* framesOf(n, udp) -> bytes of the output area that were filled: what writeDevice would write of input rows [0, n). */
static napi_value frames_of(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t n = rows_of(&env->in, int_of(napi, a.v[0], 0));
  bool udp = false;
  napi_get_value_bool(napi, a.v[1], &udp);
  if (n == 0) return return_int(napi, 0);
  struct memory_sink memory = {
      .sink = {.write = write_memory},
      .bytes = env->slab + OUT_BASE,
      .size = OUT_BYTES,
  };
  coalesce_write(env, n, true, udp, &memory.sink);
  return return_int(napi, (int32_t)memory.used);
}

int device_frame_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "frameToRow", frame_to_row_js) |
         export_function(napi, exports, "framesOf", frames_of);
}
