/*
 * UDP sending in batches (sendmmsg), the last step of a packet to the network. Datagrams of the same length to the same
 * place, of one row or of neighbours, go in one message with UDP_SEGMENT, the last may be shorter; messages of the same
 * socket and DF wish go in one call. Every row gets its own verdict, and a datagram that the kernel refuses does not stop
 * those behind it. Never sends a datagram twice, never waits longer than one millisecond per call of `send`.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "local_address.h"
#include "napi_util.h"
#include "udp.h"

#define WAIT_MS 1

/* Remote address of row i as a socket address of `family`. Its length, or 0 when the row has another family. */
static socklen_t remote_of(const struct env *env, int i, int family, struct sockaddr_in6 *name) {
  const uint32_t words[4] = {
      htonl((uint32_t)OUT(env, COL_ADDR0)[i]),
      htonl((uint32_t)OUT(env, COL_ADDR1)[i]),
      htonl((uint32_t)OUT(env, COL_ADDR2)[i]),
      htonl((uint32_t)OUT(env, COL_ADDR3)[i]),
  };
  const int32_t port = OUT(env, COL_PORT)[i];
  const bool mapped = words[0] == 0 && words[1] == 0 && words[2] == htonl(0xffff);
  if (port < 1 || port > 65535 || mapped != (family == AF_INET)) return 0;
  memset(name, 0, sizeof *name);
  if (family == AF_INET) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)name;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    memcpy(&v4->sin_addr, &words[3], 4);
    return sizeof *v4;
  }
  name->sin6_family = AF_INET6;
  name->sin6_port = htons((uint16_t)port);
  memcpy(&name->sin6_addr, words, 16);
  return sizeof *name;
}

/* Appends one control message and moves `used` behind it. */
static void put_control(union control *control, size_t *used, int level, int type, const void *bytes, size_t length) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)(control->bytes + *used);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(c), bytes, length);
  *used += CMSG_SPACE(length);
}

/*
 * Control messages of row i: the TOS when it is not 0, the source address when the row names one, the segment size when
 * it is not 0. Bytes used.
 */
static size_t write_control(const struct env *env, const struct udp_socket *s, int i, int32_t seg,
                            union control *control) {
  const bool v4 = s->family == AF_INET;
  const int tos = OUT(env, COL_TOS)[i] & 0xff;
  const int local = SOCK_LOCAL(OUT(env, COL_SOCK)[i]);
  size_t used = 0;
  if (tos != 0) {
    put_control(control, &used, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof tos);
  }
  const struct in6_addr *address = local_address(local);
  if (address != NULL && (IN6_IS_ADDR_V4MAPPED(address) != 0) == v4) {
    if (v4) {
      struct in_pktinfo pktinfo = {.ipi_ifindex = 0};
      memcpy(&pktinfo.ipi_spec_dst, &address->s6_addr[12], 4);
      put_control(control, &used, IPPROTO_IP, IP_PKTINFO, &pktinfo, sizeof pktinfo);
    } else {
      const struct in6_pktinfo pktinfo = {.ipi6_addr = *address};
      put_control(control, &used, IPPROTO_IPV6, IPV6_PKTINFO, &pktinfo, sizeof pktinfo);
    }
  }
  if (seg > 0) {
    const uint16_t bytes = (uint16_t)seg;
    put_control(control, &used, IPPROTO_UDP, UDP_SEGMENT, &bytes, sizeof bytes);
  }
  return used;
}

/*
 * Sets the DF mode when it is another than the last run's. DO: DF on, and EMSGSIZE above the known path MTU. DONT: no
 * DF, the kernel fragments (RFC 8085 section 3.2). 0 or -errno.
 */
static int set_df(struct udp_socket *s, int df) {
  if (s->df == df) return 0;
  const bool v4 = s->family == AF_INET;
  const int mode = v4 ? (df != 0 ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT) : (df != 0 ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
  const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  if (setsockopt(s->fd, level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &mode, sizeof mode) < 0) return -errno;
  s->df = df;
  return 0;
}

static int32_t verdict_of(int error) {
  switch (error) {
    case EMSGSIZE:
      return SEND_TOO_BIG;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case ECONNREFUSED:
      return SEND_UNREACHABLE;
    default:
      return SEND_FAILED;
  }
}

/* The messages of one sendmmsg call under construction. */
struct run {
  struct env *env;
  struct udp_socket *sock;
  int df;
  int count;  /* messages */
  int pieces; /* of out_iov in use */
  /* Of the last message: bytes of each datagram, bytes of all, and whether a shorter one has ended it. */
  int32_t stride;
  int32_t bytes;
  bool ended;
  bool waited;
};

static bool same_remote(const struct env *env, int i, int k) {
  return OUT(env, COL_SOCK)[i] == OUT(env, COL_SOCK)[k] && OUT(env, COL_PORT)[i] == OUT(env, COL_PORT)[k] &&
         OUT(env, COL_ADDR3)[i] == OUT(env, COL_ADDR3)[k] && OUT(env, COL_ADDR2)[i] == OUT(env, COL_ADDR2)[k] &&
         OUT(env, COL_ADDR1)[i] == OUT(env, COL_ADDR1)[k] && OUT(env, COL_ADDR0)[i] == OUT(env, COL_ADDR0)[k] &&
         ((OUT(env, COL_TOS)[i] ^ OUT(env, COL_TOS)[k]) & 0xff) == 0;
}

/* Bytes of each datagram of row i. */
static int32_t stride_of(const struct env *env, int i) {
  const int32_t seg = OUT(env, COL_SEG)[i];
  return seg > 0 ? seg : OUT(env, COL_LEN)[i];
}

/* Datagrams of row i: one of no bytes, too. */
static int32_t datagrams_of(const struct env *env, int i) {
  const int32_t len = OUT(env, COL_LEN)[i];
  return len > 0 ? (len - 1) / stride_of(env, i) + 1 : 1;
}

/* Notes that the datagrams of a message have left, or that they never will; rows that are complete get their verdict. */
static void settle(struct env *env, struct message_range *range, int32_t count, int32_t error) {
  int32_t *verdict = OUT(env, COL_VERDICT);
  while (count > 0) {
    const int32_t row = range->row;
    const int32_t all = datagrams_of(env, row);
    const int32_t left = all - range->datagram;
    const int32_t now = left < count ? left : count;
    if (error == 0) OUT(env, COL_DONE)[row] += now;
    if (error != 0) env->udp->out_error[row] = error;
    range->datagram += now;
    range->count -= now;
    count -= now;
    if (range->datagram < all) continue;
    verdict[row] = env->udp->out_error[row] != 0 ? env->udp->out_error[row] : SENT;
    range->datagram = 0;
    /* Rows that are not live were skipped when the message was made. */
    while (range->count > 0 && verdict[++range->row] != LIVE) continue;
  }
}

/* A full buffer: waits once per run. False: it has waited before. */
static bool wait_for_room(struct run *run) {
  if (run->waited) return false;
  struct pollfd wait = {.fd = run->sock->fd, .events = POLLOUT};
  poll(&wait, 1, WAIT_MS);
  run->waited = true;
  return true;
}

/*
 * What to do about a refused message. A full buffer: try again after one wait. Others: try again once, because the error
 * may belong to an earlier datagram (ICMP).
 */
static bool try_again(struct run *run, int error, bool *retried) {
  if (error == EAGAIN || error == ENOBUFS) return wait_for_room(run);
  if (error == EMSGSIZE || *retried) return false;
  *retried = true;
  return true;
}

/*
 * The datagrams of message k one by one, after the kernel has refused them together: one is larger than the path MTU
 * (EMSGSIZE, EINVAL), or the device below cannot (EIO).
 */
static void send_one_by_one(struct run *run, int k) {
  struct env *env = run->env;
  struct message_range *range = &env->udp->out_range[k];
  while (range->count > 0) {
    const int32_t offset = range->datagram * stride_of(env, range->row);
    const int32_t rest = OUT(env, COL_LEN)[range->row] - offset;
    const int32_t len = rest < stride_of(env, range->row) ? rest : stride_of(env, range->row);
    union control control;
    struct iovec piece = {.iov_base = env->slab + OUT(env, COL_AT)[range->row] + offset, .iov_len = (size_t)len};
    struct msghdr m = env->udp->out[k].msg_hdr;
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    m.msg_controllen = write_control(env, run->sock, range->row, 0, &control);
    m.msg_control = m.msg_controllen > 0 ? &control : NULL;
    bool retried = false;
    int32_t error = 0;
    while (sendmsg(run->sock->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      error = errno;
      if (!try_again(run, error, &retried)) break;
      error = 0;
    }
    settle(env, range, 1, error == 0 ? 0 : verdict_of(error));
  }
}

/* Sends the messages of the run and empties it. */
static void flush(struct run *run) {
  struct udp_scratch *u = run->env->udp;
  bool retried = false;
  int k = 0;
  if (run->count > 0 && set_df(run->sock, run->df) != 0) {
    for (; k < run->count; k++) settle(run->env, &u->out_range[k], u->out_range[k].count, SEND_FAILED);
  }
  while (k < run->count) {
    const int sent = sendmmsg(run->sock->fd, u->out + k, (unsigned)(run->count - k), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      for (const int end = k + sent; k < end; k++) settle(run->env, &u->out_range[k], u->out_range[k].count, 0);
      retried = false;
      continue;
    }
    const int error = errno;
    const bool together = u->out_range[k].count > 1;
    if (together && (error == EMSGSIZE || error == EINVAL || error == EIO || error == EOPNOTSUPP)) {
      if (error == EIO) run->env->feature[FEATURE_GSO] = -EIO;
      send_one_by_one(run, k++);
    } else if (!try_again(run, error, &retried)) {
      settle(run->env, &u->out_range[k], u->out_range[k].count, verdict_of(error));
      k++;
      retried = false;
    }
  }
  run->count = 0;
  run->pieces = 0;
}

/* Closes the last message: only now its number of datagrams is known. */
static void seal_message(struct run *run) {
  if (run->count == 0) return;
  struct udp_scratch *u = run->env->udp;
  const int k = run->count - 1;
  const int32_t seg = u->out_range[k].count > 1 ? run->stride : 0;
  struct msghdr *m = &u->out[k].msg_hdr;
  m->msg_controllen = write_control(run->env, run->sock, u->out_range[k].row, seg, &u->out_control[k]);
  m->msg_control = m->msg_controllen > 0 ? &u->out_control[k] : NULL;
}

/* Datagrams of `stride` bytes that the last message has room for, when they come from row i. */
static int32_t room_for(const struct run *run, int i, int32_t stride) {
  const struct env *env = run->env;
  if (run->count == 0 || run->ended || env->feature[FEATURE_GSO] != 0) return 0;
  const struct message_range *range = &env->udp->out_range[run->count - 1];
  if (stride > run->stride || stride == 0 || !same_remote(env, i, range->row)) return 0;
  const int32_t segments = SEGMENTS_MAX - range->count;
  const int32_t fit = (DATAGRAM_MAX - run->bytes) / stride;
  const int32_t room = segments < fit ? segments : fit;
  /* A shorter datagram may only be the last one. */
  return stride < run->stride && room > 1 ? 1 : room;
}

/* Appends memory to the last message, to its last piece where that ends here. */
static void put_piece(struct run *run, uint8_t *bytes, int32_t len) {
  struct udp_scratch *u = run->env->udp;
  struct msghdr *m = &u->out[run->count - 1].msg_hdr;
  if (m->msg_iovlen > 0) {
    struct iovec *last = &m->msg_iov[m->msg_iovlen - 1];
    if ((uint8_t *)last->iov_base + last->iov_len == bytes) {
      last->iov_len += (size_t)len;
      return;
    }
  } else {
    m->msg_iov = &u->out_iov[run->pieces];
  }
  u->out_iov[run->pieces++] = (struct iovec){.iov_base = bytes, .iov_len = (size_t)len};
  m->msg_iovlen++;
}

/* Begins a message with datagram `datagram` of row i. False: the row has no remote that the socket can reach. */
static bool begin_message(struct run *run, int i, int32_t datagram) {
  struct env *env = run->env;
  seal_message(run);
  if (run->count == MESSAGES_MAX) flush(run);
  const int k = run->count;
  struct msghdr *m = &env->udp->out[k].msg_hdr;
  m->msg_namelen = remote_of(env, i, run->sock->family, &env->udp->out_name[k]);
  if (m->msg_namelen == 0) return false;
  m->msg_iovlen = 0;
  env->udp->out_range[k] = (struct message_range){.row = i, .datagram = datagram};
  run->stride = stride_of(env, i);
  run->bytes = 0;
  run->ended = false;
  run->count++;
  return true;
}

/* Appends the datagrams of row i to the run. */
static void put_row(struct run *run, int i) {
  struct env *env = run->env;
  int32_t *verdict = &OUT(env, COL_VERDICT)[i];
  const int32_t at = OUT(env, COL_AT)[i];
  const int32_t len = OUT(env, COL_LEN)[i];
  struct sockaddr_in6 name;
  OUT(env, COL_DONE)[i] = 0;
  env->udp->out_error[i] = 0;
  if (!in_slab(env, at, len) || remote_of(env, i, run->sock->family, &name) == 0) {
    *verdict = SEND_FAILED;
    return;
  }
  const int32_t stride = stride_of(env, i);
  /* No message may begin with a datagram that is longer than any: it would have negative room for the next row. */
  if ((stride < len ? stride : len) > DATAGRAM_MAX) {
    *verdict = SEND_TOO_BIG;
    return;
  }
  const int32_t all = datagrams_of(env, i);
  for (int32_t d = 0; d < all;) {
    if (run->pieces == PIECES_MAX) {
      seal_message(run);
      flush(run);
    }
    int32_t room = room_for(run, i, d == all - 1 ? len - d * stride : stride);
    if (room == 0) {
      begin_message(run, i, d);
      room = all - d > 1 && env->feature[FEATURE_GSO] == 0 ? room_for(run, i, stride) : 1;
    }
    const int32_t now = all - d < room ? all - d : room;
    const int32_t end = (d + now) * stride < len ? (d + now) * stride : len;
    put_piece(run, env->slab + at + d * stride, end - d * stride);
    env->udp->out_range[run->count - 1].count += now;
    run->bytes += end - d * stride;
    if (run->stride == 0 || (end - d * stride) % run->stride != 0) run->ended = true;
    d += now;
  }
}

/* send(n): output rows [0, n) with verdict LIVE -> SENT or SEND_*; DONE says how many datagrams left. Rows looked at. */
static napi_value udp_send(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int n = rows_of(&env->out, int_of(napi, a.v[0], 0));
  if (n == 0) return return_int(napi, 0);
  int32_t *verdict = OUT(env, COL_VERDICT);
  struct run run = {.env = env};
  for (int i = 0; i < n; i++) {
    if (verdict[i] != LIVE) continue;
    struct udp_socket *s = socket_of(env, OUT(env, COL_SOCK)[i]);
    const int df = OUT(env, COL_FLAGS)[i] & FLAG_DF;
    if (s == NULL) {
      verdict[i] = SEND_FAILED;
      continue;
    }
    if (s != run.sock || df != run.df) {
      seal_message(&run);
      flush(&run);
      run.sock = s;
      run.df = df;
    }
    put_row(&run, i);
  }
  seal_message(&run);
  flush(&run);
  return return_int(napi, n);
}

/*
 * pathMtu(i) -> bytes or -errno: what the routing table and its exceptions (ICMP "fragmentation needed", "packet too
 * big") say about the remote of output row i. Only a connected socket can be asked, so it makes one for a moment.
 */
static napi_value path_mtu(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int32_t i = int_of(napi, a.v[0], -1);
  if (i < 0 || i >= env->out.rows) return return_int(napi, -EINVAL);
  const struct udp_socket *s = socket_of(env, OUT(env, COL_SOCK)[i]);
  if (s == NULL) return return_int(napi, -EBADF);
  struct sockaddr_in6 name;
  const socklen_t name_length = remote_of(env, i, s->family, &name);
  if (name_length == 0) return return_int(napi, -EINVAL);
  const int fd = socket(s->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
  if (fd < 0) return return_int(napi, -errno);
  const bool v4 = s->family == AF_INET;
  int mtu = 0;
  socklen_t length = sizeof mtu;
  int result = connect(fd, (const struct sockaddr *)&name, name_length);
  if (result == 0) result = getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &length);
  if (result < 0) mtu = -errno;
  close(fd);
  return return_int(napi, mtu);
}

int udp_send_register(napi_env napi, napi_value exports) {
  return export_function(napi, exports, "send", udp_send) | export_function(napi, exports, "pathMtu", path_mtu);
}
