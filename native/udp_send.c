/*
 * UDP sending in batches (sendmmsg), the last step of a packet to the network. Rows of the same socket and the same
 * DF wish go in one call; every row gets its own verdict, and one that the kernel refuses does not stop those behind it.
 * Never sends a row twice, never waits longer than one millisecond per run.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

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

/* Control messages of row i: the TOS when it is not 0, the source address when the row names one. Bytes used. */
static size_t write_control(const struct env *env, const struct udp_socket *s, int i, union control *control) {
  const bool v4 = s->family == AF_INET;
  const int tos = OUT(env, COL_TOS)[i] & 0xff;
  const int local = SOCK_LOCAL(OUT(env, COL_SOCK)[i]);
  size_t used = 0;
  if (tos != 0) {
    put_control(control, &used, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof tos);
  }
  if (local > 0 && local <= s->local_count) {
    const struct in6_addr *address = &s->locals[local - 1];
    if (v4) {
      struct in_pktinfo pktinfo = {.ipi_ifindex = 0};
      memcpy(&pktinfo.ipi_spec_dst, address, 4);
      put_control(control, &used, IPPROTO_IP, IP_PKTINFO, &pktinfo, sizeof pktinfo);
    } else {
      const struct in6_pktinfo pktinfo = {.ipi6_addr = *address};
      put_control(control, &used, IPPROTO_IPV6, IPV6_PKTINFO, &pktinfo, sizeof pktinfo);
    }
  }
  return used;
}

/* Makes message k from row i; false when the row cannot be sent at all. */
static bool prepare(struct env *env, const struct udp_socket *s, int i, int k) {
  struct udp_scratch *u = env->udp;
  const int32_t at = OUT(env, COL_AT)[i];
  const int32_t len = OUT(env, COL_LEN)[i];
  struct msghdr *m = &u->out[k].msg_hdr;
  if (!in_slab(env, at, len)) return false;
  m->msg_namelen = remote_of(env, i, s->family, &u->out_name[k]);
  if (m->msg_namelen == 0) return false;
  u->out_iov[k] = (struct iovec){.iov_base = env->slab + at, .iov_len = (size_t)len};
  m->msg_controllen = write_control(env, s, i, &u->out_control[k]);
  m->msg_control = m->msg_controllen > 0 ? &u->out_control[k] : NULL;
  u->out_row[k] = i;
  return true;
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

/*
 * Sends messages [0, count). A refused message is tried once more, because the error may belong to an earlier datagram
 * (ICMP) or pass (full buffer: one wait of WAIT_MS per run); then it gets its verdict and the next one's turn comes.
 */
static void flush(struct env *env, const struct udp_socket *s, int count) {
  const struct udp_scratch *u = env->udp;
  int32_t *verdict = OUT(env, COL_VERDICT);
  bool waited = false;
  bool retried = false;
  int k = 0;
  while (k < count) {
    const int sent = sendmmsg(s->fd, env->udp->out + k, (unsigned)(count - k), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      for (const int end = k + sent; k < end; k++) verdict[u->out_row[k]] = SENT;
      retried = false;
      continue;
    }
    const int error = errno;
    const bool full = error == EAGAIN || error == ENOBUFS;
    if (full && !waited) {
      struct pollfd wait = {.fd = s->fd, .events = POLLOUT};
      poll(&wait, 1, WAIT_MS);
      waited = true;
    } else if (full || error == EMSGSIZE || retried) {
      verdict[u->out_row[k++]] = verdict_of(error);
      retried = false;
    } else {
      retried = true;
    }
  }
}

/* Sends the run that begins at row `first`: rows of one socket and one DF mode. Returns the row after it. */
static int send_run(struct env *env, struct udp_socket *s, int first, int n) {
  int32_t *verdict = OUT(env, COL_VERDICT);
  const int df = OUT(env, COL_FLAGS)[first] & FLAG_DF;
  int count = 0;
  int i = first;
  for (; i < n; i++) {
    if (verdict[i] != LIVE) continue;
    if (socket_of(env, OUT(env, COL_SOCK)[i]) != s || (OUT(env, COL_FLAGS)[i] & FLAG_DF) != df) break;
    if (prepare(env, s, i, count)) {
      count++;
    } else {
      verdict[i] = SEND_FAILED;
    }
  }
  if (count == 0) return i;
  if (set_df(s, df) == 0) {
    flush(env, s, count);
  } else {
    for (int k = 0; k < count; k++) verdict[env->udp->out_row[k]] = SEND_FAILED;
  }
  return i;
}

/* send(n): output rows [0, n) with verdict LIVE -> SENT or SEND_*. Returns the rows looked at. */
static napi_value udp_send(napi_env napi, napi_callback_info info) {
  struct env *env = env_of(napi);
  const struct args a = args_of(napi, info);
  const int n = rows_of(&env->out, int_of(napi, a.v[0], 0));
  if (n == 0) return return_int(napi, 0);
  int32_t *verdict = OUT(env, COL_VERDICT);
  int i = 0;
  while (i < n) {
    struct udp_socket *s = socket_of(env, OUT(env, COL_SOCK)[i]);
    if (verdict[i] != LIVE) {
      i++;
    } else if (s == NULL) {
      verdict[i++] = SEND_FAILED;
    } else {
      i = send_run(env, s, i, n);
    }
  }
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
